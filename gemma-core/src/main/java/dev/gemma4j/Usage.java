package dev.gemma4j;

import java.time.Duration;

/**
 * What a generation took.
 *
 * @param promptTokens of the prompt, reused ones among them
 * @param prefill time to run the prompt, from when it began
 * @param decode time of all steps after it, the passes of others that they waited for included
 * @param draftedTokens guesses that were verified, with {@link Speculation}
 * @param acceptedTokens guesses that were right, each of which saved a pass
 * @param reusedPromptTokens of the prompt that an earlier one had left computed
 * @param queued time until the prompt's first pass began
 * @param firstToken time from the request to the logits of the first token
 */
public record Usage(
    int promptTokens,
    int generatedTokens,
    Duration prefill,
    Duration decode,
    int draftedTokens,
    int acceptedTokens,
    int reusedPromptTokens,
    Duration queued,
    Duration firstToken) {}
