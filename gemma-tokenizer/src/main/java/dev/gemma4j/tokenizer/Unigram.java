package dev.gemma4j.tokenizer;

import java.util.Arrays;

/** The unigram language model's best segmentation by Viterbi (https://arxiv.org/abs/1804.10959). */
final class Unigram {
  private static final float UNKNOWN_PENALTY = 10;

  private final ByteTrie trie = new ByteTrie();
  private final float[] scores;
  private final PieceType[] types;
  private final float minScore;

  /** Only the ids for which {@code included} holds can be found. */
  Unigram(byte[][] pieces, boolean[] included, float[] scores, PieceType[] types) {
    for (int id = 0; id < pieces.length; id++) {
      if (included[id]) {
        trie.add(pieces[id], id);
      }
    }
    this.scores = scores;
    this.types = types;
    float min = Float.MAX_VALUE;
    for (int i = 0; i < scores.length; i++) {
      if (types[i] == PieceType.NORMAL) {
        min = Math.min(min, scores[i]);
      }
    }
    minScore = min;
  }

  /** Adds the segments of text[from, to). */
  void encode(byte[] text, int from, int to, boolean[] forbidden, Segments out) {
    int first = out.size;
    add(from == 0 ? text : Arrays.copyOfRange(text, from, to), to - from, forbidden, out);
    for (int i = first; i < out.size; i++) {
      out.ends[i] += from;
    }
  }

  private void add(byte[] text, int length, boolean[] forbidden, Segments out) {
    float[] best = new float[length + 1];
    int[] startOf = new int[length + 1];
    int[] idOf = new int[length + 1];
    Arrays.fill(startOf, -1);
    for (int at = 0; at < length; ) {
      float here = best[at];
      int oneChar = Math.min(length, at + Math.max(1, Utf8.length(text, at, length)));
      boolean hasChar = false;
      int node = ByteTrie.ROOT;
      for (int to = at; to < length; ) {
        node = trie.child(node, text[to++]);
        if (node == ByteTrie.NONE) {
          break;
        }
        int id = trie.id(node);
        if (id == ByteTrie.NONE || forbidden[id] || types[id] == PieceType.UNUSED) {
          continue;
        }
        // The bonus of SentencePiece 0.2.2, as found by trying it: user-defined pieces win as long
        // as no score is positive. Until 0.2.1 it was that of the largest score instead of 0.1.
        float score =
            types[id] == PieceType.USER_DEFINED ? (float) ((to - at) * 0.1 - 0.1) : scores[id];
        if (startOf[to] < 0 || here + score > best[to]) {
          best[to] = here + score;
          startOf[to] = at;
          idOf[to] = id;
        }
        hasChar |= to == oneChar;
      }
      if (!hasChar) {
        float score = here + (minScore - UNKNOWN_PENALTY);
        if (startOf[oneChar] < 0 || score > best[oneChar]) {
          best[oneChar] = score;
          startOf[oneChar] = at;
          idOf[oneChar] = -1;
        }
      }
      at = oneChar;
    }
    int first = out.size;
    for (int to = length; to > 0; to = startOf[to]) {
      out.add(idOf[to], to);
    }
    for (int i = first, j = out.size - 1; i < j; i++, j--) {
      int id = out.ids[i];
      int end = out.ends[i];
      out.ids[i] = out.ids[j];
      out.ends[i] = out.ends[j];
      out.ids[j] = id;
      out.ends[j] = end;
    }
  }
}
