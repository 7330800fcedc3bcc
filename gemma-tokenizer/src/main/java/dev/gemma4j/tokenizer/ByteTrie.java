package dev.gemma4j.tokenizer;

import java.util.Arrays;
import java.util.SplittableRandom;

/** Byte strings with ids, walked byte by byte; its edges are one open-addressed table. */
final class ByteTrie {
  static final int ROOT = 0;
  static final int NONE = -1;

  private long[] keys = new long[64]; // (node << 8 | byte) + 1; 0 is empty
  private int[] children = new int[64];
  private int[] ids = {NONE};
  private int nodes = 1;
  private final boolean[] first = new boolean[256];
  // Random, so that no file can choose entries whose edges meet in few slots.
  private final long multiplier = new SplittableRandom().nextLong() | 1;

  void add(byte[] text, int id) {
    int node = ROOT;
    first[text[0] & 0xff] = true;
    for (byte b : text) {
      int child = child(node, b);
      if (child == NONE) {
        child = newNode();
        put(edge(node, b), child);
      }
      node = child;
    }
    ids[node] = id;
  }

  private int newNode() {
    if (nodes == ids.length) {
      ids = Arrays.copyOf(ids, 2 * nodes);
    }
    ids[nodes] = NONE;
    if (2 * nodes > keys.length) {
      long[] oldKeys = keys;
      int[] oldChildren = children;
      keys = new long[2 * oldKeys.length];
      children = new int[keys.length];
      for (int i = 0; i < oldKeys.length; i++) {
        if (oldKeys[i] != 0) {
          put(oldKeys[i], oldChildren[i]);
        }
      }
    }
    return nodes++;
  }

  private static long edge(int node, byte b) {
    return ((long) node << 8 | b & 0xff) + 1;
  }

  private int slot(long key) {
    return (int) (key * multiplier >>> 32) & keys.length - 1;
  }

  private void put(long key, int child) {
    int at = slot(key);
    while (keys[at] != 0) {
      at = at + 1 & keys.length - 1;
    }
    keys[at] = key;
    children[at] = child;
  }

  /** The node after a byte, or NONE. */
  int child(int node, byte b) {
    long key = edge(node, b);
    for (int at = slot(key); keys[at] != 0; at = at + 1 & keys.length - 1) {
      if (keys[at] == key) {
        return children[at];
      }
    }
    return NONE;
  }

  /** The id that ends at a node, or NONE. */
  int id(int node) {
    return ids[node];
  }

  /** The end of the longest entry that starts at {@code at}, or -1. */
  int longest(byte[] text, int at, int end) {
    if (!first[text[at] & 0xff]) {
      return -1;
    }
    int found = -1;
    int node = ROOT;
    for (int i = at; i < end; i++) {
      node = child(node, text[i]);
      if (node == NONE) {
        break;
      }
      if (ids[node] != NONE) {
        found = i + 1;
      }
    }
    return found;
  }
}
