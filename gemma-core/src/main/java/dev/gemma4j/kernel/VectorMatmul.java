package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.VectorKernels.F;
import static dev.gemma4j.kernel.VectorKernels.I;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * Matrix times many vectors. Bound by arithmetic: four rows of weights are decoded to f32 once and
 * then meet every row of the batch in register tiles of 4 x 4, in blocks of columns that keep both
 * sides in the second-level cache.
 */
final class VectorMatmul {
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final int LANES = F.length();
  private static final int TILE = 4;
  private static final int COLUMN_BLOCK = 2048;
  private static final int BATCH_BLOCK = 64;
  private static final VectorSpecies<Short> S =
      VectorSpecies.of(short.class, VectorShape.forBitSize(Math.max(64, F.vectorBitSize() / 2)));
  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private VectorMatmul() {}

  static void matmul(
      Matrix w, int from, int to, float[] x, int batch, float[] y, int yStride, Scratch scratch) {
    int cols = w.cols();
    float[] panel = scratch.panel(TILE * COLUMN_BLOCK);
    for (int b0 = 0; b0 < batch; b0 += BATCH_BLOCK) {
      int b1 = Math.min(batch, b0 + BATCH_BLOCK);
      for (int k = 0; k < cols; k += COLUMN_BLOCK) {
        int n = Math.min(COLUMN_BLOCK, cols - k);
        for (int r = from; r < to; r += TILE) {
          int rows = Math.min(TILE, to - r);
          for (int j = 0; j < rows; j++) {
            decode(w, r + j, k, n, panel, j * COLUMN_BLOCK);
          }
          // Rows that are missing in the last tile are computed from stale panels and not stored.
          for (int b = b0; b < b1; ) {
            if (b + TILE <= b1) {
              tile4x4(panel, n, x, b * cols + k, cols, y, b * yStride + r, yStride, rows, k > 0);
              b += TILE;
            } else {
              tile4x1(panel, n, x, b * cols + k, y, b * yStride + r, rows, k > 0);
              b++;
            }
          }
        }
      }
    }
  }

  private static void tile4x1(
      float[] p, int n, float[] x, int xAt, float[] y, int yAt, int rows, boolean add) {
    for (int j = 0; j < rows; j++) {
      float sum = VectorKernels.dot(p, j * COLUMN_BLOCK, x, xAt, n);
      y[yAt + j] = add ? y[yAt + j] + sum : sum;
    }
  }

  private static void tile4x4(
      float[] p,
      int n,
      float[] x,
      int xAt,
      int xStride,
      float[] y,
      int yAt,
      int yStride,
      int rows,
      boolean add) {
    int x1 = xAt + xStride;
    int x2 = x1 + xStride;
    int x3 = x2 + xStride;
    FloatVector a00 = FloatVector.zero(F), a01 = a00, a02 = a00, a03 = a00;
    FloatVector a10 = a00, a11 = a00, a12 = a00, a13 = a00;
    FloatVector a20 = a00, a21 = a00, a22 = a00, a23 = a00;
    FloatVector a30 = a00, a31 = a00, a32 = a00, a33 = a00;
    int i = 0;
    for (; i < F.loopBound(n); i += LANES) {
      FloatVector w0 = FloatVector.fromArray(F, p, i);
      FloatVector w1 = FloatVector.fromArray(F, p, COLUMN_BLOCK + i);
      FloatVector w2 = FloatVector.fromArray(F, p, 2 * COLUMN_BLOCK + i);
      FloatVector w3 = FloatVector.fromArray(F, p, 3 * COLUMN_BLOCK + i);
      FloatVector v = FloatVector.fromArray(F, x, xAt + i);
      a00 = w0.fma(v, a00);
      a01 = w1.fma(v, a01);
      a02 = w2.fma(v, a02);
      a03 = w3.fma(v, a03);
      v = FloatVector.fromArray(F, x, x1 + i);
      a10 = w0.fma(v, a10);
      a11 = w1.fma(v, a11);
      a12 = w2.fma(v, a12);
      a13 = w3.fma(v, a13);
      v = FloatVector.fromArray(F, x, x2 + i);
      a20 = w0.fma(v, a20);
      a21 = w1.fma(v, a21);
      a22 = w2.fma(v, a22);
      a23 = w3.fma(v, a23);
      v = FloatVector.fromArray(F, x, x3 + i);
      a30 = w0.fma(v, a30);
      a31 = w1.fma(v, a31);
      a32 = w2.fma(v, a32);
      a33 = w3.fma(v, a33);
    }
    store(y, yAt, rows, add, a00, a01, a02, a03);
    store(y, yAt + yStride, rows, add, a10, a11, a12, a13);
    store(y, yAt + 2 * yStride, rows, add, a20, a21, a22, a23);
    store(y, yAt + 3 * yStride, rows, add, a30, a31, a32, a33);
    for (; i < n; i++) {
      for (int b = 0; b < TILE; b++) {
        float v = x[xAt + b * xStride + i];
        for (int j = 0; j < rows; j++) {
          y[yAt + b * yStride + j] += p[j * COLUMN_BLOCK + i] * v;
        }
      }
    }
  }

  private static void store(
      float[] y,
      int at,
      int rows,
      boolean add,
      FloatVector a,
      FloatVector b,
      FloatVector c,
      FloatVector d) {
    float s0 = a.reduceLanes(VectorOperators.ADD);
    float s1 = b.reduceLanes(VectorOperators.ADD);
    float s2 = c.reduceLanes(VectorOperators.ADD);
    float s3 = d.reduceLanes(VectorOperators.ADD);
    y[at] = add ? y[at] + s0 : s0;
    if (rows > 1) {
      y[at + 1] = add ? y[at + 1] + s1 : s1;
    }
    if (rows > 2) {
      y[at + 2] = add ? y[at + 2] + s2 : s2;
    }
    if (rows > 3) {
      y[at + 3] = add ? y[at + 3] + s3 : s3;
    }
  }

  /** Columns [k, k + n) of one row as f32. */
  private static void decode(Matrix w, int row, int k, int n, float[] out, int at) {
    MemorySegment data = w.data();
    long start = row * w.rowBytes() + w.type().byteSize(k);
    if (w.type() == TensorType.BF16) {
      int i = 0;
      for (; i < F.loopBound(n); i += LANES) {
        ((jdk.incubator.vector.IntVector)
                ShortVector.fromMemorySegment(S, data, start + 2L * i, LE)
                    .convertShape(VectorOperators.ZERO_EXTEND_S2I, I, 0))
            .lanewise(VectorOperators.LSHL, 16)
            .reinterpretAsFloats()
            .intoArray(out, at + i);
      }
      for (; i < n; i++) {
        out[at + i] = Float.intBitsToFloat(data.get(SHORT, start + 2L * i) << 16);
      }
    } else if (w.type() == TensorType.Q8_0 && VectorDot.BYTES_WIDEN) {
      for (int i = 0; i < n; i += 32, start += 34) {
        float scale = Float.float16ToFloat(data.get(SHORT, start));
        for (int j = 0; j < 32; j += LANES) {
          VectorDot.bytes(data, start + 2 + j).mul(scale).intoArray(out, at + i + j);
        }
      }
    } else if (w.type() == TensorType.Q4_0 && VectorDot.BYTES_WIDEN) {
      for (int i = 0; i < n; i += 32, start += 18) {
        float scale = Float.float16ToFloat(data.get(SHORT, start));
        for (int j = 0; j < 16; j += LANES) {
          var nibbles = VectorDot.nibbles(data, start + 2 + j);
          VectorDot.low(nibbles).mul(scale).intoArray(out, at + i + j);
          VectorDot.high(nibbles).mul(scale).intoArray(out, at + i + j + 16);
        }
      }
    } else {
      w.type().dequantize(data, (long) row * w.cols() + k, out, at, n);
    }
  }
}
