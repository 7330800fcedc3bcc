package dev.gemma4j.kernel;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * The products of {@link VectorKernels} with matrices that are not packed, to the last bit, in
 * loops over rows that lie side by side: what a vector's lane sums there is a chain of its own
 * here, in the same order.
 */
final class EarlyMatmul {
  private static final int LANES = VectorKernels.F.length();

  private static final int ROWS = ScalarMatmul.ROWS;
  private static final int COLUMNS = ScalarMatmul.COLUMNS;

  private static final int Q8_BLOCK = 32;
  private static final int Q8_BYTES = 34;

  private EarlyMatmul() {}

  static void matmul(
      Matrix w,
      int from,
      int to,
      float[] x,
      int xStride,
      int batch,
      float[] y,
      int yStride,
      Scratch scratch) {
    TensorType type = w.type();
    if (batch > 1 && !SmallBatch.serves(w, batch)) {
      // As Panel: from the first column to the last.
      ScalarMatmul.matmul(w, from, to, x, xStride, batch, y, yStride, scratch);
    } else if (batch > 1) {
      // As SmallBatch: a lane for each column, of 16-bit weights for each pair.
      int run = SmallBatch.pairs(type) ? 2 : 1;
      matmul(w, from, to, x, xStride, batch, y, yStride, run * LANES, run, scratch);
    } else if (type == TensorType.BF16 || type == TensorType.F16) {
      // As VectorDot: a lane for the even ones of pairs, and one for the odd ones.
      matmul(w, from, to, x, 0, 1, y, 0, 2 * LANES, 1, scratch);
    } else if (type == TensorType.F32 || type == TensorType.Q8_0) {
      int run = type == TensorType.F32 || VectorDot.BYTES_WIDEN ? 1 : 4; // columns of a lane
      matmul(w, from, to, x, 0, 1, y, 0, run * LANES, run, scratch);
    } else {
      ScalarMatmul.matvec(w, from, to, x, y, scratch);
    }
  }

  /**
   * Multiplies, with a sum for each {@code run} neighbours of the columns of a {@code group}, which
   * goes on from group to group.
   */
  private static void matmul(
      Matrix w,
      int from,
      int to,
      float[] x,
      int xStride,
      int batch,
      float[] y,
      int yStride,
      int group,
      int run,
      Scratch scratch) {
    int cols = w.cols();
    int whole = cols / group * group;
    int chains = group / run;
    boolean integers = batch == 1 && w.type() == TensorType.Q8_0;
    float[][] stored = scratch.rows(COLUMNS, ROWS);
    float[][] panel = new float[COLUMNS][]; // the same, chain by chain
    float[][] sums = scratch.sums(batch * chains, ROWS);
    float[] input = scratch.input(batch * COLUMNS); // [batch, COLUMNS], chain by chain
    int[] order = scratch.bits(COLUMNS);
    for (int r = from; r < to; r += ROWS) {
      int rows = Math.min(ROWS, to - r);
      for (int i = 0; i < batch * chains; i++) {
        Arrays.fill(sums[i], 0, rows, 0);
      }
      for (int k = 0; k < whole; k += COLUMNS) {
        int n = Math.min(COLUMNS, whole - k);
        order(n, group, run, order);
        if (integers) {
          fillIntegers(w, r, rows, k, n, stored, scratch);
        } else {
          ScalarMatmul.fill(w, r, rows, k, n, stored, scratch);
        }
        for (int p = 0; p < n; p++) {
          panel[p] = stored[order[p]];
        }
        for (int b = 0; b < batch; b++) {
          for (int p = 0; p < n; p++) {
            input[b * COLUMNS + p] = x[b * xStride + k + order[p]];
          }
        }
        if (integers) {
          addScaled(panel, scratch.factors(COLUMNS / Q8_BLOCK, ROWS), n, input, sums, rows);
        } else {
          add(panel, n, chains, input, batch, sums, rows);
        }
      }
      for (int b = 0; b < batch; b++) {
        float[] sum = fold(sums, b * chains, chains, rows);
        for (int i = 0; i < rows; i++) {
          float s = sum[i];
          for (int k = whole; k < cols; k++) {
            s = Math.fma(VectorDot.weight(w, r + i, k), x[b * xStride + k], s);
          }
          y[b * yStride + r + i] = s;
        }
      }
    }
  }

  /** Which of n columns come one after the other: those of the first chain, then the next one's. */
  private static void order(int n, int group, int run, int[] order) {
    int p = 0;
    for (int c = 0; c < group; c += run) {
      for (int g = c; g < n; g += group) {
        for (int i = 0; i < run; i++) {
          order[p++] = g + i;
        }
      }
    }
  }

  private static void add(
      float[][] panel, int n, int chains, float[] x, int batch, float[][] sums, int rows) {
    int length = n / chains;
    for (int c = 0; c < chains; c++) {
      int end = (c + 1) * length;
      for (int p = c * length; p < end; p += 8) { // these rows stay in the first cache
        for (int b = 0; b < batch; b++) {
          int last = Math.min(end, p + 8);
          ScalarMatmul.addRows(panel, p, last, x, b * COLUMNS + p, sums[b * chains + c], rows);
        }
      }
    }
  }

  /** Of one row of Q8_0: two products of integers are added before they are scaled. */
  private static void addScaled(
      float[][] panel, float[][] scales, int n, float[] x, float[][] sums, int rows) {
    int length = n / LANES;
    for (int c = 0; c < LANES; c++) {
      for (int i = 0; i < length; i += 2) {
        int p = c * length + i;
        float[] scale = scales[i * LANES / Q8_BLOCK];
        addPair(panel[p], panel[p + 1], x[p], x[p + 1], scale, sums[c], rows);
      }
    }
  }

  private static void addPair(
      float[] a, float[] b, float x, float z, float[] scale, float[] sums, int n) {
    for (int i = 0; i < n; i++) {
      sums[i] = Math.fma(Math.fma(b[i], z, a[i] * x), scale[i], sums[i]);
    }
  }

  /** Adds the chains up as {@link VectorKernels#sum} adds lanes; pairs of columns before that. */
  private static float[] fold(float[][] sums, int first, int chains, int n) {
    if (chains == 2 * LANES) {
      for (int i = 0; i < LANES; i++) {
        addTo(sums[first + 2 * i], sums[first + 2 * i + 1], n);
        if (i > 0) {
          System.arraycopy(sums[first + 2 * i], 0, sums[first + i], 0, n);
        }
      }
      chains = LANES;
    }
    for (int half = chains / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; i++) {
        addTo(sums[first + i], sums[first + i + half], n);
      }
    }
    return sums[first];
  }

  private static void addTo(float[] a, float[] b, int n) {
    for (int i = 0; i < n; i++) {
      a[i] += b[i];
    }
  }

  /**
   * As {@link ScalarMatmul#fill}, of Q8_0 and without scales, which go to the scratch's factors.
   */
  private static void fillIntegers(
      Matrix w, int row, int rows, int k, int n, float[][] panel, Scratch scratch) {
    float[] decoded = scratch.panel(ScalarMatmul.TURN * COLUMNS);
    float[][] scales = scratch.factors(COLUMNS / Q8_BLOCK, ROWS);
    for (int i = 0; i < rows; i += ScalarMatmul.TURN) {
      int count = Math.min(ScalarMatmul.TURN, rows - i);
      for (int j = 0; j < count; j++) {
        bytes(w, row + i + j, k, n, decoded, j * COLUMNS, scales, i + j);
      }
      ScalarMatmul.turn(decoded, n, panel, i, count);
    }
  }

  private static void bytes(
      Matrix w, int row, int k, int n, float[] out, int at, float[][] scales, int lane) {
    MemorySegment data = w.data();
    long block = row * w.rowBytes() + (long) k / Q8_BLOCK * Q8_BYTES;
    for (int b = 0; b < n / Q8_BLOCK; b++, block += Q8_BYTES) {
      scales[b][lane] = Float.float16ToFloat(data.get(VectorKernels.SHORT, block));
      for (int i = 0; i < Q8_BLOCK; i++) {
        out[at + b * Q8_BLOCK + i] = data.get(ValueLayout.JAVA_BYTE, block + 2 + i);
      }
    }
  }
}
