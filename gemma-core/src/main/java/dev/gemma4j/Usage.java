package dev.gemma4j;

import java.time.Duration;

/**
 * What a generation took.
 *
 * @param prefill time to run the prompt
 * @param decode time of all steps after it
 */
public record Usage(int promptTokens, int generatedTokens, Duration prefill, Duration decode) {}
