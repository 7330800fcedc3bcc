package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.VectorKernels.F;
import static dev.gemma4j.kernel.VectorKernels.I;
import static dev.gemma4j.kernel.VectorKernels.SHORT;
import static jdk.incubator.vector.VectorOperators.LSHL;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/**
 * Matrix times a few vectors, as when a few callers decode together: weights are decoded in
 * registers and meet four rows of the batch there. A panel would cost more to make than a few rows
 * take from it.
 *
 * <p>Written out, without helpers: C2 stops inlining those in a method with so many vectors.
 */
final class SmallBatch {
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final int LANES = F.length();
  private static final int VECTOR = F.vectorByteSize();

  private static final ValueLayout.OfFloat FLOAT =
      ValueLayout.JAVA_FLOAT.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** Rows of the batch that one pass over a weight row serves. */
  private static final int ROWS = 4;

  private SmallBatch() {}

  /** Whether a batch of such a matrix is multiplied here. */
  static boolean serves(Matrix w, int batch) {
    return batch <= 16
        && (w.type() == TensorType.BF16 && w.cols() % (2 * LANES) == 0
            || w.type() == TensorType.Q8_0 && VectorDot.BYTES_WIDEN && 2 * LANES <= 32);
  }

  static void matmul(
      Matrix w, int from, int to, float[] x, int batch, float[] y, int yStride, Scratch scratch) {
    int cols = w.cols();
    float[] sums = scratch.scores(ROWS * LANES);
    boolean brain = w.type() == TensorType.BF16;
    MemorySegment input = input(x, cols, batch, brain, scratch);
    long bytes = (long) ROWS * cols * Float.BYTES;
    for (int r = from; r < to; r += 2) {
      long first = r * w.rowBytes();
      long second = r + 1 < to ? first + w.rowBytes() : first; // the last row may be alone
      for (int b = 0; b < batch; b += ROWS) {
        long at = b / ROWS * bytes;
        if (brain) {
          bf16(w.data(), first, second, input, at, cols, sums);
        } else {
          q8(w.data(), first, second, input, at, cols, sums);
        }
        for (int i = b; i < Math.min(batch, b + ROWS); i++) {
          y[i * yStride + r] = sums[i - b];
          if (r + 1 < to) {
            y[i * yStride + r + 1] = sums[ROWS + i - b];
          }
        }
      }
    }
  }

  /**
   * x as [batch / ROWS][cols / LANES][ROWS][LANES], so that what is read together lies together.
   * For pairs, the even ones of 2 * LANES columns come before the odd ones, as {@link
   * VectorDot#splitPairs} has them.
   */
  private static MemorySegment input(
      float[] x, int cols, int batch, boolean pairs, Scratch scratch) {
    int padded = (batch + ROWS - 1) / ROWS * ROWS;
    MemorySegment input = scratch.aligned((long) padded * cols * Float.BYTES);
    for (int b = 0; b < padded; b++) {
      for (int k = 0; k < cols; k++) {
        int in = k % (2 * LANES);
        int column = pairs ? k - in + (in % 2) * LANES + in / 2 : k;
        long at = (long) (b - b % ROWS) * cols + (column / LANES * ROWS + b % ROWS) * LANES;
        float value = b < batch ? x[b * cols + k] : 0;
        input.set(FLOAT, (at + column % LANES) * Float.BYTES, value);
      }
    }
    return input;
  }

  private static void bf16(
      MemorySegment w, long first, long second, MemorySegment x, long xAt, int cols, float[] sums) {
    FloatVector a0 = FloatVector.zero(F), a1 = a0, a2 = a0, a3 = a0;
    FloatVector b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    IntVector mask = IntVector.broadcast(I, 0xffff0000);
    for (int i = 0; i < cols; i += 2 * LANES) {
      IntVector p = IntVector.fromMemorySegment(I, w, first + 2L * i, LE);
      IntVector q = IntVector.fromMemorySegment(I, w, second + 2L * i, LE);
      long at = xAt + (long) i * ROWS * Float.BYTES;
      FloatVector u = p.lanewise(LSHL, 16).reinterpretAsFloats();
      FloatVector v = q.lanewise(LSHL, 16).reinterpretAsFloats();
      FloatVector z = FloatVector.fromMemorySegment(F, x, at + 0L * VECTOR, LE);
      a0 = u.fma(z, a0);
      b0 = v.fma(z, b0);
      z = FloatVector.fromMemorySegment(F, x, at + 1L * VECTOR, LE);
      a1 = u.fma(z, a1);
      b1 = v.fma(z, b1);
      z = FloatVector.fromMemorySegment(F, x, at + 2L * VECTOR, LE);
      a2 = u.fma(z, a2);
      b2 = v.fma(z, b2);
      z = FloatVector.fromMemorySegment(F, x, at + 3L * VECTOR, LE);
      a3 = u.fma(z, a3);
      b3 = v.fma(z, b3);
      u = p.and(mask).reinterpretAsFloats();
      v = q.and(mask).reinterpretAsFloats();
      z = FloatVector.fromMemorySegment(F, x, at + 4L * VECTOR, LE);
      a0 = u.fma(z, a0);
      b0 = v.fma(z, b0);
      z = FloatVector.fromMemorySegment(F, x, at + 5L * VECTOR, LE);
      a1 = u.fma(z, a1);
      b1 = v.fma(z, b1);
      z = FloatVector.fromMemorySegment(F, x, at + 6L * VECTOR, LE);
      a2 = u.fma(z, a2);
      b2 = v.fma(z, b2);
      z = FloatVector.fromMemorySegment(F, x, at + 7L * VECTOR, LE);
      a3 = u.fma(z, a3);
      b3 = v.fma(z, b3);
    }
    sums[0] = a0.reduceLanes(VectorOperators.ADD);
    sums[1] = a1.reduceLanes(VectorOperators.ADD);
    sums[2] = a2.reduceLanes(VectorOperators.ADD);
    sums[3] = a3.reduceLanes(VectorOperators.ADD);
    sums[4] = b0.reduceLanes(VectorOperators.ADD);
    sums[5] = b1.reduceLanes(VectorOperators.ADD);
    sums[6] = b2.reduceLanes(VectorOperators.ADD);
    sums[7] = b3.reduceLanes(VectorOperators.ADD);
  }

  private static void q8(
      MemorySegment w, long first, long second, MemorySegment x, long xAt, int cols, float[] sums) {
    FloatVector a0 = FloatVector.zero(F), a1 = a0, a2 = a0, a3 = a0;
    FloatVector b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    for (int i = 0; i < cols; i += 32, first += 34, second += 34) {
      FloatVector s = FloatVector.broadcast(F, Float.float16ToFloat(w.get(SHORT, first)));
      FloatVector t = FloatVector.broadcast(F, Float.float16ToFloat(w.get(SHORT, second)));
      for (int j = 0; j < 32; j += LANES) {
        long at = xAt + (long) (i + j) * ROWS * Float.BYTES;
        FloatVector u =
            ((FloatVector)
                    ByteVector.fromMemorySegment(VectorDot.B, w, first + 2 + j, LE)
                        .convertShape(VectorOperators.B2F, F, 0))
                .mul(s);
        FloatVector v =
            ((FloatVector)
                    ByteVector.fromMemorySegment(VectorDot.B, w, second + 2 + j, LE)
                        .convertShape(VectorOperators.B2F, F, 0))
                .mul(t);
        FloatVector z = FloatVector.fromMemorySegment(F, x, at + 0L * VECTOR, LE);
        a0 = u.fma(z, a0);
        b0 = v.fma(z, b0);
        z = FloatVector.fromMemorySegment(F, x, at + 1L * VECTOR, LE);
        a1 = u.fma(z, a1);
        b1 = v.fma(z, b1);
        z = FloatVector.fromMemorySegment(F, x, at + 2L * VECTOR, LE);
        a2 = u.fma(z, a2);
        b2 = v.fma(z, b2);
        z = FloatVector.fromMemorySegment(F, x, at + 3L * VECTOR, LE);
        a3 = u.fma(z, a3);
        b3 = v.fma(z, b3);
      }
    }
    sums[0] = a0.reduceLanes(VectorOperators.ADD);
    sums[1] = a1.reduceLanes(VectorOperators.ADD);
    sums[2] = a2.reduceLanes(VectorOperators.ADD);
    sums[3] = a3.reduceLanes(VectorOperators.ADD);
    sums[4] = b0.reduceLanes(VectorOperators.ADD);
    sums[5] = b1.reduceLanes(VectorOperators.ADD);
    sums[6] = b2.reduceLanes(VectorOperators.ADD);
    sums[7] = b3.reduceLanes(VectorOperators.ADD);
  }
}
