package dev.gemma4j.tokenizer;

import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;

/**
 * Merges a run of symbols: a linked list of them and a heap of the possible merges. O(n log n) for
 * n symbols. Used again for run after run of one text.
 */
final class Merger {
  private static final int NONE = -1;

  private final Bpe bpe;
  private final byte[] text;
  private int size;
  private int[] starts = new int[16]; // of each symbol, and the end of the last
  private int[] next = new int[16];
  private int[] previous = new int[16];
  private boolean[] frozen = new boolean[16];
  private int[] union = new int[16]; // the piece that a symbol and the next are together
  private long[] hashes = new long[16]; // of the run up to each symbol
  private long[] queue = new long[16]; // a heap of rank << 32 | left symbol
  private int queued;
  private final Map<Integer, Integer> cuts = new HashMap<>(); // of unused pieces: the left's length

  Merger(Bpe bpe, byte[] text) {
    this.bpe = bpe;
    this.text = text;
  }

  /** Begins a run at a byte of the text. */
  void start(int from) {
    size = 0;
    queued = 0;
    starts[0] = from;
  }

  /** The next symbol of the run ends there; a frozen one is never merged. */
  void add(int end, boolean isFrozen) {
    if (size + 1 == starts.length) {
      int capacity = 2 * starts.length;
      starts = Arrays.copyOf(starts, capacity);
      next = Arrays.copyOf(next, capacity);
      previous = Arrays.copyOf(previous, capacity);
      frozen = Arrays.copyOf(frozen, capacity);
      union = Arrays.copyOf(union, capacity);
      hashes = Arrays.copyOf(hashes, capacity);
    }
    long hash = hashes[size];
    for (int i = starts[size]; i < end; i++) {
      hash = PieceTable.next(hash, text[i]);
    }
    frozen[size] = isFrozen;
    previous[size] = size - 1;
    size++;
    next[size - 1] = size;
    starts[size] = end;
    hashes[size] = hash;
  }

  void merge(Segments out) {
    for (int symbol = 0; symbol < size; symbol++) {
      offer(symbol);
    }
    while (queued > 0) {
      long key = poll();
      int left = (int) key;
      // Else the entry is stale: one side has been merged since.
      if (union[left] != NONE && bpe.rank(union[left]) == (int) (key >>> 32)) {
        int right = next[left];
        union[right] = NONE;
        next[left] = next[right];
        if (next[left] < size) {
          previous[next[left]] = left;
        }
        if (previous[left] >= 0) {
          offer(previous[left]);
        }
        offer(left);
      }
    }
    for (int symbol = 0; symbol < size; symbol = next[symbol]) {
      emit(symbol, next[symbol], out);
    }
  }

  private int find(int fromSymbol, int toSymbol) {
    return bpe.find(
        text, starts[fromSymbol], starts[toSymbol], hashes[fromSymbol], hashes[toSymbol]);
  }

  private void offer(int left) {
    int right = next[left];
    union[left] = NONE;
    if (right == size || frozen[left] || frozen[right]) {
      return;
    }
    int id = find(left, next[right]);
    if (id < 0) {
      return;
    }
    if (bpe.isUnused(id)) {
      cuts.put(id, right - left);
    }
    union[left] = id;
    push((long) bpe.rank(id) << 32 | left);
  }

  private void push(long key) {
    if (queued == queue.length) {
      queue = Arrays.copyOf(queue, 2 * queued);
    }
    int at = queued++;
    while (at > 0 && queue[at - 1 >> 1] > key) {
      queue[at] = queue[at - 1 >> 1];
      at = at - 1 >> 1;
    }
    queue[at] = key;
  }

  private long poll() {
    long head = queue[0];
    long key = queue[--queued];
    int at = 0;
    for (int child = 1; child < queued; child = 2 * at + 1) {
      if (child + 1 < queued && queue[child + 1] < queue[child]) {
        child++;
      }
      if (key <= queue[child]) {
        break;
      }
      queue[at] = queue[child];
      at = child;
    }
    queue[at] = key;
    return head;
  }

  /** Unused pieces come out as the two that they were last offered as. */
  private void emit(int fromSymbol, int toSymbol, Segments out) {
    int id = find(fromSymbol, toSymbol);
    if (id < 0 || !bpe.isUnused(id)) {
      out.add(id, starts[toSymbol]);
      return;
    }
    Deque<Integer> rest = new ArrayDeque<>();
    rest.push(toSymbol);
    int from = fromSymbol;
    while (!rest.isEmpty()) {
      int to = rest.element();
      int part = find(from, to);
      Integer cut = part < 0 || !bpe.isUnused(part) ? null : cuts.get(part);
      if (cut == null) {
        out.add(part, starts[to]);
        from = rest.pop();
      } else {
        rest.push(from + cut);
      }
    }
  }
}
