package dev.gemma4j.tokenizer;

import dev.gemma4j.tokenizer.Vocabulary.Piece;
import java.util.List;

/** The pieces that a text is searched for before it is segmented: all, and those of each turn. */
final class Literals {
  /** Far more than any file asks for; each has a trie. */
  static final int MAX_TURN = 127;

  private final List<Piece> pieces;
  private final ByteTrie all = new ByteTrie();
  private final ByteTrie[] tries;

  Literals(List<Piece> pieces) {
    this.pieces = pieces;
    int last = 0;
    for (Piece piece : pieces) {
      last = Math.clamp(piece.turn(), last, MAX_TURN);
    }
    tries = new ByteTrie[last + 1];
    tries[0] = all;
    for (int turn = 0; last > 0 && turn <= last; turn++) { // else one serves as both
      tries[turn] = new ByteTrie();
    }
  }

  void add(byte[] text, int id) {
    all.add(text, id);
    if (tries[0] != all) {
      tries[pieces.get(id).turn()].add(text, id);
    }
  }

  ByteTrie all() {
    return all;
  }

  ByteTrie turn(int turn) {
    return tries[turn];
  }

  int lastTurn() {
    return tries.length - 1;
  }
}
