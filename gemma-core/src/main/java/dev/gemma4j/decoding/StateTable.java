package dev.gemma4j.decoding;

import dev.gemma4j.constraint.Constraint;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BooleanSupplier;

/**
 * The transitions of a constraint that were needed so far, as numbers in one array: a walk over the
 * vocabulary takes a million of them. One thread at a time.
 */
final class StateTable {
  /** The number of no state. */
  static final int DEAD = -1;

  private static final int UNKNOWN = -2;

  /**
   * Beyond these all are forgotten but those that a walk stands on: in a constraint that remembers
   * the text, each token of the vocabulary leads to a state of its own.
   */
  static final int MAX_KEPT = 4096; // 1 KB each, and the states

  private final Map<Constraint.State, Integer> numbers = new HashMap<>();
  private final List<Constraint.State> states = new ArrayList<>();
  private int[] table = new int[0]; // by state and byte

  /**
   * Begins a walk; numbers from earlier ones may be void.
   *
   * @param path what the walk stands on, by depth: at first, this state
   */
  void begin(Constraint.State state, int[] path) {
    path[0] = number(state);
  }

  private int number(Constraint.State state) {
    Integer known = numbers.putIfAbsent(state, states.size());
    if (known != null) {
      return known;
    }
    int number = states.size();
    states.add(state);
    if (number << 8 >= table.length) {
      int before = table.length;
      table = Arrays.copyOf(table, Math.max(16 << 8, 2 * before));
      Arrays.fill(table, before, table.length, UNKNOWN);
    }
    return number;
  }

  /**
   * The state after a byte, or DEAD.
   *
   * @param path the states down to this depth, whose numbers may change
   * @param b in [0, 255]
   * @param cancelled as {@link TokenMasks#of}
   */
  int next(int[] path, int depth, int b, BooleanSupplier cancelled) {
    int known = table[path[depth] << 8 | b];
    return known == UNKNOWN ? ask(path, depth, b, cancelled) : known;
  }

  private int ask(int[] path, int depth, int b, BooleanSupplier cancelled) {
    TokenMasks.check(cancelled); // here, as an ambiguous constraint may think for long
    if (states.size() >= MAX_KEPT) {
      forgetAllBut(path, depth);
    }
    Constraint.State reached = states.get(path[depth]).next(b);
    int number = reached == null ? DEAD : number(reached);
    table[path[depth] << 8 | b] = number;
    return number;
  }

  private void forgetAllBut(int[] path, int depth) {
    List<Constraint.State> kept = new ArrayList<>();
    for (int i = 0; i <= depth; i++) {
      kept.add(states.get(path[i]));
    }
    numbers.clear();
    states.clear();
    Arrays.fill(table, UNKNOWN);
    for (int i = 0; i <= depth; i++) {
      path[i] = number(kept.get(i));
    }
  }
}
