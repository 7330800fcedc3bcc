package dev.gemma4j;

import org.jspecify.annotations.Nullable;

/**
 * One generated token as it is streamed.
 *
 * @param text what it adds to the text; empty while a character or a possible stop string is
 *     incomplete. Text held back to the end comes with the last token, which is the end-of-text
 *     token itself when nothing else follows.
 * @param logProbabilities null unless {@linkplain GenerationOptions.Builder#logProbabilities asked
 *     for}
 */
public record Token(int id, String text, @Nullable TokenLogProbabilities logProbabilities) {}
