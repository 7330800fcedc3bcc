package dev.gemma4j.model;

import dev.gemma4j.kernel.Kernels;
import dev.gemma4j.kernel.Scratch;
import dev.gemma4j.kernel.WorkerPool;
import dev.gemma4j.model.Adapter.LowRank;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What adapters add in a pass: for rows that run with one, {@code y = W x} becomes {@code y = W x +
 * B (A x)}. The rows of one adapter are computed together, wherever they stand in the batch. {@link
 * #compress} is the first thin product, {@link #expand} the second.
 */
final class AdapterPass {
  /** Rows of one product, so that the copies stay small. */
  private static final int CHUNK = 32;

  private final Kernels kernels;
  private final WorkerPool pool;
  private final Scratch[] scratch;
  private final float[][] inputs; // [part], copies of rows
  private final float[][] outputs;
  private List<Group> groups = List.of();
  private int total; // rows of all groups

  /** The rows that run with one adapter. */
  private static final class Group {
    final Adapter adapter;
    final int first; // among the rows of all groups
    final int[] rows; // in the batch
    final float[][] compressed = new float[Projection.values().length][0]; // [rows, rank]

    Group(Adapter adapter, int first, List<Integer> rows) {
      this.adapter = adapter;
      this.first = first;
      this.rows = rows.stream().mapToInt(i -> i).toArray();
    }
  }

  AdapterPass(Kernels kernels, WorkerPool pool, Scratch[] scratch) {
    this.kernels = kernels;
    this.pool = pool;
    this.scratch = scratch;
    this.inputs = new float[scratch.length][0];
    this.outputs = new float[scratch.length][0];
  }

  void begin(Batch batch) {
    end();
    for (int i = 0; i < batch.size(); i++) {
      if (batch.row(i).cache().adapter() != null) {
        group(batch);
        return;
      }
    }
  }

  /** Lets the adapters go. */
  void end() {
    groups = List.of();
    total = 0;
  }

  private void group(Batch batch) {
    Map<Adapter, List<Integer>> rows = new LinkedHashMap<>();
    for (int i = 0; i < batch.size(); i++) {
      Adapter adapter = batch.row(i).cache().adapter();
      if (adapter != null) {
        rows.computeIfAbsent(adapter, a -> new ArrayList<>()).add(i);
      }
    }
    groups = new ArrayList<>();
    for (Map.Entry<Adapter, List<Integer>> entry : rows.entrySet()) {
      groups.add(new Group(entry.getKey(), total, entry.getValue()));
      total += entry.getValue().size();
    }
  }

  /**
   * Computes A x for projections of the same x.
   *
   * @param x [rows of the batch, {@link GemmaForward#stride} of in]
   */
  void compress(int layer, float[] x, Projection[] projections) {
    if (total == 0) {
      return;
    }
    for (Group group : groups) {
      for (Projection p : projections) {
        LowRank update = group.adapter.of(layer, p);
        int size = update == null ? 0 : group.rows.length * update.rank();
        group.compressed[p.ordinal()] = atLeast(group.compressed[p.ordinal()], size);
      }
    }
    if (total == 1) {
      compress(layer, x, projections, 0, 1, 0);
    } else {
      pool.run(
          (part, parts) ->
              compress(
                  layer, x, projections, total * part / parts, total * (part + 1) / parts, part));
    }
  }

  /** Of rows [from, to) of all groups. */
  private void compress(
      int layer, float[] x, Projection[] projections, int from, int to, int part) {
    for (Group group : groups) {
      int end = Math.min(group.rows.length, to - group.first);
      for (int at = Math.max(0, from - group.first); at < end; at += CHUNK) {
        int n = Math.min(CHUNK, end - at);
        for (Projection p : projections) {
          LowRank update = group.adapter.of(layer, p);
          if (update != null) {
            int cols = update.a().cols();
            int rank = update.rank();
            float[] in = inputs[part] = atLeast(inputs[part], n * cols);
            float[] out = outputs[part] = atLeast(outputs[part], n * rank);
            for (int i = 0; i < n; i++) {
              System.arraycopy(
                  x, group.rows[at + i] * GemmaForward.stride(cols), in, i * cols, cols);
            }
            kernels.matmul(update.a(), 0, rank, in, cols, n, out, rank, scratch[part]);
            System.arraycopy(out, 0, group.compressed[p.ordinal()], at * rank, n * rank);
          }
        }
      }
    }
  }

  /**
   * Adds columns [from, to) of B (A x), of which {@link #compress} has computed A x.
   *
   * @param y [rows of the batch, stride]
   */
  void expand(int layer, Projection p, float[] y, int stride, int from, int to, int part) {
    if (total == 0) {
      return;
    }
    for (Group group : groups) {
      LowRank update = group.adapter.of(layer, p);
      if (update == null || from == to) {
        continue;
      }
      int rank = update.rank();
      int width = to - from;
      LowRank share = update.rows(from, to);
      for (int at = 0; at < group.rows.length; at += CHUNK) {
        int n = Math.min(CHUNK, group.rows.length - at);
        float[] in = inputs[part] = atLeast(inputs[part], n * rank);
        float[] out = outputs[part] = atLeast(outputs[part], n * width);
        System.arraycopy(group.compressed[p.ordinal()], at * rank, in, 0, n * rank);
        kernels.matmul(share.b(), 0, width, in, rank, n, out, width, scratch[part]);
        for (int i = 0; i < n; i++) {
          add(y, group.rows[at + i] * stride + from, out, i * width, width);
        }
      }
    }
  }

  private static void add(float[] y, int yAt, float[] x, int xAt, int n) {
    for (int i = 0; i < n; i++) {
      y[yAt + i] += x[xAt + i];
    }
  }

  private static float[] atLeast(float[] buffer, int size) {
    return buffer.length < size ? new float[size] : buffer;
  }
}
