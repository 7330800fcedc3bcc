package dev.gemma4j.constraint;

import java.util.ArrayList;
import java.util.List;

/**
 * A node of a recursive transition network (Woods 1970, https://doi.org/10.1145/355598.362773): an
 * automaton with edges that run a whole rule. It does not change once the network is built.
 */
final class Node {
  final int index;
  final List<ByteEdge> bytes = new ArrayList<>();
  final List<Node> empties = new ArrayList<>();
  final List<Call> calls = new ArrayList<>();
  boolean isEnd; // of its rule
  boolean isProductive; // its rule's end can be reached

  /** Reads one byte in [low, high]. */
  record ByteEdge(int low, int high, Node target) {}

  /** Runs the rule that starts at {@code rule}, then goes on at {@code after}. */
  record Call(Node rule, Node after) {}

  Node(int index) {
    this.index = index;
  }

  /** Whether nothing is left to do here but to end the rule. */
  boolean isTail() {
    Node node = this;
    while (!node.isEnd) {
      if (!node.bytes.isEmpty() || !node.calls.isEmpty() || node.empties.size() != 1) {
        return false;
      }
      node = node.empties.getFirst();
      if (node == this) {
        return false;
      }
    }
    return node.bytes.isEmpty() && node.calls.isEmpty() && node.empties.isEmpty();
  }

  /** Whether an edge leads on to the end, as far as the others' marks tell. */
  boolean leadsToEnd() {
    return isEnd
        || bytes.stream().anyMatch(edge -> edge.target().isProductive)
        || empties.stream().anyMatch(node -> node.isProductive)
        || calls.stream().anyMatch(call -> call.rule().isProductive && call.after().isProductive);
  }
}
