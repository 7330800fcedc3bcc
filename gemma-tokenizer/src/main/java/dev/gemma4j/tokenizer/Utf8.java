package dev.gemma4j.tokenizer;

import java.nio.charset.StandardCharsets;

/** UTF-8 as SentencePiece reads it: each byte that starts no valid character counts alone. */
final class Utf8 {
  static final char REPLACEMENT = '\uFFFD';

  /** The bytes so far may begin a character. */
  static final int INCOMPLETE = 0;

  private Utf8() {}

  /** Unpaired surrogates become U+FFFD. */
  static byte[] encode(String text) {
    if (!hasUnpairedSurrogate(text)) {
      return text.getBytes(StandardCharsets.UTF_8);
    }
    int[] replaced = text.codePoints().map(c -> isSurrogate(c) ? REPLACEMENT : c).toArray();
    return new String(replaced, 0, replaced.length).getBytes(StandardCharsets.UTF_8);
  }

  private static boolean isSurrogate(int c) {
    return c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE;
  }

  private static boolean hasUnpairedSurrogate(String text) {
    for (int i = 0; i < text.length(); i++) {
      if (Character.isSurrogate(text.charAt(i))) {
        if (isSurrogate(text.codePointAt(i))) {
          return true;
        }
        i++;
      }
    }
    return false;
  }

  /** Where the next character begins; a byte that starts no valid one counts alone. */
  static int next(byte[] text, int at, int end) {
    return text[at] >= 0 ? at + 1 : at + Math.max(1, length(text, at, end));
  }

  /** The start, not before {@code from}, of the character that a place is in. */
  static int start(byte[] text, int at, int from) {
    for (int i = at; i >= from && i > at - 4; i--) {
      if ((text[i] & 0xc0) != 0x80) {
        return next(text, i, text.length) > at ? i : at;
      }
    }
    return at;
  }

  /** The length that a first byte announces; 1 for one that starts nothing. */
  static int announced(byte first) {
    int b = first & 0xff;
    return b < 0xc2 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : b < 0xf5 ? 4 : 1;
  }

  /** The length of the valid character at {@code at}, -1 when there is none, or INCOMPLETE. */
  static int length(byte[] text, int at, int end) {
    int b = text[at] & 0xff;
    int n = announced(text[at]);
    if (n == 1) {
      return b < 0x80 ? 1 : -1;
    }
    for (int i = 1; i < n; i++) {
      if (at + i >= end) {
        return INCOMPLETE;
      }
      int c = text[at + i] & 0xff;
      int low = i == 1 && b == 0xe0 ? 0xa0 : i == 1 && b == 0xf0 ? 0x90 : 0x80;
      int high = i == 1 && b == 0xed ? 0x9f : i == 1 && b == 0xf4 ? 0x8f : 0xbf;
      if (c < low || c > high) {
        return -1;
      }
    }
    return n;
  }

  /**
   * Decodes; returns how many bytes were used: all, or all but an incomplete end unless it is
   * final.
   */
  static int decode(byte[] text, int end, boolean isFinal, StringBuilder out) {
    int at = 0;
    while (at < end) {
      int n = length(text, at, end);
      if (n == INCOMPLETE && !isFinal) {
        break;
      }
      if (n <= 0) {
        out.append(REPLACEMENT);
        at++;
      } else {
        out.append(new String(text, at, n, StandardCharsets.UTF_8));
        at += n;
      }
    }
    return at;
  }
}
