package dev.gemma4j;

import dev.gemma4j.sampling.TokenHistory;
import java.util.Objects;

/**
 * Speculative decoding: something cheap guesses the next tokens, and one pass of the model computes
 * the logits after all of them. At each place the generation's own processors and sampler then
 * choose as if there were no guess; as long as the choice equals the guess, the next place's logits
 * are there already. So any guess and any sampler give the distribution that decoding without
 * speculation gives, and the same seed gives the same text (up to the rounding of a pass of several
 * rows, which may differ from that of one row in the last bits).
 *
 * <p>Leviathan et al. (https://arxiv.org/abs/2211.17192) accept a guess that was sampled with
 * probability min(1, p/q) instead. Here guesses are not random, and for such a guess their rule
 * accepts with the same probability p.
 *
 * <p>It pays where guesses are often right and a pass of a few rows costs little more than one row.
 * Where arithmetic and not memory is the limit, as on few cores, it may make decoding slower:
 * measure. {@link Usage} counts guesses and hits. Guesses for which there is no memory are left
 * out.
 */
@FunctionalInterface
public interface Speculation {
  /**
   * What guesses for one new text.
   *
   * @param model that generates
   */
  Drafter newText(Gemma model);

  /** Guesses the tokens of one text. */
  @FunctionalInterface
  interface Drafter extends AutoCloseable {
    /**
     * A guess of the next tokens.
     *
     * @param history the prompt and all tokens so far
     * @param most how many are of use; 1 or more
     * @return ids of the vocabulary; an empty array when there is nothing to guess; what is beyond
     *     {@code most} is ignored
     */
    int[] draft(TokenHistory history, int most);

    /** Called once the text has ended. */
    @Override
    default void close() {}
  }

  /**
   * Prompt lookup (https://github.com/apoorvumang/prompt-lookup-decoding): finds the last 2 to 4
   * tokens earlier in the text, the longest and then the latest match, and guesses what followed
   * there. Good for texts that quote their prompt, such as summaries and edited code.
   *
   * @param tokens the most to guess at a time, 1 to 15
   */
  static Speculation promptLookup(int tokens) {
    requireTokens(tokens);
    return model -> (history, most) -> PromptLookup.draft(history, Math.min(most, tokens));
  }

  /**
   * Guesses the most probable tokens of a smaller model of the same vocabulary.
   *
   * @param draft stays the caller's to close
   * @param tokens the most to guess at a time, 1 to 15
   */
  static Speculation draftModel(Gemma draft, int tokens) {
    Objects.requireNonNull(draft, "draft");
    requireTokens(tokens);
    return model -> {
      if (draft.config().vocabSize() != model.config().vocabSize()) {
        throw new IllegalArgumentException(
            "the draft model has a vocabulary of "
                + draft.config().vocabSize()
                + " tokens, the model one of "
                + model.config().vocabSize());
      }
      return new ModelDrafter(draft, tokens);
    };
  }

  private static void requireTokens(int tokens) {
    if (tokens < 1 || tokens > TokenStream.MAX_DRAFT) {
      throw new IllegalArgumentException(
          "tokens must be in [1, " + TokenStream.MAX_DRAFT + "], but is " + tokens);
    }
  }
}
