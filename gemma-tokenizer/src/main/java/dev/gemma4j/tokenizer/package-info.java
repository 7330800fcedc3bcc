/**
 * SentencePiece (https://github.com/google/sentencepiece) for Gemma: text to ids and back.
 *
 * <p>Text is normalised (spaces become U+2581, and what the model's table asks for), cut at
 * user-defined pieces, and then segmented: BPE starts from single characters and merges the
 * neighbours whose union is the best-scored piece until none is left; unigram finds the
 * segmentation of the highest total score. Characters outside the vocabulary become their UTF-8
 * bytes. {@link dev.gemma4j.tokenizer.Tokenizer} is where to start.
 */
@NullMarked
package dev.gemma4j.tokenizer;

import org.jspecify.annotations.NullMarked;
