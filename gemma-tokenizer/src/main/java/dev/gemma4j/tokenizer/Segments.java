package dev.gemma4j.tokenizer;

import java.util.Arrays;

/** The segmentation of a normalised text: ids with the byte at which each ends; -1 for no piece. */
final class Segments {
  int[] ids;
  int[] ends;
  int size;

  Segments(int capacity) {
    ids = new int[Math.max(4, capacity)];
    ends = new int[ids.length];
  }

  void add(int id, int end) {
    if (size == ids.length) {
      ids = Arrays.copyOf(ids, 2 * size);
      ends = Arrays.copyOf(ends, 2 * size);
    }
    ids[size] = id;
    ends[size++] = end;
  }
}
