package dev.gemma4j.kernel;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.concurrent.locks.LockSupport;

/**
 * {@link VectorKernels}, and plain loops until C2 has compiled those, each operation by itself, as
 * {@link Apprentice} tells. Both compute the same, to the last bit: the loops are fast within
 * milliseconds, but vectors are objects to all but C2, and a small model's first texts would be
 * over before it has them. For products of large matrices the loops are too slow: those wait.
 */
final class StartingKernels implements Kernels {
  /** Weights of a matrix that is too large for plain loops. */
  private static final int LARGE = 1 << 22;

  // Of the matrix that a kernel is compiled with. C2 compiles a method that was called 600 times
  // and has made 15,000 turns; after 40,000 turns, which rows of a large matrix make sooner, it
  // would compile the loops alone first.
  private static final int ROWS = 4 * ROW_GROUP;
  private static final int COLS = 768;
  private static final int BATCH = 32;

  private static final long PATIENCE = 1_500_000_000; // nanoseconds
  private static final long PAUSE = 3_000_000;

  /** Nanoseconds for a weight and a row of the batch: compiled 0.02 to 0.2, before 10 and more. */
  private static final double COMPILED = 1;

  /**
   * Products differ by the batch: one row, up to 16, or more. Kernels change within the second,
   * too: F16's at 9 rows, Q8_0's and BF16's at 3, Q4_0's at 3, 4 and 7. The first to be compiled
   * stands for all, as training each gained nothing for certain.
   */
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
      Matrix w,
      int from,
      int to,
      float[] x,
      int xStride,
      int batch,
      float[] y,
      int yStride,
      Scratch scratch) {
    int size = batch == 1 ? 0 : batch <= 16 ? 1 : 2;
    Apprentice.Operation operation = products[w.type().ordinal() * BATCHES + size];
    if (!operation.ready() && w.rows() >= LARGE / w.cols()) {
      train(operation, w, batch, scratch);
    }
    if (operation.ready() || w.packed()) {
      vector.matmul(w, from, to, x, xStride, batch, y, yStride, scratch);
      return;
    }
    serve(
        operation,
        (double) (to - from) * w.cols() * batch,
        turn -> {
          if (turn) {
            vector.matmul(w, from, to, x, xStride, batch, y, yStride, scratch);
          } else {
            EarlyMatmul.matmul(w, from, to, x, xStride, batch, y, yStride, scratch);
          }
        });
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
    serve(
        norm,
        scale.length,
        turn -> (turn ? vector : scalar).rmsNorm(x, xOffset, scale, eps, out, outOffset));
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
    serve(geglu, n, turn -> (turn ? vector : scalar).geglu(gate, up, offset, n));
  }

  @Override
  public void softmax(float[] x, int offset, int n, float scale) {
    if (softmax.ready()) {
      vector.softmax(x, offset, n, scale);
      return;
    }
    serve(softmax, n, turn -> (turn ? vector : scalar).softmax(x, offset, n, scale));
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
    serve(
        this.scores,
        (double) heads * (to - from),
        turn ->
            (turn ? vector : scalar)
                .scores(q, qOffset, heads, pages, layout, from, to, scores, stride, scratch));
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
    serve(
        values,
        (double) heads * (to - from) * length,
        turn ->
            (turn ? vector : scalar)
                .mixValues(
                    weights, stride, heads, pages, layout, length, from, to, out, outOffset,
                    scratch));
  }

  /**
   * Has a kernel compiled before it serves a large matrix, by products of a small one that are not
   * used, in all threads: else the first product would take as long as others take by the hundred.
   */
  private void train(Apprentice.Operation operation, Matrix large, int rows, Scratch scratch) {
    int batch = Math.min(rows, BATCH);
    TensorType type = large.type();
    Arena arena = Arena.ofAuto();
    long bytes = type.byteSize((long) ROWS * COLS);
    Matrix w = new Matrix(type, ROWS, COLS, arena.allocate(bytes, Long.BYTES));
    if (large.packed()) {
      try (WorkerPool caller = WorkerPool.start(1, "train")) { // has no thread of its own
        w = vector.pack(w, arena, caller);
      }
    }
    float[] x = new float[batch * COLS];
    float[] y = new float[batch * ROWS];
    long begin = System.nanoTime();
    while (!operation.ready()) {
      long start = System.nanoTime();
      vector.matmul(w, 0, ROWS, x, COLS, batch, y, ROWS, scratch);
      long end = System.nanoTime();
      if (end - start < COMPILED * ROWS * COLS * batch || end - begin > PATIENCE) {
        operation.graduate();
      } else {
        LockSupport.parkNanos(Math.min(PAUSE, end - start)); // the processors are C2's, too
      }
    }
  }

  /** A call whose turn it may be to be served by vectors. */
  @FunctionalInterface
  private interface Call {
    void run(boolean turn);
  }

  private static void serve(Apprentice.Operation operation, double work, Call call) {
    boolean turn = operation.turn(work);
    long start = System.nanoTime();
    call.run(turn);
    operation.done(turn, work, System.nanoTime() - start);
  }
}
