package dev.gemma4j.tokenizer;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;

/** SentencePiece's normaliser: the table's replacements, white space, U+2581 for spaces. */
final class Normalizer {
  static final byte[] ESCAPED_SPACE = {(byte) 0xe2, (byte) 0x96, (byte) 0x81};
  private static final byte[] SPACE = {' '};
  private static final int MAX_RULE = 1 << 10; // bytes: a hostile trie may go round in circles
  private static final int MAX_LENGTH = Integer.MAX_VALUE - 8; // of an array

  private final Vocabulary.Normalization rules;
  private final int[] trie; // Darts double array units
  private final byte[] replacements; // NUL-terminated

  Normalizer(Vocabulary.Normalization rules, String source) throws MalformedFileException {
    this.rules = rules;
    byte[] map = rules.charsMap();
    if (map.length == 0) {
      trie = new int[0];
      replacements = map;
      return;
    }
    ByteBuffer buffer = ByteBuffer.wrap(map).order(ByteOrder.LITTLE_ENDIAN);
    long size = map.length < 4 ? -1 : buffer.getInt() & 0xffffffffL;
    if (size < 4 || size % 4 != 0 || size > map.length - 4) {
      throw new MalformedFileException(
          source,
          "normalizer_spec.precompiled_charsmap",
          "a trie of " + size + " in " + map.length + " bytes",
          "one that fits");
    }
    trie = new int[(int) size / 4];
    buffer.asIntBuffer().get(trie);
    replacements = Arrays.copyOfRange(map, 4 + (int) size, map.length);
  }

  /** Normalised UTF-8 and, for each byte and the end, the input byte it came from. */
  static final class Result {
    byte[] text;
    int length;
    int[] origin; // empty where nobody asked for it

    Result(int capacity) {
      text = new byte[capacity];
      origin = new int[capacity + 1];
    }

    Result(byte[] text) {
      this.text = text;
      length = text.length;
      origin = new int[0];
    }

    private void append(byte[] bytes, int from, int to, int source) {
      int needed = length + to - from;
      if (needed > text.length) {
        text = Arrays.copyOf(text, 2 * needed);
        origin = Arrays.copyOf(origin, 2 * needed + 1);
      }
      for (int i = from; i < to; i++) {
        text[length] = bytes[i];
        origin[length++] = source;
      }
    }
  }

  /** With {@code origins} the result tells where its bytes came from. */
  Result normalize(byte[] in, ByteTrie userDefined, boolean origins) {
    if (!origins && trie.length == 0 && !rules.removeExtraWhitespaces()) {
      return new Result(escape(in));
    }
    Result out = new Result(in.length + 3);
    byte[] space = rules.escapeWhitespaces() ? ESCAPED_SPACE : SPACE;
    boolean squeeze = rules.removeExtraWhitespaces();
    Prefix prefix = new Prefix();
    int at = 0;
    if (squeeze) {
      while (at < in.length) {
        replace(in, at, userDefined, prefix);
        if (prefix.to - prefix.from != 1 || prefix.bytes[prefix.from] != ' ') {
          break;
        }
        at = prefix.next;
      }
    }
    if (at == in.length) {
      out.origin[0] = at;
      return out;
    }
    if (rules.addDummyPrefix()) {
      out.append(space, 0, space.length, at);
    }
    boolean previousSpace = squeeze;
    while (at < in.length) {
      replace(in, at, userDefined, prefix);
      int from = prefix.from;
      while (previousSpace && from < prefix.to && prefix.bytes[from] == ' ') {
        from++;
      }
      if (from < prefix.to) {
        for (int i = from; i < prefix.to; i++) {
          if (prefix.bytes[i] == ' ') {
            out.append(space, 0, space.length, at);
          } else {
            out.append(prefix.bytes, i, i + 1, at);
          }
        }
        previousSpace = prefix.bytes[prefix.to - 1] == ' ';
      }
      at = prefix.next;
      previousSpace &= squeeze;
    }
    int consumed = at;
    while (squeeze && endsWith(out, space)) {
      out.length -= space.length;
      consumed = out.origin[out.length];
    }
    out.origin[out.length] = consumed;
    return out;
  }

  /** All that is to do without a table and without squeezing: spaces, and one in front. */
  private byte[] escape(byte[] in) {
    byte[] space = rules.escapeWhitespaces() ? ESCAPED_SPACE : SPACE;
    int first = rules.addDummyPrefix() && in.length > 0 ? space.length : 0;
    long length = first + in.length;
    for (byte b : in) {
      length += b == ' ' ? space.length - 1 : 0;
    }
    if (length > MAX_LENGTH) {
      throw new IllegalArgumentException("the text is too long: " + length + " bytes");
    }
    byte[] out = new byte[(int) length];
    System.arraycopy(space, 0, out, 0, first);
    int to = first;
    for (byte b : in) {
      if (b == ' ') {
        for (byte s : space) {
          out[to++] = s;
        }
      } else {
        out[to++] = b;
      }
    }
    return out;
  }

  private static boolean endsWith(Result out, byte[] suffix) {
    return out.length >= suffix.length
        && Arrays.equals(
            out.text, out.length - suffix.length, out.length, suffix, 0, suffix.length);
  }

  /** What the input at one place becomes: bytes[from, to), after which it goes on at next. */
  private static final class Prefix {
    byte[] bytes = {};
    int from;
    int to;
    int next;

    void set(byte[] source, int start, int end, int following) {
      bytes = source;
      from = start;
      to = end;
      next = following;
    }
  }

  private void replace(byte[] in, int at, ByteTrie userDefined, Prefix prefix) {
    int literal = userDefined.longest(in, at, in.length);
    if (literal > 0) {
      prefix.set(in, at, literal, literal);
      return;
    }
    if (trie.length > 0 && longestRule(in, at, prefix)) {
      return;
    }
    int n = Math.max(1, Utf8.length(in, at, in.length)); // the input is valid UTF-8
    prefix.set(in, at, at + n, at + n);
  }

  /** Darts' common prefix search (https://github.com/s-yata/darts-clone), keeping the longest. */
  private boolean longestRule(byte[] in, int at, Prefix prefix) {
    int node = offset(trie[0]);
    boolean found = false;
    for (int i = at; i < Math.min(in.length, at + MAX_RULE); i++) {
      int label = in[i] & 0xff;
      node ^= label;
      if (node < 0 || node >= trie.length || (trie[node] & 0x800000ff) != label) {
        break;
      }
      boolean leaf = (trie[node] >>> 8 & 1) == 1;
      node ^= offset(trie[node]);
      if (leaf && node >= 0 && node < trie.length) {
        int from = trie[node] & 0x7fffffff;
        if (from < replacements.length) {
          int to = from;
          while (to < replacements.length && replacements[to] != 0) {
            to++;
          }
          prefix.set(replacements, from, to, i + 1);
          found = true;
        }
      }
    }
    return found;
  }

  private static int offset(int unit) {
    return unit >>> 10 << ((unit & 1 << 9) >>> 6);
  }
}
