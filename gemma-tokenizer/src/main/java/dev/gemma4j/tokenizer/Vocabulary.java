package dev.gemma4j.tokenizer;

import java.util.List;

/**
 * Everything a SentencePiece tokenizer consists of, whichever file it came from. What it cannot
 * spell becomes bytes where there are pieces for them.
 *
 * @param pieces by id
 * @param algorithm how text is segmented
 * @param normalization what is done to a text before
 * @param bosId what is in front of a text; -1 when there is none, as for the other ids
 * @param eosId what ends a text
 * @param padId what fills a place without text
 * @param addBos whether texts begin with the first of them; chats do in any case
 */
public record Vocabulary(
    List<Piece> pieces,
    Algorithm algorithm,
    Normalization normalization,
    int bosId,
    int eosId,
    int padId,
    boolean addBos) {
  public Vocabulary {
    pieces = List.copyOf(pieces);
  }

  /** How text is segmented. */
  public enum Algorithm {
    BPE,
    UNIGRAM
  }

  /**
   * A part of a text that has an id.
   *
   * @param text as the vocabulary spells it, U+2581 for spaces
   * @param score the higher, the sooner it is merged, or the likelier it is
   * @param type what it is for
   * @param marker whether the file calls a user-defined piece special: it steers the model. The
   *     tokenizer knows Gemma's own besides, and takes white space for text.
   * @param turn when a user-defined piece is looked for: those of a lower number first, each the
   *     leftmost and longest in what the turns before left. SentencePiece has but one turn, 0.
   */
  public record Piece(String text, float score, PieceType type, boolean marker, int turn) {
    /** One that is not special, of the first turn. */
    public Piece(String text, float score, PieceType type) {
      this(text, score, type, false, 0);
    }
  }

  /**
   * What is done to a text before it is segmented.
   *
   * @param addDummyPrefix whether a space goes in front of it
   * @param removeExtraWhitespaces whether spaces are trimmed and squeezed
   * @param escapeWhitespaces whether spaces become U+2581
   * @param charsMap the table in SentencePiece's precompiled form; empty for none
   */
  public record Normalization(
      boolean addDummyPrefix,
      boolean removeExtraWhitespaces,
      boolean escapeWhitespaces,
      byte[] charsMap) {
    /** Gemma's own: spaces become U+2581, and that is all. */
    public static final Normalization GEMMA = new Normalization(false, false, true, new byte[0]);
  }

  /** The same, whose texts begin with another token, or without. */
  public Vocabulary withBos(int id, boolean add) {
    return new Vocabulary(pieces, algorithm, normalization, id, eosId, padId, add);
  }
}
