package dev.gemma4j;

/**
 * How probable a token was.
 *
 * @param value the natural logarithm of its probability
 */
public record LogProbability(int id, float value) {}
