package dev.gemma4j.tokenizer;

/**
 * Ids with the part of the text each came from.
 *
 * @param starts UTF-16 offset of each token's first character
 * @param ends UTF-16 offset after its last character; the tokens of one character's bytes share it
 */
public record Encoding(int[] ids, int[] starts, int[] ends) {}
