package dev.gemma4j.decoding;

import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.tokenizer.PieceType;
import dev.gemma4j.tokenizer.Tokenizer;
import java.util.Arrays;
import java.util.function.BooleanSupplier;

/**
 * The bytes of all pieces that stand for text, as a trie whose nodes lie in preorder: a walk is a
 * scan, and what a constraint forbids is jumped over.
 */
final class TokenTrie {
  private final int vocabSize;
  private final byte[] labels; // by node, the byte that leads to it
  private final int[] depths; // by node, the bytes above it
  private final int[] next; // by node, the first one that is not below it
  private final int[] tokens; // by node, the one that ends there, else vocabSize
  private final int[] twins; // pairs of tokens of the same bytes; only the first is in tokens
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
    byte[] label = new byte[bytes];
    int[] depth = new int[bytes];
    int[] token = new int[bytes];
    int[] same = new int[2 * count];
    int pairs = 0;
    int nodes = 0;
    int deepest = 0;
    for (int i = 0; i < count; i++) {
      byte[] text = texts[order[i]];
      int common = i == 0 ? 0 : Arrays.mismatch(texts[order[i - 1]], text);
      if (common < 0) {
        same[pairs++] = token[nodes - 1];
        same[pairs++] = order[i];
        continue;
      }
      for (int d = common; d < text.length; d++) {
        label[nodes] = text[d];
        depth[nodes] = d;
        token[nodes++] = d == text.length - 1 ? order[i] : vocabSize;
      }
      deepest = Math.max(deepest, text.length);
    }
    labels = Arrays.copyOf(label, nodes);
    depths = Arrays.copyOf(depth, nodes);
    tokens = Arrays.copyOf(token, nodes);
    twins = Arrays.copyOf(same, pairs);
    maxDepth = deepest;
    next = new int[nodes];
    int[] following = new int[deepest + 1]; // by depth, the next node that is no deeper
    Arrays.fill(following, nodes);
    for (int node = nodes - 1; node >= 0; node--) {
      next[node] = following[depths[node]];
      Arrays.fill(following, depths[node], deepest + 1, node);
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

  /**
   * The tokens that may follow in a state, as bits by id.
   *
   * @param states of the state's constraint
   * @param cancelled as {@link TokenMasks#of}
   */
  long[] allowed(Constraint.State state, StateTable states, BooleanSupplier cancelled) {
    long[] allowed = new long[vocabSize / 64 + 1];
    int[] path = new int[maxDepth + 1]; // states by depth
    states.begin(state, path);
    for (int node = 0; node < labels.length; ) {
      int depth = depths[node];
      int reached = states.next(path, depth, labels[node] & 0xff, cancelled);
      path[depth + 1] = reached;
      if (reached == StateTable.DEAD) {
        node = next[node];
      } else {
        // Where no token ends the bit is one that nobody reads: cheaper than a branch that is
        // taken half the time.
        int token = tokens[node++];
        allowed[token >> 6] |= 1L << token;
      }
    }
    for (int i = 0; i < twins.length; i += 2) {
      if ((allowed[twins[i] >> 6] >>> twins[i] & 1) != 0) {
        allowed[twins[i + 1] >> 6] |= 1L << twins[i + 1];
      }
    }
    allowed[vocabSize >> 6] &= ~(1L << vocabSize);
    return allowed;
  }
}
