package dev.gemma4j.kernel;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * The operations of the forward pass on f32 activations. Arrays of activations are row-major, one
 * row per token. Implementations hold no state and serve any number of threads.
 */
public interface Kernels {
  /** "vector" or "scalar". */
  String name();

  /** Rows at whose multiples the work on a matrix may be split. */
  int ROW_GROUP = 64;

  /** Whether {@link #pack} makes a copy of matrices of this type. */
  boolean packs(TensorType type);

  /**
   * The matrix in the layout that these kernels read fastest, or itself where that is the stored
   * one. A packed matrix is for the kernels that packed it.
   *
   * @param arena owns the copy
   * @param pool does the work
   * @throws ArithmeticException when a block's scale is infinite or NaN, which the kernels take for
   *     a number
   */
  Matrix pack(Matrix w, Arena arena, WorkerPool pool);

  /**
   * {@code y[b][r] = w[r] · x[b]} for rows r in [from, to) and b in [0, batch). Accumulates in f32.
   * The value of an element does not depend on from and to.
   *
   * @param from a multiple of {@link #ROW_GROUP}
   * @param to such a multiple or the number of rows
   * @param x [batch, xStride], a row's first w.cols
   * @param y [batch, yStride]
   */
  void matmul(
      Matrix w,
      int from,
      int to,
      float[] x,
      int xStride,
      int batch,
      float[] y,
      int yStride,
      Scratch scratch);

  /** Row {@code row} of a matrix times {@code scale}, as f32, into {@code out[outOffset..]}. */
  void embed(Matrix w, int row, float scale, float[] out, int outOffset);

  /** {@code out = x / sqrt(mean(x²) + eps) * scale} for one row of {@code scale.length} floats. */
  void rmsNorm(float[] x, int xOffset, float[] scale, float eps, float[] out, int outOffset);

  /** {@code x += y}, {@code n} floats from {@code offset} in both. */
  void add(float[] x, float[] y, int offset, int n);

  /**
   * {@code gate = gelu_tanh(gate) * up}, {@code n} floats from {@code offset} in both; gelu is not
   * nearer to 0 than gate e^-60.
   */
  void geglu(float[] gate, float[] up, int offset, int n);

  /**
   * {@code scores[h][p] = q[h] · k[p]} for {@code heads} neighbouring query heads that share one KV
   * head, and all positions p of pages [from, to); those that nothing is stored at get any value.
   *
   * @param q the query heads, [heads, headDim] from qOffset
   * @param pages the key/value pages of the sequence
   * @param layout where keys and values lie within a page
   * @param scores [heads, stride]
   */
  void scores(
      float[] q,
      int qOffset,
      int heads,
      MemorySegment[] pages,
      KvLayout layout,
      int from,
      int to,
      float[] scores,
      int stride,
      Scratch scratch);

  /**
   * {@code x = softmax(scale * x)}, {@code n} floats from {@code offset}; scale is positive. What
   * is below 1e-30 of the largest is 0.
   */
  void softmax(float[] x, int offset, int n, float scale);

  /**
   * {@code out[h][d] = Σ weights[h][p] v[p][d]} over the first {@code length} positions, for the
   * dimensions d in [from, to).
   *
   * @param weights [heads, stride]
   * @param from a multiple of {@link KvLayout#BLOCK}
   * @param to such a multiple or headDim
   * @param out [heads, headDim] from outOffset
   */
  void mixValues(
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
      Scratch scratch);

  /**
   * Rotates the halves of one head in place (RoFormer, https://arxiv.org/abs/2104.09864, in the
   * half layout of the published checkpoints): element i turns with element i + headDim/2.
   *
   * @param cos [headDim/2] from tableOffset
   */
  static void rope(
      float[] head, int offset, int headDim, float[] cos, float[] sin, int tableOffset) {
    int half = headDim / 2;
    for (int i = 0; i < half; i++) {
      float a = head[offset + i];
      float b = head[offset + half + i];
      float c = cos[tableOffset + i];
      float s = sin[tableOffset + i];
      head[offset + i] = a * c - b * s;
      head[offset + half + i] = b * c + a * s;
    }
  }
}
