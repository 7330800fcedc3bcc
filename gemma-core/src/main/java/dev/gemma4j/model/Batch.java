package dev.gemma4j.model;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The rows of one forward pass, any mix: a prefill chunk is many rows of one sequence, a decode
 * step one row each of one or many.
 */
public final class Batch {
  /**
   * One token at one position of one sequence. All earlier positions are in the cache or earlier in
   * the batch; the cache has been {@linkplain KvCache#reserve reserved} for it.
   *
   * @param logits [vocabSize], filled by the pass, or null when nobody asks
   * @param hidden [hiddenSize], filled with the state after the final norm, or null
   */
  record Row(
      int token,
      int position,
      KvCache cache,
      float @Nullable [] logits,
      float @Nullable [] hidden) {}

  private final List<Row> rows = new ArrayList<>();

  /** Adds a row. */
  public void add(int token, int position, KvCache cache, float @Nullable [] logits) {
    rows.add(new Row(token, position, cache, logits, null));
  }

  /** Adds a row of which the state after the final norm is asked for, not the logits. */
  public void addHidden(int token, int position, KvCache cache, float[] hidden) {
    rows.add(new Row(token, position, cache, null, hidden));
  }

  /** Takes all rows away. */
  void clear() {
    rows.clear();
  }

  /** The rows so far. */
  public int size() {
    return rows.size();
  }

  /** Lets rows [from, to) write elsewhere, so that their cache may go; their results are lost. */
  void detach(int from, int to, KvCache elsewhere) {
    for (int i = from; i < to; i++) {
      rows.set(i, new Row(rows.get(i).token(), i, elsewhere, null, null));
    }
  }

  Row row(int index) {
    return rows.get(index);
  }
}
