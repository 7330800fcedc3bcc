package dev.gemma4j;

import java.util.List;

/**
 * A finished generation.
 *
 * @param text the generated text, without the prompt
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

  Generation withPromptTokens(int count) {
    Usage corrected =
        new Usage(
            count,
            usage.generatedTokens(),
            usage.prefill(),
            usage.decode(),
            usage.reusedPromptTokens(),
            usage.queued(),
            usage.firstToken());
    return new Generation(text, tokens, finishReason, corrected, logProbabilities);
  }
}
