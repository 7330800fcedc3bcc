package dev.gemma4j.sampling;

import java.util.Arrays;

/**
 * Sums over exponentials of whole rows of logits, in loops that the JIT vectorises: a quarter of a
 * million calls of {@link Math#exp} take longer than a small model takes for a token.
 */
final class Softmax {
  /** Sums side by side: the JIT vectorises what does not depend on the order of one sum. */
  static final int LANES = 512;

  /** e^-60 of the largest is nothing, even a million times. */
  private static final double LEAST = -60;

  private Softmax() {}

  /**
   * The sum of {@code exp((x - max) * scale)}, none of which may be above 1, to 1e-13 of it.
   *
   * @param sums a buffer of {@value #LANES}, as is p
   */
  static double sum(float[] x, float max, double scale, double[] sums, double[] p) {
    Arrays.fill(sums, 0);
    int whole = x.length - x.length % LANES;
    for (int at = 0; at < whole; at += LANES) {
      roots(x, at, max, scale, p);
      for (int i = 0; i < LANES; i++) {
        sums[i] += power(p[i]);
      }
    }
    double sum = total(sums);
    for (int i = whole; i < x.length; i++) {
      sum += Math.exp((x[i] - max) * scale);
    }
    return sum;
  }

  /**
   * {@code out = exp((x - max) * scale)} of a few from {@code at} on, at most {@value #LANES}, to
   * 1e-13 of each; e^-60 for less.
   */
  static void exponentials(float[] x, int at, int count, float max, double scale, double[] out) {
    if (count == LANES) {
      roots(x, at, max, scale, out);
      for (int i = 0; i < LANES; i++) {
        out[i] = power(out[i]);
      }
    } else {
      for (int i = 0; i < count; i++) {
        out[i] = Math.exp((x[at + i] - max) * scale);
      }
    }
  }

  /**
   * The logarithm of the sum of all exponentials; buffers as of {@link #sum}. It is finite, as a
   * row that has no finite maximum, or holds NaN, is refused: see {@link Logits#argmax}.
   */
  static double logSumExp(float[] x, double[] sums, double[] p) {
    float max = x[Logits.of(x).argmax()];
    return max + Math.log(sum(x, max, 1, sums, p));
  }

  /** {@code out = x - logSum}: logarithms of probabilities, given that of all exponentials. */
  static void logs(float[] x, double logSum, float[] out) {
    for (int i = 0; i < x.length; i++) {
      out[i] = (float) (x[i] - logSum);
    }
  }

  /**
   * The entropy in nats of the distribution with these logarithms, to 1e-12.
   *
   * @param sums a buffer of {@value #LANES}, as is p
   */
  static double entropy(float[] logs, double[] sums, double[] p) {
    Arrays.fill(sums, 0);
    int whole = logs.length - logs.length % LANES;
    for (int at = 0; at < whole; at += LANES) {
      roots(logs, at, 0, 1, p);
      for (int i = 0; i < LANES; i++) {
        // An impossible token's logarithm is infinite; what is left of 60 times e^-60 is nothing.
        sums[i] -= power(p[i]) * Math.max(logs[at + i], LEAST);
      }
    }
    double sum = total(sums);
    for (int i = whole; i < logs.length; i++) {
      double probability = Math.exp(logs[i]);
      sum -= probability > 0 ? probability * logs[i] : 0;
    }
    return sum;
  }

  /**
   * {@code out = exp((x - max) * scale / 1024)}: so near 0 that a few terms of the series are
   * exact. Taking the bits of a power of two apart would be shorter, but is not vectorised.
   */
  private static void roots(float[] x, int at, float max, double scale, double[] out) {
    for (int i = 0; i < LANES; i++) {
      double y = Math.max((x[at + i] - max) * scale, LEAST) * 0x1p-10;
      double p = 1 / 120.0 + y * (1 / 720.0 + y * (1 / 5040.0 + y * (1 / 40320.0)));
      p = 1 / 6.0 + y * (1 / 24.0 + y * p);
      out[i] = 1 + y * (1 + y * (1 / 2.0 + y * p));
    }
  }

  /** p^1024. */
  private static double power(double p) {
    p *= p;
    p *= p;
    p *= p;
    p *= p;
    p *= p;
    p *= p;
    p *= p;
    p *= p;
    p *= p;
    return p * p;
  }

  private static double total(double[] sums) {
    double total = 0;
    for (double sum : sums) {
      total += sum;
    }
    return total;
  }
}
