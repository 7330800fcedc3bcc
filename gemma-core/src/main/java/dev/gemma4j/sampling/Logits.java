package dev.gemma4j.sampling;

import java.util.Arrays;

/**
 * The scores of all tokens for the next position, unnormalised. A view: it is valid until the
 * session that made it moves on; {@link #toArray} keeps a copy. {@linkplain LogitsProcessor
 * Processors} may change it in place.
 *
 * <p>A score is a finite number, or negative infinity, of which the token's probability is 0. Any
 * other says that something went wrong, so nothing is chosen from a row that has one, nor from a
 * row without a possible token: {@link #argmax} and what needs it, that is probabilities and all
 * {@link Samplers}, throw an {@link IllegalArgumentException}.
 */
public final class Logits {
  private final float[] values;

  private Logits(float[] values) {
    this.values = values;
  }

  /**
   * A view of the array, not a copy.
   *
   * @throws IllegalArgumentException when it is empty
   */
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

  /**
   * The score of a token.
   *
   * @throws IndexOutOfBoundsException when the id is not in [0, size())
   */
  public float get(int id) {
    return values[id];
  }

  /**
   * Changes the score of a token; negative infinity forbids it.
   *
   * @throws IndexOutOfBoundsException when the id is not in [0, size())
   */
  public void set(int id, float value) {
    values[id] = value;
  }

  /**
   * The token of the highest score, the lowest id among equals.
   *
   * @throws IllegalArgumentException when no token is possible, or a score is NaN or positive
   *     infinity
   */
  public int argmax() {
    int best = -1;
    float highest = Float.NEGATIVE_INFINITY;
    for (int id = 0; id < values.length; id++) {
      // Asked this way round, NaN comes in too, and the check costs the other tokens nothing.
      if (!(values[id] <= highest)) {
        highest = values[id];
        best = id;
        if (!(highest <= Float.MAX_VALUE)) {
          throw new IllegalArgumentException(
              "the logit of token "
                  + id
                  + " is "
                  + highest
                  + ", expected a finite number, or -Infinity to forbid the token");
        }
      }
    }
    if (best < 0) {
      throw new IllegalArgumentException("no token is possible: all logits are -Infinity");
    }
    return best;
  }

  /**
   * Natural logarithms of the probabilities, a new array [vocabSize].
   *
   * @throws IllegalArgumentException as {@link #argmax}
   */
  public float[] logSoftmax() {
    float[] result = new float[values.length];
    Softmax.logs(values, logSumExp(), result);
    return result;
  }

  /**
   * The natural logarithm of one token's probability.
   *
   * @throws IndexOutOfBoundsException when the id is not in [0, size())
   * @throws IllegalArgumentException as {@link #argmax}
   */
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
