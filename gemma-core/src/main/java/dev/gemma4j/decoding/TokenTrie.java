package dev.gemma4j.decoding;

import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.tokenizer.PieceType;
import dev.gemma4j.tokenizer.Tokenizer;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The bytes of all pieces that stand for text, as a trie whose nodes lie in preorder: a walk is a
 * scan, and what a constraint forbids is jumped over.
 */
final class TokenTrie {
  private final int vocabSize;
  private final byte[] labels; // by node, the byte that leads to it
  private final int[] depths; // by node, from 1
  private final int[] next; // by node, the first one that is not below it
  private final int[] firstToken; // by node and for the end, into tokens
  private final int[] tokens; // in the order of their bytes
  private final int maxDepth;

  /**
   * The trie of a tokenizer.
   *
   * @param atStart whether for the beginning of a text, where decoding may drop a space
   */
  TokenTrie(Tokenizer tokenizer, boolean atStart) {
    vocabSize = tokenizer.vocabSize();
    byte[][] texts = new byte[vocabSize][];
    Integer[] order = new Integer[vocabSize];
    int count = 0;
    int bytes = 0;
    for (int id = 0; id < vocabSize; id++) {
      texts[id] = text(tokenizer, id, atStart);
      if (texts[id].length > 0 && !tokenizer.isMarker(id) && id != tokenizer.unkId()) {
        order[count++] = id;
        bytes += texts[id].length;
      }
    }
    Arrays.sort(order, 0, count, (a, b) -> Arrays.compareUnsigned(texts[a], texts[b]));
    tokens = new int[count];
    byte[] labels = new byte[bytes];
    int[] depths = new int[bytes];
    int[] firstToken = new int[bytes + 1];
    int nodes = 0;
    int deepest = 0;
    byte[] previous = {};
    for (int i = 0; i < count; i++) {
      byte[] text = texts[order[i]];
      tokens[i] = order[i];
      int common = Arrays.mismatch(previous, text);
      for (int d = common < 0 ? text.length : common; d < text.length; d++) {
        labels[nodes] = text[d];
        depths[nodes] = d + 1;
        firstToken[nodes++] = i; // those of the nodes above come before
      }
      firstToken[nodes] = i + 1;
      previous = text;
      deepest = Math.max(deepest, text.length);
    }
    this.labels = Arrays.copyOf(labels, nodes);
    this.depths = Arrays.copyOf(depths, nodes);
    this.firstToken = Arrays.copyOf(firstToken, nodes + 1);
    maxDepth = deepest;
    next = new int[nodes];
    int[] lastAt = new int[deepest + 2]; // by depth, the node whose end is not yet known
    Arrays.fill(lastAt, nodes);
    for (int node = nodes - 1; node >= 0; node--) {
      int depth = depths[node];
      next[node] = lastAt[depth];
      Arrays.fill(lastAt, depth, deepest + 2, node);
    }
  }

  private static byte[] text(Tokenizer tokenizer, int id, boolean atStart) {
    byte[] bytes = tokenizer.bytes(id);
    return atStart ? atStart(tokenizer, id, bytes) : bytes;
  }

  /** What is left of a piece's bytes at the beginning of a text. */
  static byte[] atStart(Tokenizer tokenizer, int id, byte[] bytes) {
    boolean drops = tokenizer.dropsLeadingSpace() && tokenizer.type(id) != PieceType.BYTE;
    return drops && bytes.length > 0 && bytes[0] == ' '
        ? Arrays.copyOfRange(bytes, 1, bytes.length)
        : bytes;
  }

  /** The tokens that may follow in a state, as bits by id. */
  long[] allowed(Constraint.State state) {
    long[] allowed = new long[(vocabSize + 63) / 64];
    Constraint.@Nullable State[] path = new Constraint.State[maxDepth + 1];
    path[0] = state;
    for (int node = 0; node < labels.length; ) {
      int depth = depths[node];
      Constraint.State above = path[depth - 1];
      Constraint.State reached = above == null ? null : above.next(labels[node] & 0xff);
      if (reached == null) {
        node = next[node];
      } else {
        path[depth] = reached;
        for (int i = firstToken[node]; i < firstToken[node + 1]; i++) {
          allowed[tokens[i] >> 6] |= 1L << tokens[i];
        }
        node++;
      }
    }
    return allowed;
  }
}
