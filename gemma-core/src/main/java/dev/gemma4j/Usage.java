package dev.gemma4j;

import java.time.Duration;

/**
 * What a generation took.
 *
 * @param prefill time to run the prompt
 * @param decode time of all steps after it
 * @param draftedTokens guesses that were verified, with {@link Speculation}
 * @param acceptedTokens guesses that were right, each of which saved a pass
 */
public record Usage(
    int promptTokens,
    int generatedTokens,
    Duration prefill,
    Duration decode,
    int draftedTokens,
    int acceptedTokens) {
  /** Without speculation. */
  public Usage(int promptTokens, int generatedTokens, Duration prefill, Duration decode) {
    this(promptTokens, generatedTokens, prefill, decode, 0, 0);
  }

  Usage withPromptTokens(int count) {
    return new Usage(count, generatedTokens, prefill, decode, draftedTokens, acceptedTokens);
  }
}
