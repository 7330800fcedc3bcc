package dev.gemma4j.sampling;

import java.util.BitSet;

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

  /**
   * Divides positive logits of tokens that occurred by {@code penalty} and multiplies negative ones
   * (CTRL, https://arxiv.org/abs/1909.05858), each token once.
   *
   * @param penalty above 0 and finite; 1 changes nothing, more discourages repetition
   * @throws IllegalArgumentException when it is not
   */
  static LogitsProcessor repetitionPenalty(float penalty) {
    if (!(penalty > 0) || Float.isInfinite(penalty)) {
      throw new IllegalArgumentException(
          "repetitionPenalty must be above 0 and finite, but is " + penalty);
    }
    return (logits, history) -> {
      BitSet seen = new BitSet(logits.size());
      for (int i = 0; i < history.size(); i++) {
        int id = history.get(i);
        if (!seen.get(id)) {
          seen.set(id);
          float logit = logits.get(id);
          logits.set(id, logit > 0 ? logit / penalty : logit * penalty);
        }
      }
    };
  }
}
