package dev.gemma4j.sampling;

import java.util.random.RandomGenerator;

/** Chooses the next token. A lambda is enough; {@link Samplers} has the usual ones. */
@FunctionalInterface
public interface Sampler {
  /**
   * The id of the chosen token, in [0, logits.size()).
   *
   * @param random the generation's own source, seeded by its options
   * @throws IllegalArgumentException when nothing can be chosen, as {@link Logits#argmax} tells
   */
  int sample(Logits logits, RandomGenerator random);

  /**
   * The sampler of one new text: itself, unless it remembers something from token to token. Each
   * generation calls it once, so that one set of options serves many at a time.
   */
  default Sampler newText() {
    return this;
  }
}
