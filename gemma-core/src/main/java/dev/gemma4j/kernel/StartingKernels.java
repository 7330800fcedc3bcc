package dev.gemma4j.kernel;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/**
 * {@link VectorKernels}, and for small models plain loops until C2 has compiled those, each
 * operation by itself, as {@link Apprentice} tells. Both compute the same, to the last bit: the
 * loops are fast within milliseconds, but vectors are objects to all but C2, and a small model's
 * first texts would be over before it has them.
 */
final class StartingKernels implements Kernels {
  /** Weights of a matrix with whose first products kernels are compiled before a pass is over. */
  private static final int LARGE = 1 << 22;

  /** Products differ by the batch: one row, a few, or enough for panels. */
  private static final int BATCHES = 3;

  private final VectorKernels vector = new VectorKernels();
  private final ScalarKernels scalar = new ScalarKernels(VectorKernels.F.length());
  private final Apprentice apprentice = new Apprentice();
  private final Apprentice.Operation[] products =
      new Apprentice.Operation[TensorType.values().length * BATCHES];
  private final Apprentice.Operation norm = apprentice.operation();
  private final Apprentice.Operation geglu = apprentice.operation();
  private final Apprentice.Operation scores = apprentice.operation();
  private final Apprentice.Operation softmax = apprentice.operation();
  private final Apprentice.Operation values = apprentice.operation();

  StartingKernels() {
    Arrays.setAll(products, i -> apprentice.operation());
  }

  @Override
  public String name() {
    return vector.name();
  }

  @Override
  public boolean packs(TensorType type) {
    return vector.packs(type);
  }

  @Override
  public Matrix pack(Matrix w, Arena arena, WorkerPool pool) {
    return vector.pack(w, arena, pool);
  }

  @Override
  public void matmul(
      Matrix w, int from, int to, float[] x, int batch, float[] y, int yStride, Scratch scratch) {
    if (w.rows() >= LARGE / w.cols()) {
      apprentice.skip();
    }
    int size = batch == 1 ? 0 : batch <= 16 ? 1 : 2;
    Apprentice.Operation operation = products[w.type().ordinal() * BATCHES + size];
    if (w.packed() || operation.ready()) {
      vector.matmul(w, from, to, x, batch, y, yStride, scratch);
      return;
    }
    double work = (double) (to - from) * w.cols() * batch;
    boolean turn = operation.turn(work);
    long start = System.nanoTime();
    if (turn) {
      vector.matmul(w, from, to, x, batch, y, yStride, scratch);
    } else {
      EarlyMatmul.matmul(w, from, to, x, batch, y, yStride, scratch);
    }
    operation.done(turn, work, System.nanoTime() - start);
  }

  @Override
  public void embed(Matrix w, int row, float scale, float[] out, int outOffset) {
    vector.embed(w, row, scale, out, outOffset);
  }

  @Override
  public void rmsNorm(
      float[] x, int xOffset, float[] scale, float eps, float[] out, int outOffset) {
    if (norm.ready()) {
      vector.rmsNorm(x, xOffset, scale, eps, out, outOffset);
      return;
    }
    double work = scale.length;
    boolean turn = norm.turn(work);
    long start = System.nanoTime();
    (turn ? vector : scalar).rmsNorm(x, xOffset, scale, eps, out, outOffset);
    norm.done(turn, work, System.nanoTime() - start);
  }

  @Override
  public void add(float[] x, float[] y, int offset, int n) {
    vector.add(x, y, offset, n);
  }

  @Override
  public void geglu(float[] gate, float[] up, int offset, int n) {
    if (geglu.ready()) {
      vector.geglu(gate, up, offset, n);
      return;
    }
    double work = n;
    boolean turn = geglu.turn(work);
    long start = System.nanoTime();
    (turn ? vector : scalar).geglu(gate, up, offset, n);
    geglu.done(turn, work, System.nanoTime() - start);
  }

  @Override
  public void softmax(float[] x, int offset, int n, float scale) {
    if (softmax.ready()) {
      vector.softmax(x, offset, n, scale);
      return;
    }
    double work = n;
    boolean turn = softmax.turn(work);
    long start = System.nanoTime();
    (turn ? vector : scalar).softmax(x, offset, n, scale);
    softmax.done(turn, work, System.nanoTime() - start);
  }

  @Override
  public void scores(
      float[] q,
      int qOffset,
      int heads,
      MemorySegment[] pages,
      KvLayout layout,
      int from,
      int to,
      float[] scores,
      int stride,
      Scratch scratch) {
    if (this.scores.ready()) {
      vector.scores(q, qOffset, heads, pages, layout, from, to, scores, stride, scratch);
      return;
    }
    double work = (double) heads * (to - from);
    boolean turn = this.scores.turn(work);
    long start = System.nanoTime();
    (turn ? vector : scalar)
        .scores(q, qOffset, heads, pages, layout, from, to, scores, stride, scratch);
    this.scores.done(turn, work, System.nanoTime() - start);
  }

  @Override
  public void mixValues(
      float[] weights,
      int stride,
      int heads,
      MemorySegment[] pages,
      KvLayout layout,
      int length,
      int from,
      int to,
      float[] out,
      int outOffset,
      Scratch scratch) {
    if (values.ready()) {
      vector.mixValues(
          weights, stride, heads, pages, layout, length, from, to, out, outOffset, scratch);
      return;
    }
    double work = (double) heads * (to - from) * length;
    boolean turn = values.turn(work);
    long start = System.nanoTime();
    (turn ? vector : scalar)
        .mixValues(
            weights, stride, heads, pages, layout, length, from, to, out, outOffset, scratch);
    values.done(turn, work, System.nanoTime() - start);
  }
}
