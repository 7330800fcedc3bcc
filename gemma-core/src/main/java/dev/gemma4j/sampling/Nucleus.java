package dev.gemma4j.sampling;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Tokens ranked by how near their logits are to a centre, among equals the lower id first, and how
 * far the ranks must go for a share of the probability. Nothing is sorted: the mass by distance
 * tells where the wanted rank lies, and only what lies there is looked at closer, which takes time
 * in proportion to the vocabulary even when all logits are equal. It may be used again and again,
 * and keeps its tables.
 *
 * <p>Sums are those of the ranks in order but for their rounding, 1e-13 of them.
 */
final class Nucleus {
  private static final int BUCKETS = 1024;
  private static final double BUCKETS_PER_NAT = 32;

  /** A mass of which nothing is lost when no token counts with less. */
  private static final double NOTHING = Math.exp(-700);

  /** Of this many tokens, one must count for a vectorised exponential of all to be faster. */
  private static final int FEW = 8;

  private final double[] masses = new double[BUCKETS]; // by distance; the last is open
  private final int[] sizes = new int[BUCKETS];
  private final double[] inner = new double[BUCKETS]; // of a part of a bucket
  private final double[] p = new double[Softmax.LANES];
  private final int[] near = new int[Softmax.LANES]; // buckets of neighbouring tokens
  private final double[] sums = new double[Softmax.LANES];
  private float[] logs = {};
  private float[] x = {};
  private double center;
  private float max;
  private double scale;
  private double leastLog;
  private int[] counting = {}; // ids of the tokens that count
  private short[] buckets = {}; // theirs
  private int count;
  private double total;
  private int[] ids = {}; // of a bucket's tokens
  private double[] idMasses = {};

  /** The last token of a share in the order of the ranks, and what all up to it have together. */
  record Cut(int id, double distance, double mass) {}

  /**
   * Ranks the tokens of a row, which must not change meanwhile.
   *
   * @param x logits, of which negative infinity means impossible
   * @param center what the first rank is nearest to
   * @param max the largest logit; a token's mass is {@code exp((x - max) * scale)}
   * @param least the least mass of a token; those of less are as impossible as those of nothing
   */
  Nucleus rank(float[] x, double center, float max, double scale, double least) {
    this.x = x;
    this.center = center;
    this.max = max;
    this.scale = scale;
    leastLog = Math.log(least > NOTHING ? least : NOTHING);
    Arrays.fill(masses, 0);
    Arrays.fill(sizes, 0);
    count = 0;
    for (int at = 0; at < x.length; at += Softmax.LANES) {
      int n = Math.min(Softmax.LANES, x.length - at);
      if (counting.length < count + n) {
        counting = Arrays.copyOf(counting, Math.max(count + n, 2 * count));
        buckets = Arrays.copyOf(buckets, counting.length);
      }
      int first = count;
      gather(at, at + n);
      if (count - first > n / FEW) {
        Softmax.exponentials(x, at, n, max, scale, p);
        buckets(at, n);
        for (int i = first; i < count; i++) {
          int j = counting[i] - at;
          add(i, near[j], p[j]);
        }
      } else {
        for (int i = first; i < count; i++) {
          add(i, bucket(counting[i]), mass(counting[i]));
        }
      }
    }
    total = 0;
    for (double mass : masses) {
      total += mass;
    }
    return this;
  }

  /** The mass of all tokens of a row, before they are ranked: as {@link Softmax#sum}. */
  double sum(float[] x, float max, double scale) {
    return Softmax.sum(x, max, scale, sums, p);
  }

  /** As {@link Logits#logSoftmax}, valid until the next call. */
  float[] logSoftmax(float[] x) {
    if (logs.length != x.length) {
      logs = new float[x.length];
    }
    Softmax.logs(x, Softmax.logSumExp(x, sums, p), logs);
    return logs;
  }

  /** As {@link Softmax#entropy}. */
  double entropy(float[] x) {
    return Softmax.entropy(x, sums, p);
  }

  /** Finds the ids in [from, to) that count, without a jump that the processor would guess. */
  private void gather(int from, int to) {
    int size = count;
    for (int id = from; id < to; id++) {
      counting[size] = id;
      // so that what is no number spoils the total
      size += (x[id] - max) * scale < leastLog ? 0 : 1;
    }
    count = size;
  }

  private void add(int i, int bucket, double mass) {
    buckets[i] = (short) bucket;
    masses[bucket] += mass;
    sizes[bucket]++;
  }

  /** Those of n tokens, in a loop that the JIT vectorises. */
  private void buckets(int at, int n) {
    for (int i = 0; i < n; i++) {
      near[i] = bucket(at + i);
    }
  }

  /** The mass of all tokens that count. */
  double total() {
    return total;
  }

  double mass(int id) {
    return Math.exp((x[id] - max) * scale);
  }

  double distance(int id) {
    return Math.abs(x[id] - center);
  }

  /** Whether a token's rank is the cut's or before it. */
  boolean contains(Cut cut, int id) {
    double distance = distance(id);
    return distance < cut.distance || distance == cut.distance && id <= cut.id;
  }

  private int bucket(int id) {
    return (int) Math.min(distance(id) * scale * BUCKETS_PER_NAT, BUCKETS - 1);
  }

  /**
   * The first rank at which the mass reaches a target, the last possible token's when none does,
   * and the first of all when the target is no number; null when no token is possible.
   */
  @Nullable Cut reach(double target) {
    int bucket = BUCKETS;
    double held = 0;
    double before = 0;
    for (int i = 0; i < BUCKETS && (bucket == BUCKETS || held < target); i++) {
      if (sizes[i] > 0) {
        bucket = i;
        before = held;
        held += masses[i];
      }
    }
    if (bucket == BUCKETS) {
      return null;
    }
    if (ids.length < sizes[bucket]) {
      ids = new int[sizes[bucket]];
      idMasses = new double[ids.length];
    }
    int size = 0;
    for (int i = 0; i < count && size < sizes[bucket]; i++) {
      int id = counting[i];
      if (buckets[i] == bucket && (x[id] - max) * scale >= leastLog) {
        idMasses[size] = mass(id);
        ids[size++] = id;
      }
    }
    return size == 0 ? null : reach(size, target, before);
  }

  /** The same among the first ids, which ascend, before which so much mass lies. */
  private Cut reach(int size, double target, double before) {
    while (true) {
      double low = Double.POSITIVE_INFINITY;
      double high = 0;
      for (int i = 0; i < size; i++) {
        low = Math.min(low, distance(ids[i]));
        high = Math.max(high, distance(ids[i]));
      }
      if (low == high) {
        int last = 0;
        double held = before + idMasses[0];
        while (held < target && last < size - 1) {
          held += idMasses[++last];
        }
        return new Cut(ids[last], low, held);
      }
      // The nearest and the farthest are never in one bucket, so this ends: after few rounds, as
      // floats have few exponents.
      double width = (high - low) / BUCKETS;
      Arrays.fill(inner, 0);
      for (int i = 0; i < size; i++) {
        inner[inner(ids[i], low, width)] += idMasses[i];
      }
      int bucket = -1;
      double held = before;
      for (int i = 0; i < BUCKETS && (bucket < 0 || held < target); i++) {
        if (inner[i] > 0) {
          bucket = i;
          before = held;
          held += inner[i];
        }
      }
      int kept = 0;
      for (int i = 0; i < size; i++) {
        if (inner(ids[i], low, width) == bucket) {
          ids[kept] = ids[i];
          idMasses[kept++] = idMasses[i];
        }
      }
      size = kept;
    }
  }

  private int inner(int id, double low, double width) {
    return (int) Math.min((distance(id) - low) / width, BUCKETS - 1);
  }
}
