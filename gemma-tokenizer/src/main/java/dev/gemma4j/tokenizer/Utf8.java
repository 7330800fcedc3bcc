package dev.gemma4j.tokenizer;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;

/** UTF-8 as SentencePiece reads it: each byte that starts no valid character counts alone. */
final class Utf8 {
  static final char REPLACEMENT = '\uFFFD';

  /** The bytes so far may begin a character. */
  static final int INCOMPLETE = 0;

  private Utf8() {}

  /** Unpaired surrogates become U+FFFD. */
  static byte[] encode(String text) {
    try {
      ByteBuffer bytes =
          StandardCharsets.UTF_8
              .newEncoder()
              .onMalformedInput(CodingErrorAction.REPLACE)
              .replaceWith(new byte[] {(byte) 0xef, (byte) 0xbf, (byte) 0xbd})
              .encode(CharBuffer.wrap(text));
      byte[] result = new byte[bytes.remaining()];
      bytes.get(result);
      return result;
    } catch (CharacterCodingException e) {
      throw new IllegalStateException(e); // malformed input is replaced
    }
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
