package dev.gemma4j.tokenizer;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/**
 * Byte-pair encoding as SentencePiece does it: of all neighbours whose union is a piece, merge the
 * one with the highest score, the leftmost among equals, until none is left. O(n log n).
 */
final class Bpe {
  private final PieceTable table;
  private final PieceType[] types;
  private final int[] ranks; // by id; a higher score has a lower rank, equal scores the same
  private final boolean hasUnused;

  Bpe(PieceTable table, float[] scores, PieceType[] types) {
    this.table = table;
    this.types = types;
    this.hasUnused = Arrays.asList(types).contains(PieceType.UNUSED);
    float[] sorted = scores.clone();
    Arrays.sort(sorted);
    ranks = new int[scores.length];
    int[] first = new int[sorted.length];
    for (int i = 1; i < sorted.length; i++) {
      first[i] = Float.compare(sorted[i], sorted[i - 1]) == 0 ? first[i - 1] : i;
    }
    for (int i = 0; i < scores.length; i++) {
      ranks[i] = sorted.length - first[Arrays.binarySearch(sorted, scores[i])];
    }
  }

  /** One text's symbols as a linked list by their first byte, and the queue of possible merges. */
  private final class Run {
    final byte[] text;
    final int length;
    final long[] prefixes;
    final int[] end; // of the symbol that starts here
    final int[] previous; // start of the symbol before; -1 at the front
    final boolean[] frozen;
    long[] queue = new long[64]; // a heap of rank << 32 | start
    int[] unions = new int[64]; // the end that the union had when it was queued
    int queued;
    final Map<Integer, Integer> cuts = new HashMap<>(); // of unused pieces: the left part's length

    Run(byte[] text, int length) {
      this.text = text;
      this.length = length;
      prefixes = table.prefixes(text, length);
      end = new int[length + 1];
      previous = new int[length + 1];
      frozen = new boolean[length + 1];
    }

    void offer(int left) {
      int right = end[left];
      if (right >= length || frozen[left] || frozen[right]) {
        return;
      }
      int to = end[right];
      int id = table.find(text, prefixes, left, to);
      if (id < 0) {
        return;
      }
      if (types[id] == PieceType.UNUSED) {
        cuts.put(id, right - left);
      }
      if (queued == queue.length) {
        queue = Arrays.copyOf(queue, 2 * queued);
        unions = Arrays.copyOf(unions, 2 * queued);
      }
      long key = (long) ranks[id] << 32 | left;
      int at = queued++;
      while (at > 0 && queue[at - 1 >> 1] > key) {
        queue[at] = queue[at - 1 >> 1];
        unions[at] = unions[at - 1 >> 1];
        at = at - 1 >> 1;
      }
      queue[at] = key;
      unions[at] = to;
    }

    /** Removes the head of the queue. */
    void poll() {
      long key = queue[--queued];
      int to = unions[queued];
      int at = 0;
      for (int child = 1; child < queued; child = 2 * at + 1) {
        if (child + 1 < queued && queue[child + 1] < queue[child]) {
          child++;
        }
        if (key <= queue[child]) {
          break;
        }
        queue[at] = queue[child];
        unions[at] = unions[child];
        at = child;
      }
      queue[at] = key;
      unions[at] = to;
    }

    void merge() {
      while (queued > 0) {
        int left = (int) queue[0];
        int to = unions[0];
        poll();
        int right = end[left];
        // A stale entry: one side has been merged since, so the union would end elsewhere.
        if (right == 0 || right >= length || end[right] != to) {
          continue;
        }
        end[left] = to;
        end[right] = 0;
        if (to < length) {
          previous[to] = left;
        }
        if (previous[left] >= 0) {
          offer(previous[left]);
        }
        offer(left);
      }
    }

    void emit(int from, int to, Segments out) {
      int id = table.find(text, prefixes, from, to);
      Integer cut = hasUnused && id >= 0 && types[id] == PieceType.UNUSED ? cuts.get(id) : null;
      if (cut == null) {
        out.add(id, to);
      } else {
        emit(from, from + cut, out);
        emit(from + cut, to, out);
      }
    }
  }

  Segments encode(byte[] text, int length, ByteTrie userDefined) {
    Run run = new Run(text, length);
    int before = -1;
    for (int at = 0; at < length; ) {
      int literal = userDefined.longest(text, at, length);
      run.frozen[at] = literal > 0;
      run.end[at] =
          literal > 0 ? literal : Math.min(length, at + Math.max(1, Utf8.length(text, at, length)));
      run.previous[at] = before;
      before = at;
      at = run.end[at];
    }
    for (int at = 0; at < length; at = run.end[at]) {
      run.offer(at);
    }
    run.merge();
    Segments out = new Segments(length / 3);
    for (int at = 0; at < length; at = run.end[at]) {
      run.emit(at, run.end[at], out);
    }
    return out;
  }
}
