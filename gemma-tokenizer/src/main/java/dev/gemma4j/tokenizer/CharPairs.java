package dev.gemma4j.tokenizer;

/**
 * The pairs of neighbouring characters that occur in some piece, and a few more by chance: a set of
 * hashed bits. No merge can cross a place whose pair is not among them, so a text may be cut there.
 */
final class CharPairs {
  private static final int BITS = 20;

  private final long[] words = new long[1 << BITS - 6];

  /** The character at a place as an int of its bytes. */
  static int character(byte[] text, int at, int end) {
    int c = text[at] & 0xff;
    for (int i = at + 1; i < end; i++) {
      c = c << 8 | text[i] & 0xff;
    }
    return c;
  }

  void addAll(byte[] piece) {
    int before = 0;
    for (int at = 0; at < piece.length; ) {
      int to = Utf8.next(piece, at, piece.length);
      int c = character(piece, at, to);
      if (at > 0) {
        int bit = bit(before, c);
        words[bit >> 6] |= 1L << bit;
      }
      before = c;
      at = to;
    }
  }

  boolean contains(int before, int c) {
    int bit = bit(before, c);
    return (words[bit >> 6] & 1L << bit) != 0;
  }

  private static int bit(int before, int c) {
    return (int) (((long) before << 32 | c & 0xffffffffL) * 0x9E3779B97F4A7C15L >>> 64 - BITS);
  }
}
