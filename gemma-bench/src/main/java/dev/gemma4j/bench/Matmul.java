package dev.gemma4j.bench;

import dev.gemma4j.kernel.Matrix;
import dev.gemma4j.loader.TensorType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** A matrix product whose weights come from memory, not from a cache, as in a model. */
final class Matmul {
  private static final long BEYOND_CACHES = 512L << 20;

  private final Matrix[] copies;
  private final float[] x; // [batch, cols]
  private final float[] y; // [batch, rows]
  private final int batch;
  private int next;

  /**
   * @param shape "rows x cols" without the spaces
   */
  Matmul(TensorType type, String shape, int batch, BenchmarkPool threads) {
    String[] sides = shape.split("x", 2);
    int rows = Integer.parseInt(sides[0]);
    int cols = Integer.parseInt(sides[1]);
    RandomWeights weights = new RandomWeights(1);
    long bytes = type.byteSize((long) rows * cols);
    copies = new Matrix[(int) ((BEYOND_CACHES + bytes - 1) / bytes)];
    for (int i = 0; i < copies.length; i++) {
      MemorySegment data = Arena.ofAuto().allocate(bytes, 64);
      weights.fill(data, type, RandomWeights.std(cols));
      copies[i] =
          threads.kernel.pack(new Matrix(type, rows, cols, data), Arena.ofAuto(), threads.pool);
    }
    this.batch = batch;
    x = weights.floats(batch * cols, 0, 1);
    y = new float[batch * rows];
  }

  float[] run(BenchmarkPool threads, Rates rates) {
    Matrix w = copies[next];
    next = (next + 1) % copies.length;
    threads.pool.run(
        (part, parts) ->
            threads.kernel.matmul(
                w,
                split(w.rows(), part, parts),
                split(w.rows(), part + 1, parts),
                x,
                batch,
                y,
                w.rows(),
                threads.scratch[part]));
    rates.add(w.data().byteSize(), 2.0 * w.rows() * w.cols() * batch);
    return y;
  }

  private static int split(int rows, int part, int parts) {
    return (int) ((long) rows / 16 * part / parts * 16);
  }
}
