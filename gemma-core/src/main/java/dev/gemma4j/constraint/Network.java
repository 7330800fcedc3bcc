package dev.gemma4j.constraint;

import dev.gemma4j.constraint.CodePoints.Range;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.stream.Stream;

/** Builds the network of nodes that reads the UTF-8 of a grammar's texts. */
final class Network {
  /** A grammar beyond it is a mistake or an attack. */
  private static final int MAX_NODES = 200_000;

  /** Of what several conditions make together; each takes more time than others. */
  private static final int MAX_COMBINED = 100_000;

  /** Of all their states, as those of an ambiguous pattern are slow to make. */
  private static final int MAX_COMBINED_PLACES = 2_000_000;

  private static final int[] LAST_OF_LENGTH = {0x7f, 0x7ff, 0xffff};

  /** Where a text is that is none of a part's for ever. */
  private static final Constraint.State NOWHERE =
      new Constraint.State() {
        @Override
        public Constraint.State next(int b) {
          return this;
        }

        @Override
        public boolean isAccepting() {
          return false;
        }
      };

  /** A part of a grammar may be empty, a whole one not. */
  private static final class NoTextException extends IllegalArgumentException {
    private static final long serialVersionUID = 1;

    NoTextException() {
      super("the constraint allows no text at all");
    }
  }

  private final Map<String, Expression> rules;
  private final Map<String, Node> starts = new HashMap<>();
  private final List<String> unbuilt = new ArrayList<>();
  private final List<Node> nodes = new ArrayList<>();
  private boolean inString; // whether what is built stands between a JSON string's quotes

  private Network(Map<String, Expression> rules) {
    this.rules = rules;
  }

  /**
   * The first node of a grammar.
   *
   * @param rules by the names that references use
   * @throws IllegalArgumentException when it allows no text at all, or is too large
   * @throws CancellationException when the thread is interrupted, which stays so
   */
  static Node build(Expression start, Map<String, Expression> rules) {
    Network network = new Network(rules);
    Node first = network.rule(start);
    while (!network.unbuilt.isEmpty()) {
      String name = network.unbuilt.removeLast();
      Node node = network.starts.get(name);
      Expression body = rules.get(name);
      if (node == null || body == null) {
        throw new IllegalStateException("no rule " + name);
      }
      network.build(node, network.end(), body);
    }
    network.findProductive();
    if (!first.isProductive) {
      throw new NoTextException();
    }
    return first;
  }

  /** Marks the nodes from which their rule's end can be reached, from the ends back. */
  private void findProductive() {
    List<List<Node>> before = new ArrayList<>(); // by a node's index
    nodes.forEach(node -> before.add(new ArrayList<>(1)));
    for (Node node : nodes) {
      node.bytes.forEach(edge -> before.get(edge.target().index).add(node));
      node.empties.forEach(target -> before.get(target.index).add(node));
      node.calls.forEach(
          call -> {
            before.get(call.rule().index).add(node);
            before.get(call.after().index).add(node);
          });
    }
    ArrayDeque<Node> open = new ArrayDeque<>(nodes);
    while (!open.isEmpty()) {
      checkInterrupt();
      Node node = open.pop();
      if (!node.isProductive && node.leadsToEnd()) {
        node.isProductive = true;
        before.get(node.index).forEach(open::push);
      }
    }
  }

  /** Compiling may take seconds, which an interrupt ends; it stays set. */
  static void checkInterrupt() {
    if (Thread.currentThread().isInterrupted()) {
      throw new CancellationException("interrupted while a constraint was compiled");
    }
  }

  private Node node() {
    checkInterrupt();
    if (nodes.size() == MAX_NODES) {
      throw new IllegalArgumentException(
          "the constraint needs more than " + MAX_NODES + " states; expected a smaller one");
    }
    Node node = new Node(nodes.size());
    nodes.add(node);
    return node;
  }

  private Node end() {
    Node node = node();
    node.isEnd = true;
    return node;
  }

  private Node rule(Expression body) {
    Node start = node();
    build(start, end(), body);
    return start;
  }

  private void build(Node from, Node to, Expression expression) {
    switch (expression) {
      case Expression.Literal literal ->
          literal(from, to, inString ? Json.escape(literal.text()) : literal.text());
      case Expression.OneOf oneOf -> oneOf(from, to, oneOf.set());
      case Expression.InString spelt -> {
        boolean outer = inString;
        inString = true;
        build(from, to, spelt.content());
        inString = outer;
      }
      case Expression.Sequence sequence -> {
        Node at = from;
        for (Expression part : sequence.parts()) {
          Node next = node();
          build(at, next, part);
          at = next;
        }
        at.empties.add(to);
      }
      case Expression.Choice choice -> {
        Node literals = null; // begin at one node, so that many of them are few places
        for (Expression option : choice.options()) {
          boolean literal = option instanceof Expression.Literal;
          Node start = literal && literals != null ? literals : node();
          if (start != literals) {
            from.empties.add(start);
          }
          literals = literal ? start : literals;
          build(start, to, option);
        }
      }
      case Expression.AllOf all -> allOf(from, to, all);
      case Expression.Repeat repeat -> repeat(from, to, repeat);
      case Expression.Reference reference ->
          from.calls.add(new Node.Call(start(reference.rule()), to));
    }
  }

  /**
   * A node for each combination of the parts' states, all of them at once: which of them are dead
   * ends shows when all are known.
   */
  private void allOf(Node from, Node to, Expression.AllOf all) {
    int wanted = all.parts().size(); // states before the others
    List<Constraint.State> starts = new ArrayList<>();
    for (Expression part : Stream.concat(all.parts().stream(), all.but().stream()).toList()) {
      Expression spelt = inString ? new Expression.InString(part) : part;
      try {
        starts.add(new Automaton(List.of(), spelt, Map.of()).start());
      } catch (NoTextException e) {
        if (starts.size() < wanted) {
          return; // nothing leads on
        }
        starts.add(NOWHERE);
      }
    }
    long places = 0;
    Map<List<Constraint.State>, Node> known = new HashMap<>();
    ArrayDeque<Map.Entry<List<Constraint.State>, Node>> open = new ArrayDeque<>();
    Node start = node();
    from.empties.add(start);
    known.put(starts, start);
    open.add(Map.entry(starts, start));
    while (!open.isEmpty()) {
      List<Constraint.State> states = open.getFirst().getKey();
      Node node = open.remove().getValue();
      if (states.subList(0, wanted).stream().allMatch(Constraint.State::isAccepting)
          && states.subList(wanted, states.size()).stream()
              .noneMatch(Constraint.State::isAccepting)) {
        node.empties.add(to);
      }
      BitSet cuts = new BitSet(257);
      states.forEach(state -> Automaton.addCuts(state, cuts));
      for (int low = cuts.nextSetBit(0); low >= 0 && low < 256; low = cuts.nextSetBit(low + 1)) {
        List<Constraint.State> next = next(states, low, wanted);
        if (next.isEmpty()) {
          continue;
        }
        Node target = known.get(next);
        if (target == null) {
          places += next.stream().mapToLong(Automaton::places).sum();
          if (known.size() == MAX_COMBINED || places > MAX_COMBINED_PLACES) {
            throw new IllegalArgumentException(
                "what holds together for a string needs too many states;"
                    + " expected fewer or smaller conditions");
          }
          target = node();
          known.put(next, target);
          open.add(Map.entry(next, target));
        }
        node.bytes.add(new Node.ByteEdge(low, cuts.nextSetBit(low + 1) - 1, target));
      }
    }
  }

  /** Empty when one of the wanted goes no further. */
  private static List<Constraint.State> next(List<Constraint.State> states, int b, int wanted) {
    List<Constraint.State> result = new ArrayList<>(states.size());
    for (Constraint.State state : states) {
      Constraint.State next = state.next(b);
      if (next == null && result.size() < wanted) {
        return List.of();
      }
      result.add(next == null ? NOWHERE : next);
    }
    return result;
  }

  private Node start(String name) {
    return starts.computeIfAbsent(
        name,
        unknown -> {
          unbuilt.add(unknown);
          return node();
        });
  }

  /** What is repeated is built once and called, so that nested counts add up, not multiply. */
  private void repeat(Node from, Node to, Expression.Repeat repeat) {
    if (repeat.max() == 1) {
      Node start = node();
      from.empties.add(start);
      build(start, to, repeat.part());
      if (repeat.min() == 0) {
        from.empties.add(to);
      }
      return;
    }
    Node body = rule(repeat.part());
    Node at = from;
    for (int i = 0; i < repeat.min(); i++) {
      Node next = node();
      at.calls.add(new Node.Call(body, next));
      at = next;
    }
    if (repeat.max() == Expression.UNLIMITED) {
      Node loop = node();
      at.empties.add(loop);
      loop.calls.add(new Node.Call(body, loop));
      at = loop;
    } else {
      for (int i = repeat.min(); i < repeat.max(); i++) {
        at.empties.add(to);
        Node next = node();
        at.calls.add(new Node.Call(body, next));
        at = next;
      }
    }
    at.empties.add(to);
  }

  private void oneOf(Node from, Node to, CodePoints set) {
    CodePoints plain = inString ? set.minus(Json.ESCAPED) : set;
    for (Range range : plain.ranges()) {
      characters(from, to, range.low(), range.high());
    }
    if (inString) {
      for (Range range : set.and(Json.ESCAPED).ranges()) {
        for (int c = range.low(); c <= range.high(); c++) {
          literal(from, to, Json.escape(Character.toString(c)));
        }
      }
    }
  }

  private void literal(Node from, Node to, String text) {
    if (text.codePoints()
        .anyMatch(c -> c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE)) {
      throw new IllegalArgumentException(
          "half a surrogate pair is not a character: '" + text + "'");
    }
    Node at = from;
    for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
      at = step(at, b & 0xff, b & 0xff);
    }
    at.empties.add(to);
  }

  /** Where a byte leads that others may have led to before. */
  private Node step(Node from, int low, int high) {
    for (Node.ByteEdge edge : from.bytes) {
      if (edge.low() == low && edge.high() == high) {
        return edge.target();
      }
    }
    Node next = node();
    from.bytes.add(new Node.ByteEdge(low, high, next));
    return next;
  }

  /**
   * Splits a range of code points until the encodings of what is left are a product of byte ranges
   * (Russ Cox, https://swtch.com/~rsc/regexp/regexp3.html#step3).
   */
  private void characters(Node from, Node to, int low, int high) {
    for (int last : LAST_OF_LENGTH) {
      if (low <= last && last < high) {
        characters(from, to, low, last);
        characters(from, to, last + 1, high);
        return;
      }
    }
    for (int bits = 6; high > 0x7f && bits <= 18; bits += 6) {
      int mask = (1 << bits) - 1;
      if ((low & ~mask) != (high & ~mask)) {
        int split = (low & mask) != 0 ? low | mask : (high & mask) != mask ? (high & ~mask) - 1 : 0;
        if (split != 0) {
          characters(from, to, low, split);
          characters(from, to, split + 1, high);
          return;
        }
      }
    }
    byte[] lows = Character.toString(low).getBytes(StandardCharsets.UTF_8);
    byte[] highs = Character.toString(high).getBytes(StandardCharsets.UTF_8);
    Node at = from;
    for (int i = 0; i < lows.length - 1; i++) {
      at = step(at, lows[i] & 0xff, highs[i] & 0xff);
    }
    at.bytes.add(
        new Node.ByteEdge(lows[lows.length - 1] & 0xff, highs[highs.length - 1] & 0xff, to));
  }
}
