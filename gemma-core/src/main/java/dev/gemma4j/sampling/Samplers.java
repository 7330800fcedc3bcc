package dev.gemma4j.sampling;

import java.util.Objects;
import java.util.random.RandomGenerator;
import org.jspecify.annotations.Nullable;

/**
 * The usual samplers. All but {@link #mirostat}, and {@link #xtc} before one that is not, are
 * immutable and safe to share; what their {@link Sampler#newText} returns serves one text, whose
 * tokens share its tables. Each throws an {@link IllegalArgumentException} when no token is
 * possible, or a logit is NaN or positive infinity: see {@link Logits}.
 */
public final class Samplers {
  /** The exponential of less is nothing. */
  private static final double LEAST = -745;

  private Samplers() {}

  /** Always the most probable token, the lowest id among equals. */
  public static Sampler greedy() {
    return (logits, random) -> logits.argmax();
  }

  /**
   * From the whole distribution, softmax(logits / temperature).
   *
   * @param temperature 0 or more; 0 is greedy, here and below
   * @throws IllegalArgumentException when it is out of range
   */
  public static Sampler temperature(float temperature) {
    return of(temperature, 0, 1, 0);
  }

  /**
   * From the {@code k} most probable tokens.
   *
   * @param k 0 for no limit, as is the vocabulary's size
   * @throws IllegalArgumentException when a number is out of range
   */
  public static Sampler topK(int k, float temperature) {
    return of(temperature, k, 1, 0);
  }

  /**
   * From the fewest tokens whose probabilities, after the temperature, reach {@code p}
   * (https://arxiv.org/abs/1904.09751).
   *
   * @param p in (0, 1]; 1 for no limit
   * @throws IllegalArgumentException when a number is out of range
   */
  public static Sampler topP(float p, float temperature) {
    return of(temperature, 0, p, 0);
  }

  /**
   * From the tokens that are, after the temperature, at least {@code p} times as probable as the
   * best.
   *
   * @param p in [0, 1); 0 for no limit
   * @throws IllegalArgumentException when a number is out of range
   */
  public static Sampler minP(float p, float temperature) {
    return of(temperature, 0, 1, p);
  }

  /**
   * Temperature, then top-k, then top-p on what is left, then min-p.
   *
   * @param temperature 0 or more; 0 is greedy
   * @param topK 0 for no limit, as is the vocabulary's size
   * @param topP in (0, 1]; 1 for no limit
   * @param minP in [0, 1); 0 for no limit
   * @throws IllegalArgumentException when a number is out of range; the message names it
   */
  public static Sampler of(float temperature, int topK, float topP, float minP) {
    check(
        temperature >= 0 && temperature <= Float.MAX_VALUE,
        "temperature",
        "0 or more",
        temperature);
    check(topK >= 0, "topK", "0 or more", topK);
    check(topP > 0 && topP <= 1, "topP", "in (0, 1]", topP);
    check(minP >= 0 && minP < 1, "minP", "in [0, 1)", minP);
    return temperature == 0 ? greedy() : new Usual(temperature, topK, topP, minP, null, null);
  }

  /**
   * Of {@link #of}.
   *
   * @param nucleus that of one text, or null for a new one at each token; so is best
   */
  private record Usual(
      float temperature,
      int topK,
      float topP,
      float minP,
      @Nullable Nucleus nucleus,
      @Nullable Best best)
      implements Sampler {
    @Override
    public int sample(Logits logits, RandomGenerator random) {
      return topK == 0 || topK >= logits.size()
          ? ofAll(logits, random, nucleus == null ? new Nucleus() : nucleus)
          : ofBest(logits, random, best == null ? new Best() : best);
    }

    private int ofAll(Logits logits, RandomGenerator random, Nucleus tables) {
      float max = logits.get(logits.argmax());
      double invT = 1.0 / temperature;
      return topP == 1 && minP == 0
          ? walk(tables, logits, max, invT, random)
          : Samplers.nucleus(tables, logits.values(), max, invT, topP, minP, random);
    }

    private int ofBest(Logits logits, RandomGenerator random, Best tables) {
      float max = logits.get(logits.argmax());
      // What min-p surely excludes is left out before anything is sorted; but it still counts in
      // the mass of the top k of which top-p takes its share.
      double floor =
          minP > 0 && topP == 1
              ? max + Math.log(minP) * temperature - 1e-3
              : Double.NEGATIVE_INFINITY;
      return tables
          .select(logits.values(), topK, floor)
          .draw(logits.values(), max, 1.0 / temperature, topP, minP, random);
    }

    @Override
    public Sampler newText() {
      return new Usual(temperature, topK, topP, minP, new Nucleus(), new Best());
    }

    /** As it is made. */
    @Override
    public String toString() {
      return "Samplers.of(" + temperature + ", " + topK + ", " + topP + ", " + minP + ")";
    }
  }

  /**
   * Mirostat 2.0 (https://arxiv.org/abs/2007.14966, algorithm 2): forbids tokens of more than
   * {@code mu} bits of surprise, but never the best, and moves {@code mu}, at first {@code 2 *
   * tau}, after each token so that the text's mean surprise becomes {@code tau}. It remembers
   * {@code mu}: generations each take a {@linkplain Sampler#newText new one}; in a decoding loop of
   * one's own, so must each text.
   *
   * @param tau the aim in bits per token, above 0; 5 is usual
   * @param eta the learning rate, in (0, 1]; 0.1 is usual
   * @throws IllegalArgumentException when a number is out of range
   */
  public static Sampler mirostat(float tau, float eta) {
    check(tau > 0 && tau <= Float.MAX_VALUE, "tau", "above 0", tau);
    check(eta > 0 && eta <= 1, "eta", "in (0, 1]", eta);
    return new Mirostat(tau, eta);
  }

  /**
   * XTC, "exclude top choices" (<a
   * href="https://github.com/oobabooga/text-generation-webui/pull/6335">p-e-w, 2024</a>, and
   * llama.cpp): sometimes forbids all tokens of at least {@code threshold} but the least probable
   * of them, for less usual texts. It looks at the distribution before the next sampler's
   * temperature.
   *
   * @param probability of doing so at a token, in [0, 1]; 0.5 is usual
   * @param threshold a probability in (0, 1]; 0.1 is usual, above 0.5 there is never a second one
   * @param next chooses from what is left
   * @throws IllegalArgumentException when a number is out of range
   */
  public static Sampler xtc(float probability, float threshold, Sampler next) {
    check(probability >= 0 && probability <= 1, "probability", "in [0, 1]", probability);
    check(threshold > 0 && threshold <= 1, "threshold", "in (0, 1]", threshold);
    Objects.requireNonNull(next, "next");
    return new Sampler() {
      @Override
      public int sample(Logits logits, RandomGenerator random) {
        if (random.nextDouble() < probability) {
          excludeTopChoices(logits, threshold);
        }
        return next.sample(logits, random);
      }

      @Override
      public Sampler newText() {
        return xtc(probability, threshold, next.newText());
      }
    };
  }

  private static void excludeTopChoices(Logits logits, float threshold) {
    float[] logs = logits.logSoftmax();
    double floor = Math.log(threshold);
    int least = -1;
    for (int id = 0; id < logs.length; id++) {
      if (logs[id] >= floor && (least < 0 || logs[id] <= logs[least])) {
        least = id; // among equals the last, as the first ranks above it
      }
    }
    for (int id = 0; id < logs.length; id++) {
      if (logs[id] >= floor && id != least) {
        logits.set(id, Float.NEGATIVE_INFINITY);
      }
    }
  }

  private static void check(boolean ok, String name, String range, Number value) {
    if (!ok) {
      throw new IllegalArgumentException(name + " must be " + range + ", but is " + value);
    }
  }

  /** Top-p and min-p of all tokens, which may keep nearly all: nothing is sorted. */
  private static int nucleus(
      Nucleus nucleus,
      float[] logits,
      float max,
      double invT,
      float topP,
      float minP,
      RandomGenerator random) {
    if (topP < 1) {
      double total = nucleus.sum(logits, max, invT);
      // All tokens of less have half of what top-p leaves out at most, so they are left out.
      double least = (1 - (double) topP) / 2 * total / logits.length;
      nucleus.rank(logits, max, max, invT, least);
      Nucleus.@Nullable Cut cut = nucleus.reach(topP * total);
      if (cut != null && (minP == 0 || nucleus.mass(cut.id()) >= minP)) {
        int id = draw(nucleus, cut.mass(), random);
        return nucleus.contains(cut, id) ? id : cut.id(); // rounding may go one further
      }
    }
    nucleus.rank(logits, max, max, invT, minP); // min-p goes less far than top-p
    return draw(nucleus, nucleus.total(), random);
  }

  private static int draw(Nucleus nucleus, double mass, RandomGenerator random) {
    // The first rank whose sum is above the draw, not just equal to it.
    Nucleus.Cut drawn = nucleus.reach(Math.nextUp(random.nextDouble() * mass));
    if (drawn == null) {
      throw new IllegalStateException("no token counts, not even the best");
    }
    return drawn.id();
  }

  /** Draws from the full distribution without storing it. */
  private static int walk(
      Nucleus tables, Logits logits, float max, double invT, RandomGenerator random) {
    double sum = tables.sum(logits.values(), max, invT);
    double left = random.nextDouble() * sum;
    int last = 0;
    for (int i = 0; i < logits.size(); i++) {
      double y = (logits.get(i) - max) * invT;
      if (y > LEAST) {
        last = i;
        left -= Math.exp(y);
        if (left < 0) {
          return i;
        }
      }
    }
    return last; // rounding left a crumb
  }
}
