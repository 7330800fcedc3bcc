package dev.gemma4j.constraint;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CancellationException;
import org.jspecify.annotations.Nullable;

/**
 * A grammar as a deterministic machine over bytes. Its states are sets of places in the grammar's
 * network, made as they are met (the lazy subset construction of RE2,
 * https://swtch.com/~rsc/regexp/regexp3.html), so neither nesting nor large counts cost anything in
 * advance. Safe for any number of threads.
 */
final class Automaton implements Constraint {
  /** Beyond these the known states are forgotten and made again when met. */
  private static final int MAX_KNOWN = 10_000; // 1 KB each

  private static final int MAX_KNOWN_PLACES = 200_000; // 70 bytes each

  /** A grammar so ambiguous that more places are possible at once is refused. */
  private static final int MAX_PLACES = 5_000;

  private final List<String> source;
  private final Place start;
  private final Map<Place, Place> known = new HashMap<>(); // this and what follows, by this
  private final List<Place> withRows = new ArrayList<>();
  private int knownPlaces;

  /**
   * The machine of a grammar.
   *
   * @param source what the grammar was made of: machines of equal ones are equal
   * @param rules by the names that references use
   * @throws IllegalArgumentException when it allows no text at all, or is too large
   * @throws CancellationException when the thread is interrupted, which stays so
   */
  Automaton(List<String> source, Expression expression, Map<String, Expression> rules) {
    Place first;
    try {
      first = place(List.of(new Frame(Network.build(expression, rules), null)));
    } catch (CancellationException e) { // an IllegalStateException too
      throw e;
    } catch (IllegalStateException e) {
      throw new IllegalArgumentException(e.getMessage(), e); // before any text is read
    }
    if (first == null) {
      throw new IllegalStateException("a productive grammar without a first state");
    }
    this.source = source;
    this.start = first;
  }

  @Override
  public State start() {
    return start;
  }

  @Override
  public int hashCode() {
    return source.hashCode();
  }

  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof Automaton that && source.equals(that.source);
  }

  /** How many places in the grammar a state stands for. */
  static int places(State state) {
    return state instanceof Place place ? place.frames.size() : 0;
  }

  /** Where bytes begin that may lead elsewhere than those before them. */
  static void addCuts(State state, BitSet cuts) {
    if (state instanceof Place place) {
      for (Frame frame : place.frames) {
        for (Node.ByteEdge edge : frame.node.bytes) {
          cuts.set(edge.low());
          cuts.set(edge.high() + 1);
        }
      }
    }
  }

  /** Follows all edges that read nothing; null when nothing is left. */
  private synchronized @Nullable Place place(List<Frame> frames) {
    Set<Frame> seen = new HashSet<>();
    Set<Frame> reading = new HashSet<>();
    ArrayDeque<Frame> open = new ArrayDeque<>(frames);
    boolean accepting = false;
    while (!open.isEmpty()) {
      Frame frame = open.pop();
      if (!frame.node.isProductive || !seen.add(frame)) {
        continue;
      }
      if (seen.size() > MAX_PLACES) {
        throw new IllegalStateException(
            "the constraint is too ambiguous: more than " + MAX_PLACES + " readings of a text");
      }
      Frame caller = frame.caller;
      if (!frame.node.bytes.isEmpty()) {
        reading.add(frame);
      }
      for (Node target : frame.node.empties) {
        open.push(new Frame(target, caller));
      }
      for (Node.Call call : frame.node.calls) {
        if (call.rule().isProductive && call.after().isProductive) {
          // A call at a rule's end does not come back: rules may end in themselves for ever.
          Frame back = call.after().isTail() ? caller : new Frame(call.after(), caller);
          open.push(new Frame(call.rule(), back));
        }
      }
      if (frame.node.isEnd) {
        if (caller == null) {
          accepting = true;
        } else {
          open.push(caller);
        }
      }
    }
    if (reading.isEmpty() && !accepting) {
      return null;
    }
    if (known.size() > MAX_KNOWN || knownPlaces > MAX_KNOWN_PLACES) {
      withRows.forEach(place -> place.row = null); // which would hold all that follows
      withRows.clear();
      known.clear();
      knownPlaces = 0;
    }
    Place place = new Place(reading, accepting);
    Place twin = known.putIfAbsent(place, place);
    if (twin != null) {
      return twin;
    }
    knownPlaces += reading.size();
    return place;
  }

  private synchronized void keep(Place place, @Nullable Place[] row) {
    place.row = row;
    withRows.add(place);
  }

  /** A state: all places in the network that the text so far may have led to. */
  private final class Place implements State {
    private final Set<Frame> frames;
    private final boolean accepting;
    private final int hash;
    private volatile @Nullable Place @Nullable [] row; // by byte, once asked for

    Place(Set<Frame> frames, boolean accepting) {
      this.frames = frames;
      this.accepting = accepting;
      this.hash = 2 * frames.hashCode() + (accepting ? 1 : 0);
    }

    @Override
    public boolean isAccepting() {
      return accepting;
    }

    @Override
    public @Nullable State next(int b) {
      @Nullable Place[] targets = row;
      if (targets == null) {
        targets = newRow();
        keep(this, targets);
      }
      return targets[b];
    }

    /** Bytes between two ends of edges lead to the same state. */
    private @Nullable Place[] newRow() {
      BitSet cuts = new BitSet(257);
      addCuts(this, cuts);
      @Nullable Place[] targets = new Place[256];
      for (int from = cuts.nextSetBit(0); from >= 0 && from < 256; ) {
        int to = cuts.nextSetBit(from + 1);
        List<Frame> reached = new ArrayList<>();
        for (Frame frame : frames) {
          for (Node.ByteEdge edge : frame.node.bytes) {
            if (edge.low() <= from && from <= edge.high()) {
              reached.add(new Frame(edge.target(), frame.caller));
            }
          }
        }
        Place target = reached.isEmpty() ? null : place(reached);
        for (int b = from; b < (to < 0 ? 256 : to); b++) {
          targets[b] = target;
        }
        from = to;
      }
      return targets;
    }

    @Override
    public int hashCode() {
      return hash;
    }

    @Override
    public boolean equals(@Nullable Object other) {
      return this == other
          || other instanceof Place place
              && hash == place.hash
              && accepting == place.accepting
              && frames.equals(place.frames);
    }
  }
}
