package dev.gemma4j.kernel;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/**
 * The kernels as plain loops: what the vector ones are checked against, and the way without them.
 */
final class ScalarKernels implements Kernels {
  private static final float GELU_INNER = (float) Math.sqrt(2 / Math.PI);

  @Override
  public String name() {
    return "scalar";
  }

  @Override
  public void matmul(
      Matrix w, int from, int to, float[] x, int batch, float[] y, int yStride, Scratch scratch) {
    int cols = w.cols();
    float[] row = scratch.panel(cols);
    for (int r = from; r < to; r++) {
      w.type().dequantize(w.data(), (long) r * cols, row, 0, cols);
      for (int b = 0; b < batch; b++) {
        y[b * yStride + r] = dot(row, 0, x, b * cols, cols);
      }
    }
  }

  @Override
  public Matrix pack(Matrix w, Arena arena, WorkerPool pool) {
    return w;
  }

  @Override
  public void embed(Matrix w, int row, float scale, float[] out, int outOffset) {
    int cols = w.cols();
    w.type().dequantize(w.data(), (long) row * cols, out, outOffset, cols);
    for (int i = 0; i < cols; i++) {
      out[outOffset + i] *= scale;
    }
  }

  @Override
  public void rmsNorm(
      float[] x, int xOffset, float[] scale, float eps, float[] out, int outOffset) {
    int n = scale.length;
    float inverse = (float) (1 / Math.sqrt(dot(x, xOffset, x, xOffset, n) / n + eps));
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
      // gelu_tanh(g) = g * (1 + tanh(u)) / 2 = g / (1 + exp(-2u))
      float u = GELU_INNER * (g + 0.044715f * g * g * g);
      gate[i] = g / (1 + exp(-2 * u)) * up[i];
    }
  }

  @Override
  public void attend(
      float[] q,
      int qOffset,
      int heads,
      MemorySegment[] pages,
      KvLayout layout,
      int length,
      float scale,
      float[] out,
      Scratch scratch) {
    int headDim = layout.headDim();
    int pageSize = layout.pageSize();
    int count = (length + pageSize - 1) / pageSize;
    int stride = count * pageSize;
    float[] scores = scratch.scores(heads * stride); // what lies beyond length is not used
    float[] rows = scratch.panel(headDim * pageSize);
    Arrays.fill(scores, 0, heads * stride, 0);
    Arrays.fill(out, qOffset, qOffset + heads * headDim, 0);
    for (int i = 0; i < count; i++) {
      layout.readKeys(pages[i], rows);
      for (int h = 0; h < heads; h++) {
        for (int d = 0; d < headDim; d++) {
          float x = q[qOffset + h * headDim + d];
          multiplyAdd(x, rows, d * pageSize, scores, h * stride + i * pageSize, pageSize);
        }
      }
    }
    for (int h = 0; h < heads; h++) {
      softmax(scores, h * stride, length, scale);
    }
    for (int i = 0; i < count; i++) {
      int n = Math.min(pageSize, length - i * pageSize);
      layout.readValues(pages[i], n, rows);
      for (int h = 0; h < heads; h++) {
        for (int p = 0; p < n; p++) {
          float x = scores[h * stride + i * pageSize + p];
          multiplyAdd(x, rows, p * headDim, out, qOffset + h * headDim, headDim);
        }
      }
    }
  }

  /** {@code y += a * x}. */
  private static void multiplyAdd(float a, float[] x, int xAt, float[] y, int yAt, int n) {
    for (int i = 0; i < n; i++) {
      y[yAt + i] = Math.fma(a, x[xAt + i], y[yAt + i]);
    }
  }

  /** {@code x = softmax(scale * x)}; subtracts the maximum first, so that nothing overflows. */
  static void softmax(float[] x, int offset, int n, float scale) {
    float max = Float.NEGATIVE_INFINITY;
    for (int i = offset; i < offset + n; i++) {
      max = Math.max(max, x[i]);
    }
    float sum = 0;
    for (int i = offset; i < offset + n; i++) {
      x[i] = exp((x[i] - max) * scale);
      sum += x[i];
    }
    for (int i = offset; i < offset + n; i++) {
      x[i] /= sum;
    }
  }

  /** Eight partial sums: independent chains for the processor, and a smaller rounding error. */
  private static float dot(float[] a, int aOffset, float[] b, int bOffset, int n) {
    float s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
    int i = 0;
    for (; i + 8 <= n; i += 8) {
      s0 = Math.fma(a[aOffset + i], b[bOffset + i], s0);
      s1 = Math.fma(a[aOffset + i + 1], b[bOffset + i + 1], s1);
      s2 = Math.fma(a[aOffset + i + 2], b[bOffset + i + 2], s2);
      s3 = Math.fma(a[aOffset + i + 3], b[bOffset + i + 3], s3);
      s4 = Math.fma(a[aOffset + i + 4], b[bOffset + i + 4], s4);
      s5 = Math.fma(a[aOffset + i + 5], b[bOffset + i + 5], s5);
      s6 = Math.fma(a[aOffset + i + 6], b[bOffset + i + 6], s6);
      s7 = Math.fma(a[aOffset + i + 7], b[bOffset + i + 7], s7);
    }
    float sum = ((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7));
    for (; i < n; i++) {
      sum = Math.fma(a[aOffset + i], b[bOffset + i], sum);
    }
    return sum;
  }

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
