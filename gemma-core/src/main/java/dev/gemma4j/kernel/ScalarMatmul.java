package dev.gemma4j.kernel;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * Matrix products in loops that C2 of JDK 25 vectorises: each element on its own, as it does not
 * reorder a sum of floats; all arrays that hold floats indexed alike, as it does not know otherwise
 * that what is stored is not read again; and hundreds of elements long. So floats that such a loop
 * reads are copied into arrays of their own first, which costs less than it gains; shorts and ints
 * are read where they lie.
 */
final class ScalarMatmul {
  /** Columns of a row that are decoded at once; a multiple of every type's block. */
  private static final int CHUNK = 256;

  /** Pairs of columns, for BF16. */
  private static final int PAIRS = 512;

  /** Rows side by side in a panel. */
  static final int ROWS = 256;

  /** Columns of a panel; a multiple of every type's block. */
  static final int COLUMNS = 256;

  /** Rows that are turned together: a line of the cache. */
  static final int TURN = 16;

  /** Rows of x whose sums stay in the cache. */
  private static final int BATCH = 64;

  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private ScalarMatmul() {}

  /** {@code y[r] = w[r] · x} for a matrix as stored. */
  static void matvec(Matrix w, int from, int to, float[] x, float[] y, Scratch scratch) {
    if (w.type() == TensorType.BF16) {
      brain(w, from, to, x, y, scratch);
      return;
    }
    int cols = w.cols();
    int chunks = (cols + CHUNK - 1) / CHUNK;
    float[][] input = scratch.rows(chunks + 2, CHUNK);
    for (int c = 0; c < chunks; c++) {
      System.arraycopy(x, c * CHUNK, input[c], 0, Math.min(CHUNK, cols - c * CHUNK));
    }
    float[] row = input[chunks];
    float[] sums = input[chunks + 1];
    for (int r = from; r < to; r++) {
      Arrays.fill(sums, 0, CHUNK, 0);
      for (int c = 0; c < chunks; c++) {
        int n = Math.min(CHUNK, cols - c * CHUNK);
        long first = (long) r * cols + c * CHUNK;
        if (w.type() == TensorType.F16) {
          addHalves(w.data(), 2 * first, input[c], sums, n);
        } else {
          w.type().dequantize(w.data(), first, row, 0, n);
          addProducts(row, input[c], sums, n);
        }
      }
      y[r] = sum(sums, CHUNK);
    }
  }

  /**
   * The same for BF16, pair by pair. C2 vectorises neither the widening of a short nor {@link
   * Float#intBitsToFloat}; it does shift and mask ints, and an array of floats can be written as
   * ints.
   */
  private static void brain(Matrix w, int from, int to, float[] x, float[] y, Scratch scratch) {
    int cols = w.cols();
    int chunks = (cols + 2 * PAIRS - 1) / (2 * PAIRS);
    float[][] input = scratch.rows(2 * chunks + 3, PAIRS); // even and odd elements by turns
    for (int c = 0; c < chunks; c++) {
      Arrays.fill(input[2 * c + 1], 0); // behind an odd number of columns
      int n = Math.min(2 * PAIRS, cols - 2 * c * PAIRS);
      for (int i = 0; i < n; i++) {
        input[2 * c + i % 2][i / 2] = x[2 * c * PAIRS + i];
      }
    }
    float[] even = input[2 * chunks];
    float[] odd = input[2 * chunks + 1];
    MemorySegment evenBits = MemorySegment.ofArray(even);
    MemorySegment oddBits = MemorySegment.ofArray(odd);
    float[] sums = input[2 * chunks + 2];
    for (int r = from; r < to; r++) {
      Arrays.fill(sums, 0, PAIRS, 0);
      for (int c = 0; c < chunks; c++) {
        int n = Math.min(2 * PAIRS, cols - 2 * c * PAIRS);
        long at = r * w.rowBytes() + 4L * c * PAIRS;
        shift(w.data(), at, evenBits, n / 2);
        mask(w.data(), at, oddBits, n / 2);
        if (n % 2 != 0) {
          short last = w.data().get(SHORT, at + 2L * (n - 1));
          even[n / 2] = Float.intBitsToFloat(last << 16);
          odd[n / 2] = 0;
        }
        addProducts(even, input[2 * c], odd, input[2 * c + 1], sums, (n + 1) / 2);
      }
      y[r] = sum(sums, PAIRS);
    }
  }

  private static void shift(MemorySegment pairs, long at, MemorySegment bits, int n) {
    for (int i = 0; i < n; i++) {
      bits.set(ValueLayout.JAVA_INT_UNALIGNED, 4L * i, pairs.get(INT, at + 4L * i) << 16);
    }
  }

  private static void mask(MemorySegment pairs, long at, MemorySegment bits, int n) {
    for (int i = 0; i < n; i++) {
      bits.set(ValueLayout.JAVA_INT_UNALIGNED, 4L * i, pairs.get(INT, at + 4L * i) & 0xffff0000);
    }
  }

  private static void addProducts(float[] a, float[] x, float[] b, float[] y, float[] sums, int n) {
    for (int i = 0; i < n; i++) {
      sums[i] = Math.fma(a[i], x[i], Math.fma(b[i], y[i], sums[i]));
    }
  }

  private static void addProducts(float[] a, float[] b, float[] sums, int n) {
    for (int i = 0; i < n; i++) {
      sums[i] = Math.fma(a[i], b[i], sums[i]);
    }
  }

  private static void addHalves(MemorySegment w, long at, float[] x, float[] sums, int n) {
    for (int i = 0; i < n; i++) {
      sums[i] = Math.fma(Float.float16ToFloat(w.get(SHORT, at + 2L * i)), x[i], sums[i]);
    }
  }

  /** Of a multiple of 8. */
  private static float sum(float[] x, int n) {
    // Independent chains for the processor, and a smaller rounding error.
    float s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
    for (int i = 0; i < n; i += 8) {
      s0 += x[i];
      s1 += x[i + 1];
      s2 += x[i + 2];
      s3 += x[i + 3];
      s4 += x[i + 4];
      s5 += x[i + 5];
      s6 += x[i + 6];
      s7 += x[i + 7];
    }
    return ((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7));
  }

  /** Several rows of x: a panel of weights is decoded and turned, and meets all of them. */
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
    int cols = w.cols();
    float[][] panel = scratch.rows(COLUMNS, ROWS);
    float[][] sums = scratch.sums(batch, ROWS);
    for (int r = from, rows; r < to; r += rows) {
      // A packed group's rows lie side by side, those of two groups do not.
      rows = Math.min(to - r, ROWS - r % ROWS);
      for (int b = 0; b < batch; b++) {
        Arrays.fill(sums[b], 0, rows, 0);
      }
      for (int k = 0; k < cols; k += COLUMNS) {
        int n = Math.min(COLUMNS, cols - k);
        fill(w, r, rows, k, n, panel, scratch);
        for (int first = 0; first < batch; first += BATCH) {
          int last = Math.min(batch, first + BATCH);
          for (int c = 0; c < n; c += 8) { // these rows of the panel stay in the first cache
            for (int b = first; b < last; b++) {
              addRows(panel, c, Math.min(n, c + 8), x, b * xStride + k + c, sums[b], rows);
            }
          }
        }
      }
      for (int b = 0; b < batch; b++) {
        System.arraycopy(sums[b], 0, y, b * yStride + r, rows);
      }
    }
  }

  /** {@code panel[c][i]} is column k + c of row {@code row + i}. */
  static void fill(Matrix w, int row, int rows, int k, int n, float[][] panel, Scratch scratch) {
    if (w.packed()) {
      RowGroups.decode(w, row, rows, k, n, panel, scratch);
      return;
    }
    float[] decoded = scratch.panel(TURN * COLUMNS);
    for (int i = 0; i < rows; i += TURN) {
      int count = Math.min(TURN, rows - i);
      for (int j = 0; j < count; j++) {
        long first = (long) (row + i + j) * w.cols() + k;
        w.type().dequantize(w.data(), first, decoded, j * COLUMNS, n);
      }
      turn(decoded, n, panel, i, count);
    }
  }

  /** {@code panel[c][at + j]} is column c of the j-th of the rows, which are COLUMNS apart. */
  static void turn(float[] decoded, int n, float[][] panel, int at, int count) {
    for (int c = 0; c < n; c++) {
      float[] column = panel[c];
      for (int j = 0; j < count; j++) {
        column[at + j] = decoded[j * COLUMNS + c];
      }
    }
  }

  /** {@code sums[i] += rows[j][i] * x[at + j - from]} over the rows [from, to). */
  static void addRows(float[][] rows, int from, int to, float[] x, int at, float[] sums, int n) {
    int j = from;
    for (; j + 8 <= to; j += 8, at += 8) {
      addRows(
          rows[j],
          rows[j + 1],
          rows[j + 2],
          rows[j + 3],
          rows[j + 4],
          rows[j + 5],
          rows[j + 6],
          rows[j + 7],
          x[at],
          x[at + 1],
          x[at + 2],
          x[at + 3],
          x[at + 4],
          x[at + 5],
          x[at + 6],
          x[at + 7],
          sums,
          n);
    }
    for (; j < to; j++, at++) {
      addRow(rows[j], x[at], sums, n);
    }
  }

  /** Eight rows for one time that the sums are read and written. */
  private static void addRows(
      float[] r0,
      float[] r1,
      float[] r2,
      float[] r3,
      float[] r4,
      float[] r5,
      float[] r6,
      float[] r7,
      float x0,
      float x1,
      float x2,
      float x3,
      float x4,
      float x5,
      float x6,
      float x7,
      float[] sums,
      int n) {
    for (int i = 0; i < n; i++) {
      float s = Math.fma(r1[i], x1, Math.fma(r0[i], x0, sums[i]));
      s = Math.fma(r3[i], x3, Math.fma(r2[i], x2, s));
      s = Math.fma(r5[i], x5, Math.fma(r4[i], x4, s));
      sums[i] = Math.fma(r7[i], x7, Math.fma(r6[i], x6, s));
    }
  }

  private static void addRow(float[] row, float x, float[] sums, int n) {
    for (int i = 0; i < n; i++) {
      sums[i] = Math.fma(row[i], x, sums[i]);
    }
  }
}
