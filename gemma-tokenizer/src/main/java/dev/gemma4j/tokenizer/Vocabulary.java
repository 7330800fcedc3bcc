package dev.gemma4j.tokenizer;

import java.util.List;

/**
 * Everything a SentencePiece tokenizer consists of, whichever file it came from.
 *
 * @param pieces by id
 * @param scores by id
 * @param types by id
 * @param algorithm how text is segmented
 * @param bosId -1 when there is none, as for the other ids
 * @param addDummyPrefix whether a space goes in front of the text
 * @param removeExtraWhitespaces whether spaces are trimmed and squeezed
 * @param escapeWhitespaces whether spaces become U+2581
 * @param byteFallback whether unknown characters become bytes
 * @param charsMap the normalisation table in SentencePiece's precompiled form; empty for none
 * @param markers by id, which user-defined pieces the file calls special: they steer the model. The
 *     tokenizer knows Gemma's own besides, and takes white space for text.
 * @param turns by id, when a user-defined piece is looked for: those of a lower number first, each
 *     the leftmost and longest in what the turns before left. SentencePiece has but one turn, 0.
 */
public record Vocabulary(
    List<String> pieces,
    float[] scores,
    PieceType[] types,
    Algorithm algorithm,
    int bosId,
    int eosId,
    int padId,
    boolean addDummyPrefix,
    boolean removeExtraWhitespaces,
    boolean escapeWhitespaces,
    boolean byteFallback,
    byte[] charsMap,
    boolean[] markers,
    byte[] turns) {
  /** How text is segmented. */
  public enum Algorithm {
    BPE,
    UNIGRAM
  }

  /** One whose file calls no piece special, with one turn. */
  public Vocabulary(
      List<String> pieces,
      float[] scores,
      PieceType[] types,
      Algorithm algorithm,
      int bosId,
      int eosId,
      int padId,
      boolean addDummyPrefix,
      boolean removeExtraWhitespaces,
      boolean escapeWhitespaces,
      boolean byteFallback,
      byte[] charsMap) {
    this(
        pieces,
        scores,
        types,
        algorithm,
        bosId,
        eosId,
        padId,
        addDummyPrefix,
        removeExtraWhitespaces,
        escapeWhitespaces,
        byteFallback,
        charsMap,
        new boolean[pieces.size()],
        new byte[pieces.size()]);
  }

  /** The same, whose texts begin with another token. */
  public Vocabulary withBosId(int id) {
    return new Vocabulary(
        pieces,
        scores,
        types,
        algorithm,
        id,
        eosId,
        padId,
        addDummyPrefix,
        removeExtraWhitespaces,
        escapeWhitespaces,
        byteFallback,
        charsMap,
        markers,
        turns);
  }
}
