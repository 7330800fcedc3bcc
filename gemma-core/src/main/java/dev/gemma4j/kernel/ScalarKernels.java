package dev.gemma4j.kernel;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/**
 * The kernels as plain loops: what the vector ones are checked against, and the way without them.
 */
final class ScalarKernels implements Kernels {
  /** Positions whose scores are computed together. */
  private static final int RUN = 256;

  private static final float GELU_INNER = (float) Math.sqrt(2 / Math.PI);

  private final int lanes;

  ScalarKernels() {
    this(16);
  }

  /**
   * Kernels that add up as vectors of so many lanes do.
   *
   * @param lanes a power of two
   */
  ScalarKernels(int lanes) {
    this.lanes = lanes;
  }

  @Override
  public String name() {
    return "scalar";
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
    if (batch > 1) {
      ScalarMatmul.matmul(w, from, to, x, xStride, batch, y, yStride, scratch);
    } else if (w.packed()) {
      RowGroups.matvec(w, from, to, x, y, scratch);
    } else {
      ScalarMatmul.matvec(w, from, to, x, y, scratch);
    }
  }

  @Override
  public boolean packs(TensorType type) {
    return RowGroups.serves(type);
  }

  @Override
  public Matrix pack(Matrix w, Arena arena, WorkerPool pool) {
    return packs(w.type()) ? RowGroups.pack(w, arena, pool) : w;
  }

  @Override
  public void embed(Matrix w, int row, float scale, float[] out, int outOffset) {
    int cols = w.cols();
    if (w.packed()) {
      RowGroups.unpackRow(w, row, out, outOffset);
    } else {
      w.type().dequantize(w.data(), (long) row * cols, out, outOffset, cols);
    }
    for (int i = 0; i < cols; i++) {
      out[outOffset + i] *= scale;
    }
  }

  @Override
  public void rmsNorm(
      float[] x, int xOffset, float[] scale, float eps, float[] out, int outOffset) {
    int n = scale.length;
    float inverse = (float) (1 / Math.sqrt(squares(x, xOffset, n) / n + eps));
    for (int i = 0; i < n; i++) {
      out[outOffset + i] = x[xOffset + i] * inverse * scale[i];
    }
  }

  @Override
  public void add(float[] x, float[] y, int offset, int n) {
    for (int i = offset; i < offset + n; i++) {
      x[i] += y[i];
    }
  }

  @Override
  public void geglu(float[] gate, float[] up, int offset, int n) {
    for (int i = offset; i < offset + n; i++) {
      float g = gate[i];
      // gelu_tanh(g) = g * (1 + tanh(u)) / 2 = g / (1 + exp(-2u)), u = √(2/π) (g + 0.044715 g³)
      float u = Math.fma(g * g * 0.044715f, g, g) * GELU_INNER;
      gate[i] = g / (exp(Math.min(-2 * u, GELU_END)) + 1) * up[i];
    }
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
    int headDim = layout.headDim();
    int pageSize = layout.pageSize();
    int run = Math.max(1, RUN / pageSize); // pages whose keys are taken together
    float[] page = scratch.panel(headDim * pageSize);
    float[][] rows = scratch.rows(headDim, run * pageSize);
    float[] sums = scratch.sums(1, run * pageSize)[0];
    for (int first = from; first < to; first += run) {
      int n = Math.min(run, to - first);
      for (int i = 0; i < n; i++) {
        layout.readKeys(pages[first + i], page);
        for (int d = 0; d < headDim; d++) {
          System.arraycopy(page, d * pageSize, rows[d], i * pageSize, pageSize);
        }
      }
      for (int h = 0; h < heads; h++) {
        Arrays.fill(sums, 0, n * pageSize, 0);
        ScalarMatmul.addRows(rows, 0, headDim, q, qOffset + h * headDim, sums, n * pageSize);
        System.arraycopy(sums, 0, scores, h * stride + first * pageSize, n * pageSize);
      }
    }
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
    int pageSize = layout.pageSize();
    float[][] rows = scratch.rows(pageSize, to - from);
    float[] sums = scratch.sums(1, to - from)[0];
    for (int first = 0; first < length; first += pageSize) {
      int n = Math.min(pageSize, length - first);
      for (int p = 0; p < n; p++) {
        layout.readValue(pages[first / pageSize], p, from, to, rows[p]);
      }
      for (int h = 0; h < heads; h++) {
        int target = outOffset + h * layout.headDim() + from;
        if (first == 0) {
          Arrays.fill(sums, 0, to - from, 0);
        } else {
          System.arraycopy(out, target, sums, 0, to - from);
        }
        ScalarMatmul.addRows(rows, 0, n, weights, h * stride + first, sums, to - from);
        System.arraycopy(sums, 0, out, target, to - from);
      }
    }
  }

  /** Subtracts the maximum first, so that nothing overflows. */
  @Override
  public void softmax(float[] x, int offset, int n, float scale) {
    float max = Float.NEGATIVE_INFINITY;
    for (int i = offset; i < offset + n; i++) {
      max = Math.max(max, x[i]);
    }
    if (!Float.isFinite(max)) { // of a NaN, exp could make a number
      Arrays.fill(x, offset, offset + n, Float.NaN);
      return;
    }
    for (int i = offset; i < offset + n; i++) {
      x[i] = weight((x[i] - max) * scale);
    }
    int whole = n / lanes * lanes;
    float sum = sum(x, offset, whole, 0, 1);
    for (int i = offset + whole; i < offset + n; i++) {
      sum += x[i];
    }
    for (int i = offset; i < offset + n; i++) {
      x[i] /= sum;
    }
  }

  /**
   * The sum of lane {@code lane} of each {@code stride}, in the order of the vector kernels: lane
   * by lane, and then the upper half of the lanes to the lower one until one is left.
   */
  private float sum(float[] x, int offset, int n, int lane, int stride) {
    if (stride < lanes) {
      return sum(x, offset, n, lane, 2 * stride) + sum(x, offset, n, lane + stride, 2 * stride);
    }
    float sum = 0;
    for (int i = offset + lane; i < offset + n; i += stride) {
      sum += x[i];
    }
    return sum;
  }

  /** The sum of squares, in their order, too, which is that of two vectors side by side. */
  private float squares(float[] x, int offset, int n) {
    int whole = n / (2 * lanes) * 2 * lanes;
    float sum = squares(x, offset, whole, 0, 1);
    for (int i = offset + whole; i < offset + n; i++) {
      sum = Math.fma(x[i], x[i], sum);
    }
    return sum;
  }

  private float squares(float[] x, int offset, int n, int lane, int stride) {
    if (stride < 2 * lanes) {
      return squares(x, offset, n, lane, 2 * stride)
          + squares(x, offset, n, lane + stride, 2 * stride);
    }
    float sum = 0;
    for (int i = offset + lane; i < offset + n; i += stride) {
      sum = Math.fma(x[i], x[i], sum);
    }
    return sum;
  }

  /**
   * What a softmax takes from each exponential, but not below 0: less than rounding takes from one
   * of 1e-22 or more. Else the least weights would be subnormal, which many processors multiply a
   * hundred times slower.
   */
  static final float NOTHING = 1e-30f;

  /** A softmax's weight before it is divided by their sum. */
  static float weight(float x) {
    return Math.max(exp(x) - NOTHING, 0);
  }

  /**
   * Where gelu's exponential ends: g e^-60 is nothing beside other activations, and yet large
   * enough that a product with up is not subnormal.
   */
  static final float GELU_END = 60;

  static final float EXP_MIN = -87.33f;
  static final float EXP_MAX = 88.37f;
  static final float LOG2E = 1.44269504f;
  static final float LN2_HIGH = 0.693359375f;
  static final float LN2_LOW = -2.12194440e-4f;
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  static final float ROUND = 12582912f;
  static final float[] EXP_POLYNOMIAL = {
    1.9875691500e-4f,
    1.3981999507e-3f,
    8.3334519073e-3f,
    4.1665795894e-2f,
    1.6666665459e-1f,
    5.0000001201e-1f
  };

  /** e^x within 2 ulp, by the reduction and polynomial of Cephes' expf; saturates outside f32. */
  static float exp(float x) {
    x = Math.min(EXP_MAX, Math.max(EXP_MIN, x));
    float n = Math.fma(x, LOG2E, ROUND);
    int exponent = Float.floatToRawIntBits(n) << 23;
    n -= ROUND;
    float r = Math.fma(n, -LN2_LOW, Math.fma(n, -LN2_HIGH, x));
    float p = EXP_POLYNOMIAL[0];
    for (int i = 1; i < EXP_POLYNOMIAL.length; i++) {
      p = Math.fma(p, r, EXP_POLYNOMIAL[i]);
    }
    p = Math.fma(p, r * r, r + 1);
    return Float.intBitsToFloat(Float.floatToRawIntBits(p) + exponent);
  }
}
