package dev.gemma4j.sampling;

import java.util.Arrays;
import java.util.random.RandomGenerator;

/**
 * The best tokens of a row in order, among equals the lower id first. It may be used again and
 * again, and keeps its tables.
 */
final class Best {
  /** Sorting fewer at a time takes longer than comparing a few more. */
  private static final int LEAST_ROOM = 256;

  private long[] keys = {}; // ascending: the better a token, the less its key
  private double[] p = {};
  private int count;

  /**
   * Finds the best tokens of a row, at least one of which is possible.
   *
   * @param k the most that count, less than there are
   * @param floor logits below it need not count
   */
  Best select(float[] logits, int k, double floor) {
    int room = (int) Math.min(Math.max(2L * k, LEAST_ROOM), logits.length);
    if (keys.length < room) {
      keys = new long[room];
    }
    count = 0;
    float least = Math.nextDown((float) floor); // what a logit must exceed
    for (int id = 0; id < logits.length; id++) {
      if (logits[id] > least) {
        keys[count++] = key(logits[id], id);
        if (count == room) { // half of it or more goes, so this happens seldom enough
          cut(k);
          least = logits[id(k - 1)];
        }
      }
    }
    cut(k);
    return this;
  }

  private void cut(int k) {
    Arrays.sort(keys, 0, count);
    count = Math.min(count, k);
  }

  /** Orders by higher logits, then lower ids first. */
  private static long key(float logit, int id) {
    int bits = Float.floatToRawIntBits(logit + 0f); // of -0 too those of 0
    int ascending = bits ^ (bits >> 31 & 0x7fffffff);
    return (long) ~ascending << 32 | id;
  }

  /** How many tokens it found. */
  int size() {
    return count;
  }

  /**
   * One of the tokens found.
   *
   * @param rank 0 for the best
   */
  int id(int rank) {
    return (int) keys[rank];
  }

  /** Draws from what {@link #select} found in these logits: top-p, then min-p. */
  int draw(float[] logits, float max, double invT, float topP, float minP, RandomGenerator random) {
    if (p.length < count) {
      p = new double[keys.length];
    }
    double total = 0;
    for (int i = 0; i < count; i++) {
      p[i] = Math.exp((logits[id(i)] - max) * invT);
      total += p[i];
    }
    int keep = count;
    if (topP < 1) {
      double sum = 0;
      keep = 0;
      while (keep < count && sum < topP * total) {
        sum += p[keep++];
      }
    }
    int kept = 0;
    double mass = 0;
    while (kept < keep && p[kept] >= minP) {
      mass += p[kept++];
    }
    double left = random.nextDouble() * mass;
    for (int i = 0; i < kept - 1; i++) {
      left -= p[i];
      if (left < 0) {
        return id(i);
      }
    }
    return id(kept - 1);
  }
}
