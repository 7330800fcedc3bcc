package dev.gemma4j.decoding;

import dev.gemma4j.constraint.Constraint;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The transitions of a constraint that were needed so far, as numbers in one array: a walk over the
 * vocabulary takes a million of them. One thread at a time.
 */
final class StateTable {
  /** The number of no state. */
  static final int DEAD = -1;

  private static final int UNKNOWN = -2;
  private static final int MAX_KEPT = 4096; // 1 KB each

  private final Map<Constraint.State, Integer> numbers = new HashMap<>();
  private final List<Constraint.State> states = new ArrayList<>();
  private int[] table = new int[0]; // by state and byte

  /** Where a walk begins; numbers from earlier walks may be void. */
  int begin(Constraint.State state) {
    if (states.size() > MAX_KEPT) {
      numbers.clear();
      states.clear();
      table = new int[0];
    }
    return number(state);
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
   * @param b in [0, 255]
   */
  int next(int state, int b) {
    int known = table[state << 8 | b];
    return known == UNKNOWN ? ask(state, b) : known;
  }

  private int ask(int state, int b) {
    Constraint.State reached = states.get(state).next(b);
    int number = reached == null ? DEAD : number(reached);
    table[state << 8 | b] = number;
    return number;
  }
}
