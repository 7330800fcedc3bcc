package dev.gemma4j.sampling;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Tokens ranked by how near their logits are to a centre, among equals the lower id first, and how
 * far the ranks must go for a share of the probability. Nothing is sorted: the mass by distance
 * tells where the wanted rank lies, and only what lies there is looked at closer, which takes time
 * in proportion to the vocabulary even when all logits are equal.
 *
 * <p>Sums are those of the ranks in order but for their rounding, 1e-13 of them.
 */
final class Nucleus {
  private static final int BUCKETS = 1024;
  private static final double BUCKETS_PER_NAT = 32;

  /** A mass of which nothing is lost when no token counts with less. */
  private static final double NOTHING = Math.exp(-700);

  private final float[] x;
  private final double center;
  private final float max;
  private final double scale;
  private final double leastLog;
  private final double[] masses = new double[BUCKETS]; // by distance; the last is open
  private final int[] sizes = new int[BUCKETS];
  private double total;

  /** The last token of a share in the order of the ranks, and what all up to it have together. */
  record Cut(int id, double distance, double mass) {}

  /**
   * @param x logits, of which negative infinity means impossible
   * @param center what the first rank is nearest to
   * @param max the largest logit; a token's mass is {@code exp((x - max) * scale)}
   * @param least the least mass of a token; those of less are as impossible as those of nothing
   */
  Nucleus(float[] x, double center, float max, double scale, double least) {
    this.x = x;
    this.center = center;
    this.max = max;
    this.scale = scale;
    this.leastLog = Math.log(Math.max(least, NOTHING));
    double[] p = new double[Softmax.LANES];
    for (int at = 0; at < x.length; at += Softmax.LANES) {
      int count = Math.min(Softmax.LANES, x.length - at);
      Softmax.exponentials(x, at, count, max, scale, p);
      for (int i = 0; i < count; i++) {
        if (!((x[at + i] - max) * scale < leastLog)) { // so that what is no number spoils the total
          int bucket = bucket(distance(at + i));
          masses[bucket] += p[i];
          sizes[bucket]++;
        }
      }
    }
    for (double mass : masses) {
      total += mass;
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

  private int bucket(double distance) {
    return (int) Math.min(distance * scale * BUCKETS_PER_NAT, BUCKETS - 1);
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
    int[] ids = new int[sizes[bucket]];
    double[] p = new double[ids.length];
    int size = 0;
    for (int id = 0; id < x.length && size < ids.length; id++) {
      if (bucket(distance(id)) == bucket && (x[id] - max) * scale >= leastLog) {
        ids[size++] = id;
      }
    }
    for (int i = 0; i < size; i++) {
      p[i] = mass(ids[i]);
    }
    return size == 0 ? null : reach(ids, p, size, target, before);
  }

  /** The same among some tokens, by ascending id, before which so much mass lies. */
  private Cut reach(int[] ids, double[] p, int size, double target, double before) {
    double[] inner = new double[BUCKETS];
    while (true) {
      double low = Double.POSITIVE_INFINITY;
      double high = 0;
      for (int i = 0; i < size; i++) {
        low = Math.min(low, distance(ids[i]));
        high = Math.max(high, distance(ids[i]));
      }
      if (low == high) {
        int last = 0;
        double held = before + p[0];
        while (held < target && last < size - 1) {
          held += p[++last];
        }
        return new Cut(ids[last], low, held);
      }
      // The nearest and the farthest are never in one bucket, so this ends: after few rounds, as
      // floats have few exponents.
      double width = (high - low) / BUCKETS;
      Arrays.fill(inner, 0);
      for (int i = 0; i < size; i++) {
        inner[inner(ids[i], low, width)] += p[i];
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
          p[kept++] = p[i];
        }
      }
      size = kept;
    }
  }

  private int inner(int id, double low, double width) {
    return (int) Math.min((distance(id) - low) / width, BUCKETS - 1);
  }
}
