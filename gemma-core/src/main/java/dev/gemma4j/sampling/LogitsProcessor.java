package dev.gemma4j.sampling;

/** Changes the logits before the sampler sees them. */
@FunctionalInterface
public interface LogitsProcessor {
  /**
   * Changes {@code logits} in place. Negative infinity forbids a token; to force one, forbid all
   * others. NaN and positive infinity are refused when a token is chosen, and so is a row whose
   * tokens are all forbidden: the generation then throws an {@link IllegalArgumentException}.
   *
   * @param history the prompt and all tokens generated so far
   */
  void process(Logits logits, TokenHistory history);

  /**
   * The processor of one new text: itself, unless it keeps something from token to token. Each
   * generation calls it once, so that one set of options serves many at a time; {@link
   * dev.gemma4j.Search#beams}, whose texts fork, does not.
   */
  default LogitsProcessor newText() {
    return this;
  }
}
