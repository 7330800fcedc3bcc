package dev.gemma4j.tokenizer;

import java.util.Arrays;

/** Piece ids by their UTF-8, found by a polynomial hash that a text gives for any range at once. */
final class PieceTable {
  private static final long BASE = 0x9E3779B97F4A7C15L | 1;

  private final byte[][] pieces;
  private final int[] slots;
  private final long[] hashes;
  private final long[] powers;
  private final int longest;

  /** Only the ids for which {@code included} holds can be found. */
  PieceTable(byte[][] pieces, boolean[] included) {
    this.pieces = pieces;
    int capacity = Integer.highestOneBit(Math.max(2, pieces.length)) << 2;
    slots = new int[capacity];
    hashes = new long[capacity];
    Arrays.fill(slots, -1);
    int max = 0;
    for (int id = 0; id < pieces.length; id++) {
      if (included[id]) {
        byte[] piece = pieces[id];
        max = Math.max(max, piece.length);
        long hash = 0;
        for (byte b : piece) {
          hash = next(hash, b);
        }
        int at = slot(hash);
        while (slots[at] >= 0) {
          at = at + 1 & capacity - 1;
        }
        slots[at] = id;
        hashes[at] = hash;
      }
    }
    longest = max;
    powers = new long[max + 1];
    powers[0] = 1;
    for (int i = 1; i <= max; i++) {
      powers[i] = powers[i - 1] * BASE;
    }
  }

  private static long next(long hash, byte b) {
    return hash * BASE + (b & 0xff) + 1;
  }

  private int slot(long hash) {
    return (int) ((hash ^ hash >>> 29) * 0xBF58476D1CE4E5B9L >>> 33) & slots.length - 1;
  }

  /** Hashes of all prefixes of a text, from which those of its ranges follow. */
  long[] prefixes(byte[] text, int length) {
    long[] result = new long[length + 1];
    for (int i = 0; i < length; i++) {
      result[i + 1] = next(result[i], text[i]);
    }
    return result;
  }

  /** The id of text[from, to), or -1. */
  int find(byte[] text, long[] prefixes, int from, int to) {
    int n = to - from;
    if (n > longest) {
      return -1;
    }
    long hash = prefixes[to] - prefixes[from] * powers[n];
    for (int at = slot(hash); slots[at] >= 0; at = at + 1 & slots.length - 1) {
      if (hashes[at] == hash) {
        byte[] piece = pieces[slots[at]];
        if (Arrays.equals(piece, 0, piece.length, text, from, to)) {
          return slots[at];
        }
      }
    }
    return -1;
  }
}
