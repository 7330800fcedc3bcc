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
    reserve(1);
    ids[size] = id;
    ends[size++] = end;
  }

  /** Adds the first few of others. */
  void addAll(Segments others, int count) {
    reserve(count);
    System.arraycopy(others.ids, 0, ids, size, count);
    System.arraycopy(others.ends, 0, ends, size, count);
    size += count;
  }

  private void reserve(int count) {
    if (size + count > ids.length) {
      int capacity = Math.max(size + count, 2 * size);
      ids = Arrays.copyOf(ids, capacity);
      ends = Arrays.copyOf(ends, capacity);
    }
  }

  /** The end of the last one. */
  int end() {
    return ends[size - 1];
  }

  /** How many end at or before a byte. */
  int countUntil(int end) {
    int count = size;
    while (count > 0 && ends[count - 1] > end) {
      count--;
    }
    return count;
  }
}
