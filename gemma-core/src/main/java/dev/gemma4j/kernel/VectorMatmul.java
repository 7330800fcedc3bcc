package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.VectorKernels.F;
import static dev.gemma4j.kernel.VectorKernels.I;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * Matrix times many vectors. Bound by arithmetic: panels of weights are decoded to f32 and turned,
 * so that rows lie side by side, and then meet every row of the batch. All three sides are taken in
 * blocks that stay in the second-level cache, and copied: rows a power of two apart, as x and y
 * have them, would fall on the same few lines of a cache.
 */
final class VectorMatmul {
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final int LANES = F.length();

  /** Columns of one panel. */
  private static final int COLUMNS = 256;

  /** Panels of one block. */
  private static final int PANELS = 8;

  private static final long STEP = (long) Panel.WIDTH * Float.BYTES;

  private static final VectorSpecies<Short> S =
      VectorSpecies.of(short.class, VectorShape.forBitSize(Math.max(64, F.vectorBitSize() / 2)));
  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** Where a vector of one column begins in COLUMNS-wide rows. */
  private static final int[] DOWN = new int[LANES];

  static {
    for (int i = 0; i < LANES; i++) {
      DOWN[i] = i * COLUMNS;
    }
  }

  private VectorMatmul() {}

  static void matmul(
      Matrix w, int from, int to, float[] x, int batch, float[] y, int yStride, Scratch scratch) {
    int cols = w.cols();
    MemorySegment panel = scratch.aligned(COLUMNS * STEP);
    float[] input = scratch.input(batch * COLUMNS); // [batch, COLUMNS]
    float[] output = scratch.scores(PANELS * batch * Panel.WIDTH); // [PANELS, batch, WIDTH]
    for (int first = from; first < to; first += PANELS * Panel.WIDTH) {
      int last = Math.min(to, first + PANELS * Panel.WIDTH);
      for (int k = 0; k < cols; k += COLUMNS) {
        int n = Math.min(COLUMNS, cols - k);
        for (int b = 0; b < batch; b++) {
          System.arraycopy(x, b * cols + k, input, b * COLUMNS, n);
        }
        for (int r = first; r < last; r += Panel.WIDTH) {
          int rows = Math.min(Panel.WIDTH, last - r);
          // Beyond the last row the panel holds what it held; its products are not copied out.
          fill(w, r, rows, k, n, panel, scratch);
          int at = (r - first) * batch;
          Panel.multiply(
              panel, 0, STEP, n, input, 0, COLUMNS, batch, output, at, Panel.WIDTH, k > 0);
        }
      }
      for (int r = first; r < last; r += Panel.WIDTH) {
        int rows = Math.min(Panel.WIDTH, last - r);
        for (int b = 0; b < batch; b++) {
          int at = (r - first) * batch + b * Panel.WIDTH;
          System.arraycopy(output, at, y, b * yStride + r, rows);
        }
      }
    }
  }

  /** The panel [n][WIDTH]: columns [k, k + n) of the rows. */
  private static void fill(
      Matrix w, int row, int rows, int k, int n, MemorySegment panel, Scratch scratch) {
    if (w.packed()) {
      for (int r = 0; r < rows; r += LANES) {
        Q4Groups.decode(w, row + r, k, n, panel, (long) r * Float.BYTES, STEP);
      }
      return;
    }
    float[] decoded = scratch.panel(Panel.WIDTH * COLUMNS);
    for (int r = 0; r < rows; r++) {
      decode(w, row + r, k, n, decoded, r * COLUMNS);
    }
    turn(decoded, n, panel);
  }

  private static void turn(float[] decoded, int n, MemorySegment panel) {
    long at = 0;
    for (int i = 0; i < n; i++, at += STEP) {
      FloatVector.fromArray(F, decoded, i, DOWN, 0).intoMemorySegment(panel, at, LE);
      FloatVector.fromArray(F, decoded, i + LANES * COLUMNS, DOWN, 0)
          .intoMemorySegment(panel, at + (long) LANES * Float.BYTES, LE);
    }
  }

  /** Columns [k, k + n) of one row as f32. */
  private static void decode(Matrix w, int row, int k, int n, float[] out, int at) {
    MemorySegment data = w.data();
    long start = row * w.rowBytes() + w.type().byteSize(k);
    if (w.type() == TensorType.BF16) {
      int i = 0;
      for (; i < F.loopBound(n); i += LANES) {
        ((IntVector)
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
    } else {
      w.type().dequantize(data, (long) row * w.cols() + k, out, at, n);
    }
  }
}
