package dev.gemma4j;

import java.util.List;

/**
 * A finished generation.
 *
 * @param text the generated text, without the prompt: the texts of the stream's tokens, joined;
 *     when cancelled, it lacks what the last tokens only began, a character or a stop string
 * @param tokens the generated ids, without an end-of-text token
 * @param logProbabilities one for each token, none unless {@linkplain
 *     GenerationOptions.Builder#logProbabilities asked for}
 */
public record Generation(
    String text,
    List<Integer> tokens,
    FinishReason finishReason,
    Usage usage,
    List<TokenLogProbabilities> logProbabilities) {
  public Generation {
    tokens = List.copyOf(tokens);
    logProbabilities = List.copyOf(logProbabilities);
  }

  /** The tokens as an array, as sessions and the tokenizer take them. */
  public int[] ids() {
    return tokens.stream().mapToInt(Integer::intValue).toArray();
  }
}
