package dev.gemma4j.sampling;

import java.util.Arrays;

/**
 * The scores of all tokens for the next position, unnormalised. A view: it is valid until the
 * session that made it moves on; {@link #toArray} keeps a copy. {@linkplain LogitsProcessor
 * Processors} may change it in place.
 */
public final class Logits {
  private final float[] values;

  private Logits(float[] values) {
    this.values = values;
  }

  /** A view of the array, not a copy. */
  public static Logits of(float... values) {
    if (values.length == 0) {
      throw new IllegalArgumentException("logits of no tokens");
    }
    return new Logits(values);
  }

  /** The size of the vocabulary. */
  public int size() {
    return values.length;
  }

  /** The score of a token. */
  public float get(int id) {
    return values[id];
  }

  /** Changes the score of a token; negative infinity forbids it. */
  public void set(int id, float value) {
    values[id] = value;
  }

  /** The token of the highest score, the lowest id among equals. */
  public int argmax() {
    int best = 0;
    for (int i = 1; i < values.length; i++) {
      if (values[i] > values[best]) {
        best = i;
      }
    }
    return best;
  }

  /** Natural logarithms of the probabilities, a new array [vocabSize]. */
  public float[] logSoftmax() {
    float[] result = new float[values.length];
    Softmax.logs(values, logSumExp(), result);
    return result;
  }

  /** The natural logarithm of one token's probability. */
  public double logProbability(int id) {
    return values[id] - logSumExp();
  }

  private double logSumExp() {
    return Softmax.logSumExp(values, new double[Softmax.LANES], new double[Softmax.LANES]);
  }

  /** The scores themselves. */
  float[] values() {
    return values;
  }

  /** A copy. */
  public float[] toArray() {
    return Arrays.copyOf(values, values.length);
  }
}
