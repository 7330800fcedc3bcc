package dev.gemma4j.tokenizer;

import java.util.Arrays;

/** Piece ids by their UTF-8, found by a polynomial hash that a text gives for any range at once. */
final class PieceTable {
  private static final long BASE = 0x9E3779B97F4A7C15L | 1;
  private static final long FINGERPRINT = 0xffffffff00000000L;

  /** How far a piece may lie from its slot: of 2^21 honest ones the farthest lies below 100. */
  static final int MAX_DISTANCE = 256;

  private byte[] texts = new byte[64]; // of all pieces, one after the other
  private final int[] ends;
  private int count;
  private int longest;
  private int distance; // of the piece that lies farthest from its slot
  // The high half of a hash and the id + 1; 0 is empty. One array, so that a miss touches one line.
  private final long[] slots;
  private final int shift;

  PieceTable(int capacity) {
    ends = new int[capacity + 1];
    int bits = 33 - Integer.numberOfLeadingZeros(Math.max(1, capacity));
    slots = new long[1 << bits];
    shift = 64 - bits;
  }

  /** Adds the next id; returns the id that has this text already, or -1. */
  int add(byte[] piece) {
    long hash = hash(piece, 0, piece.length);
    int twin = find(piece, 0, piece.length, hash);
    int from = ends[count];
    if (texts.length - from < piece.length) {
      texts = Arrays.copyOf(texts, Math.max(2 * from, from + piece.length));
    }
    System.arraycopy(piece, 0, texts, from, piece.length);
    int at = slot(hash);
    int steps = 0;
    while (slots[at] != 0) {
      at = at + 1 & slots.length - 1;
      steps++;
    }
    distance = Math.max(distance, steps);
    count++;
    slots[at] = hash & FINGERPRINT | count;
    ends[count] = from + piece.length;
    longest = Math.max(longest, piece.length);
    return twin;
  }

  /** The hash after one byte more. */
  static long next(long hash, byte b) {
    return hash * BASE + (b & 0xff) + 1;
  }

  /** The hash of a range from those of the text up to its two ends. */
  static long between(long before, long after, long power) {
    return after - before * power;
  }

  /** What {@link #between} needs for each length up to the longest. */
  long[] powers() {
    long[] powers = new long[longest + 1];
    powers[0] = 1;
    for (int i = 1; i <= longest; i++) {
      powers[i] = powers[i - 1] * BASE;
    }
    return powers;
  }

  static long hash(byte[] text, int from, int to) {
    long hash = 0;
    for (int i = from; i < to; i++) {
      hash = next(hash, text[i]);
    }
    return hash;
  }

  /** Whether texts were chosen to have the same slots, which would make all that follows slow. */
  boolean isFlooded() {
    return distance > MAX_DISTANCE;
  }

  int slot(long hash) {
    return (int) ((hash ^ hash >>> 29) * 0xBF58476D1CE4E5B9L >>> shift);
  }

  /** The id of text[from, to) with that hash, or -1. */
  int find(byte[] text, int from, int to, long hash) {
    int at = slot(hash);
    for (int left = distance; slots[at] != 0 && left >= 0; left--, at = at + 1 & slots.length - 1) {
      if (((slots[at] ^ hash) & FINGERPRINT) == 0) {
        int id = (int) slots[at] - 1;
        if (is(id, text, from, to)) {
          return id;
        }
      }
    }
    return -1;
  }

  /** A plain loop: for a few bytes the intrinsic comparison is slower. */
  private boolean is(int id, byte[] text, int from, int to) {
    int start = ends[id];
    if (ends[id + 1] - start != to - from) {
      return false;
    }
    for (int i = from; i < to; i++) {
      if (texts[start + i - from] != text[i]) {
        return false;
      }
    }
    return true;
  }

  /** A copy of a piece's text. */
  byte[] text(int id) {
    return Arrays.copyOfRange(texts, ends[id], ends[id + 1]);
  }

  /** The bytes of the longest piece. */
  int longest() {
    return longest;
  }

  /** How many pieces there are. */
  int size() {
    return count;
  }
}
