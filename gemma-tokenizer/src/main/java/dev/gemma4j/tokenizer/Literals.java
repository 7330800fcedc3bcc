package dev.gemma4j.tokenizer;

/** The pieces that a text is searched for before it is segmented: all, and those of each turn. */
final class Literals {
  private final byte[] turns; // by id
  private final ByteTrie all = new ByteTrie();
  private final ByteTrie[] tries;

  Literals(byte[] turns) {
    this.turns = turns;
    int last = 0;
    for (byte turn : turns) {
      last = Math.max(last, turn);
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
      tries[turns[id]].add(text, id);
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
