package dev.gemma4j.tokenizer;

import java.util.Arrays;

/**
 * Byte-pair encoding as SentencePiece does it: of all neighbours whose union is a piece, merge the
 * one with the highest score, the leftmost among equals, until none is left.
 *
 * <p>That order need only be kept where merges can meet, so a text is cut into segments at places
 * that no piece spans, and most segments are one piece. A very long segment is merged in windows:
 * tokens are those of the whole whenever each two neighbours are those of their own text, because
 * the first merge that crossed a border would happen there as well. So time is linear in the text,
 * and memory beside the result is bounded by a window.
 */
final class Bpe {
  private static final byte NEVER = 0; // text cannot become this piece
  private static final byte UNTRIED = 1; // its own text may or may not
  private static final byte WHOLE = 2; // its own text does
  private static final byte PARTS = 3; // its own text becomes others

  private final PieceTable table;
  private final int[] ranks; // by id; a higher score has a lower rank, equal scores the same
  private final CharPairs pairs;
  private final boolean[] unused;
  private boolean hasUnused; // some that merges make
  private final int window; // in bytes
  private final int margin; // at a window's end, where its tokens may not be the text's
  private final long[] powers;
  // By id, found out when first needed. Threads may write at the same time, but all the same.
  private final byte[] states;

  Bpe(PieceTable table, float[] scores, PieceType[] types, boolean[] usable, CharPairs pairs) {
    this(table, ranks(scores), unused(types), usable, pairs);
  }

  private Bpe(PieceTable table, int[] ranks, boolean[] unused, boolean[] usable, CharPairs pairs) {
    this.table = table;
    this.ranks = ranks;
    this.unused = unused;
    this.pairs = pairs;
    window = Math.max(4096, 4 * table.longest());
    margin = Math.max(256, 2 * table.longest());
    powers = table.powers();
    states = new byte[table.size()];
    for (int id = 0; id < states.length; id++) {
      states[id] = usable[id] ? UNTRIED : NEVER;
    }
    for (int id = 0; id < states.length; id++) {
      if (unused[id] && states[id] != NEVER) {
        states[id] = isMade(table.text(id)) ? UNTRIED : NEVER;
        hasUnused |= states[id] != NEVER;
      }
    }
  }

  /**
   * Whether a text is one character, or the union of two that may be symbols. Those with which
   * llama.cpp's converter fills a vocabulary, such as [PAD256001], are not.
   */
  private boolean isMade(byte[] text) {
    long[] hashes = new long[text.length + 1];
    for (int i = 0; i < text.length; i++) {
      hashes[i + 1] = PieceTable.next(hashes[i], text[i]);
    }
    int end = text.length;
    int first = Utf8.next(text, 0, end);
    for (int cut = first; cut < end; cut = Utf8.next(text, cut, end)) {
      boolean left = cut == first || find(text, 0, cut, 0, hashes[cut]) >= 0;
      boolean lastOne = Utf8.next(text, cut, end) == end;
      if (left && (lastOne || find(text, cut, end, hashes[cut], hashes[end]) >= 0)) {
        return true;
      }
    }
    return first == end;
  }

  /** The same, but some pieces never come out. */
  Bpe without(boolean[] excluded) {
    boolean[] rest = new boolean[states.length];
    for (int id = 0; id < rest.length; id++) {
      rest[id] = states[id] != NEVER && !excluded[id];
    }
    return new Bpe(table, ranks, unused, rest, pairs);
  }

  private static int[] ranks(float[] scores) {
    long[] sorted = new long[scores.length]; // the score in the high half, the id in the low one
    for (int id = 0; id < scores.length; id++) {
      int bits = Float.floatToIntBits(scores[id] + 0f); // -0 is 0
      long ordered = bits >= 0 ? bits : bits ^ Integer.MAX_VALUE; // as integers compare
      sorted[id] = ordered << 32 | id;
    }
    Arrays.sort(sorted);
    int[] ranks = new int[scores.length];
    int first = 0; // of equal ones
    for (int i = 0; i < sorted.length; i++) {
      first = sorted[i] >> 32 == sorted[first] >> 32 ? first : i;
      ranks[(int) sorted[i]] = sorted.length - first;
    }
    return ranks;
  }

  private static boolean[] unused(PieceType[] types) {
    boolean[] unused = new boolean[types.length];
    for (int id = 0; id < types.length; id++) {
      unused[id] = types[id] == PieceType.UNUSED;
    }
    return unused;
  }

  /** The usable piece that text[from, to) is, or -1. */
  int find(byte[] text, int from, int to, long hash) {
    int id = table.find(text, from, to, hash);
    return id >= 0 && states[id] != NEVER ? id : -1;
  }

  /** The same, by the hashes of the text up to the two ends. */
  int find(byte[] text, int from, int to, long before, long after) {
    return to - from > table.longest()
        ? -1
        : find(text, from, to, PieceTable.between(before, after, powers[to - from]));
  }

  int rank(int id) {
    return ranks[id];
  }

  boolean isUnused(int id) {
    return unused[id];
  }

  /** Whether texts are merged in parts, and not as a whole, which takes many times as long. */
  boolean cutsTexts() {
    return !hasUnused;
  }

  /** Adds the segments of text[from, to). */
  void encode(byte[] text, int from, int to, ByteTrie userDefined, Segments out) {
    Run run = new Run(text, from, to, userDefined, out);
    if (cutsTexts()) {
      run.segments();
    } else {
      run.all();
    }
  }

  /** The encoding of one text. */
  private final class Run {
    private final byte[] text;
    private final int start;
    private final int end;
    private final ByteTrie userDefined;
    private final Merger merger;
    private final Segments out;

    Run(byte[] text, int from, int to, ByteTrie userDefined, Segments out) {
      this.text = text;
      this.start = from;
      this.end = to;
      this.userDefined = userDefined;
      this.out = out;
      merger = new Merger(Bpe.this, text);
    }

    /** Without cuts: how an unused piece is taken apart again depends on the whole text. */
    void all() {
      merger.start(start);
      for (int at = start; at < end; ) {
        int literal = userDefined.longest(text, at, end);
        at = literal > 0 ? literal : Utf8.next(text, at, end);
        merger.add(at, literal > 0);
      }
      merger.merge(out);
    }

    void segments() {
      int from = start;
      long hash = 0;
      int before = 0;
      for (int at = start; at < end; ) {
        int literal = userDefined.longest(text, at, end);
        if (literal > 0) {
          segment(from, at, hash);
          out.add(find(text, at, literal, PieceTable.hash(text, at, literal)), literal);
          from = literal;
          at = literal;
          hash = 0;
          continue;
        }
        int c = text[at];
        int to = at + 1;
        if (c < 0) { // not ASCII
          to = Utf8.next(text, at, end);
          c = CharPairs.character(text, at, to);
        }
        if (at > from && !pairs.contains(before, c)) {
          segment(from, at, hash);
          from = at;
          hash = 0;
        }
        before = c;
        while (at < to) {
          hash = PieceTable.next(hash, text[at++]);
        }
      }
      segment(from, end, hash);
    }

    private void segment(int from, int to, long hash) {
      if (from == to) {
        return;
      }
      int id = find(text, from, to, hash);
      if (id >= 0 && states[id] == WHOLE) {
        out.add(id, to);
        return;
      }
      int size = out.size;
      if (to - from > window) {
        windows(from, to);
      } else {
        merge(from, to, out);
      }
      if (id >= 0) {
        states[id] = out.size == size + 1 ? WHOLE : PARTS;
      }
    }

    private void merge(int from, int to, Segments result) {
      merger.start(from);
      for (int at = from; at < to; ) {
        at = Utf8.next(text, at, to);
        merger.add(at, false);
      }
      merger.merge(result);
    }

    private void windows(int start, int to) {
      int from = start;
      int size = window;
      Segments here = window(from, size, to);
      while (here.end() < to) {
        int count = here.countUntil(here.end() - margin);
        int cut = here.ends[count - 1];
        Segments next = window(cut, window, to);
        if (isBorder(count == 1 ? from : here.ends[count - 2], cut, next.ends[0])) {
          out.addAll(here, count);
          from = cut;
          size = window;
          here = next;
        } else { // what follows reaches back beyond the margin
          size = (int) Math.min(2L * size, to - from);
          here = window(from, size, to);
        }
      }
      out.addAll(here, here.size);
    }

    private Segments window(int from, int size, int to) {
      int end = size >= to - from ? to : Utf8.start(text, from + size, from);
      Segments result = new Segments(size / 4);
      merge(from, end, result);
      return result;
    }

    private boolean isBorder(int from, int cut, int to) {
      Segments both = new Segments(2);
      merge(from, to, both);
      return both.size == 2 && both.ends[0] == cut;
    }
  }
}
