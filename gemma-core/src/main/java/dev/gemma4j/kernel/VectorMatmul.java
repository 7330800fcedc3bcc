package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.VectorKernels.F;
import static dev.gemma4j.kernel.VectorKernels.I;
import static dev.gemma4j.kernel.VectorKernels.S;
import static dev.gemma4j.kernel.VectorKernels.SELECTS;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShuffle;

/**
 * Matrix times many vectors. Bound by arithmetic: panels of weights are decoded to f32 and turned,
 * so that rows lie side by side, and then meet every row of the batch. All three sides are taken in
 * blocks that stay in the second-level cache. A block of y is copied when it is done: its rows may
 * be a power of two apart, and would then fall on the same few lines of a cache. So would those of
 * x, whose owner does well to make them a line longer.
 */
final class VectorMatmul {
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final int LANES = F.length();

  /** Columns of one panel. */
  private static final int COLUMNS = 256;

  /** Panels of one block. */
  private static final int PANELS = 8;

  /** Bytes of a row that are brought near at once; of all rows of a block they are 256 KB. */
  private static final long AHEAD = 1100;

  /** Bytes of a line of the caches; where lines are longer, some are read twice. */
  private static final int LINE = 64;

  private static final long STEP = (long) Panel.WIDTH * Float.BYTES;

  /** Swaps runs of so many lanes; and the lanes that are the second of such two. */
  private static final VectorShuffle<Float> SWAP_8 = swap(8), SWAP_4 = swap(4);

  private static final VectorShuffle<Float> SWAP_2 = swap(2), SWAP_1 = swap(1);
  private static final VectorMask<Float> SECOND_8 = second(8), SECOND_4 = second(4);
  private static final VectorMask<Float> SECOND_2 = second(2), SECOND_1 = second(1);

  /** Which lanes of two vectors interleave to the first vector, and to the second. */
  private static final float[] INTERLEAVE = new float[2 * LANES];

  static {
    for (int i = 0; i < 2 * LANES; i++) {
      INTERLEAVE[i] = (i & 1) * LANES + i / 2;
    }
  }

  private VectorMatmul() {}

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
    int ahead = COLUMNS * (int) Math.max(1, AHEAD / w.type().byteSize(COLUMNS));
    MemorySegment panel = scratch.aligned(COLUMNS * STEP);
    // Few rows cost as much as four: a panel's sums would wait for each other.
    int whole = batch / 4 * 4;
    int padded = (batch + 3) / 4 * 4;
    float[] rest = rows(x, whole * xStride, xStride, batch - whole, padded - whole, cols, scratch);
    float[] output = scratch.scores(PANELS * padded * Panel.WIDTH); // [PANELS, padded, WIDTH]
    for (int first = from; first < to; first += PANELS * Panel.WIDTH) {
      int last = Math.min(to, first + PANELS * Panel.WIDTH);
      int near = 0;
      for (int k = 0; k < cols; k += COLUMNS) {
        int n = Math.min(COLUMNS, cols - k);
        if (k == near && !w.packed()) {
          near = Math.min(cols, k + ahead);
          touch(w, first, last, k, near, scratch);
        }
        for (int r = first; r < last; r += Panel.WIDTH) {
          int rows = Math.min(Panel.WIDTH, last - r);
          // Beyond the last row the panel holds what it held; its products are not copied out.
          fill(w, r, rows, k, n, panel, scratch);
          int at = (r - first) * padded;
          multiply(panel, n, x, k, xStride, whole, output, at, k > 0);
          at += whole * Panel.WIDTH;
          multiply(panel, n, rest, k, cols, padded - whole, output, at, k > 0);
        }
      }
      for (int b = 0; b < batch; b++) {
        for (int r = first; r < last; r += Panel.WIDTH) {
          int rows = Math.min(Panel.WIDTH, last - r);
          int at = (r - first) * padded + b * Panel.WIDTH;
          System.arraycopy(output, at, y, b * yStride + r, rows);
        }
      }
    }
  }

  /**
   * Reads a byte of each line of columns [k, end) of the rows, which brings them into the caches:
   * the pieces of rows that become a panel are too short for the processor to fetch them ahead, and
   * a loop that decodes them waits for a few lines at once, one that only reads for many.
   */
  private static void touch(Matrix w, int from, int to, int k, int end, Scratch scratch) {
    MemorySegment data = NativeMemory.known(w.data());
    long start = w.type().byteSize(k);
    long size = w.type().byteSize(end) - start;
    int sum = 0;
    for (int r = from; r < to; r++) {
      long at = r * w.rowBytes() + start;
      for (long i = 0; i < size; i += LINE) {
        sum += data.get(ValueLayout.JAVA_BYTE, at + i);
      }
      sum += data.get(ValueLayout.JAVA_BYTE, at + size - 1);
    }
    scratch.keep(sum);
  }

  private static void multiply(
      MemorySegment panel,
      int n,
      float[] x,
      int at,
      int stride,
      int batch,
      float[] y,
      int yAt,
      boolean add) {
    Panel.multiply(panel, 0, STEP, n, x, at, stride, batch, y, yAt, Panel.WIDTH, add);
  }

  /** n rows, and then zeros, as [padded, cols]. */
  private static float[] rows(
      float[] x, int first, int xStride, int n, int padded, int cols, Scratch scratch) {
    float[] rows = scratch.input(padded * cols);
    for (int i = 0; i < n; i++) {
      System.arraycopy(x, first + i * xStride, rows, i * cols, cols);
    }
    Arrays.fill(rows, n * cols, padded * cols, 0);
    return rows;
  }

  /** The panel [n][WIDTH]: columns [k, k + n) of the rows. */
  private static void fill(
      Matrix w, int row, int rows, int k, int n, MemorySegment panel, Scratch scratch) {
    if (w.packed()) { // a band is as wide as a panel
      float[] scales = scratch.panel(RowBands.SCALES);
      RowBands.decode(w, row, k / RowBands.STRIP, n / RowBands.STRIP, panel, scales);
      return;
    }
    float[] decoded = scratch.panel(LANES * COLUMNS);
    for (int first = 0; first < rows; first += LANES) { // half a panel: both fit the first cache
      int count = Math.min(LANES, rows - first);
      for (int r = 0; r < count; r++) {
        decode(w, row + first + r, k, n, decoded, r * COLUMNS);
      }
      turn(decoded, n, panel, (long) first * Float.BYTES);
    }
  }

  /** LANES rows become the panel's columns from byte {@code at} on. */
  private static void turn(float[] decoded, int n, MemorySegment panel, long at) {
    panel = NativeMemory.known(panel);
    int done = n / LANES * LANES;
    if (SELECTS) {
      turn16(decoded, done, panel, at);
    } else {
      if (LANES == 16) {
        exchange(decoded, done, 8, SWAP_8, SECOND_8);
      }
      if (LANES >= 8) {
        exchange(decoded, done, 4, SWAP_4, SECOND_4);
      }
      turn4(decoded, done, panel, at);
    }
    for (int i = done; i < n; i++) {
      for (int r = 0; r < LANES; r++) {
        panel.set(ValueLayout.JAVA_FLOAT, at + i * STEP + 4L * r, decoded[r * COLUMNS + i]);
      }
    }
  }

  /**
   * The upper right and the lower left quarter of squares of 2 * size rows and columns change
   * places; what then is left is to turn each quarter. Gathering takes long on many processors, and
   * on some ARM makes objects.
   */
  private static void exchange(
      float[] rows, int n, int size, VectorShuffle<Float> swap, VectorMask<Float> second) {
    for (int r = 0; r < LANES; r++) {
      int a = r * COLUMNS;
      int b = a + size * COLUMNS;
      for (int k = 0; (r & size) == 0 && k < n; k += LANES) {
        FloatVector v = FloatVector.fromArray(F, rows, a + k);
        FloatVector w = FloatVector.fromArray(F, rows, b + k);
        v.blend(w.rearrange(swap), second).intoArray(rows, a + k);
        v.rearrange(swap).blend(w, second).intoArray(rows, b + k);
      }
    }
  }

  /** Turns squares of four: first their quarters change places, then the quarters' elements. */
  private static void turn4(float[] rows, int n, MemorySegment panel, long at) {
    panel = NativeMemory.known(panel);
    for (int r = 0; r < LANES; r += 4) {
      for (int k = 0; k < n; k += LANES) {
        int from = r * COLUMNS + k;
        FloatVector r0 = FloatVector.fromArray(F, rows, from);
        FloatVector r1 = FloatVector.fromArray(F, rows, from + COLUMNS);
        FloatVector r2 = FloatVector.fromArray(F, rows, from + 2 * COLUMNS);
        FloatVector r3 = FloatVector.fromArray(F, rows, from + 3 * COLUMNS);
        FloatVector s0 = r0.blend(r2.rearrange(SWAP_2), SECOND_2);
        FloatVector s1 = r1.blend(r3.rearrange(SWAP_2), SECOND_2);
        FloatVector s2 = r0.rearrange(SWAP_2).blend(r2, SECOND_2);
        FloatVector s3 = r1.rearrange(SWAP_2).blend(r3, SECOND_2);
        long to = at + (k + r) * STEP;
        s0.blend(s1.rearrange(SWAP_1), SECOND_1).intoMemorySegment(panel, to, LE);
        s0.rearrange(SWAP_1).blend(s1, SECOND_1).intoMemorySegment(panel, to + STEP, LE);
        s2.blend(s3.rearrange(SWAP_1), SECOND_1).intoMemorySegment(panel, to + 2 * STEP, LE);
        s2.rearrange(SWAP_1).blend(s3, SECOND_1).intoMemorySegment(panel, to + 3 * STEP, LE);
      }
    }
  }

  private static VectorShuffle<Float> swap(int d) {
    return VectorShuffle.fromOp(F, i -> (i ^ d) % LANES);
  }

  private static VectorMask<Float> second(int d) {
    boolean[] lanes = new boolean[LANES];
    for (int i = 0; i < LANES; i++) {
      lanes[i] = (i & d) != 0;
    }
    return VectorMask.fromArray(F, lanes, 0);
  }

  /**
   * Turns 16 rows in squares of 16 columns: interleaving each row with the one half of the rows
   * below it, four times, brings every element to its transposed place. Gathering takes several
   * times as long.
   */
  private static void turn16(float[] decoded, int n, MemorySegment panel, long at) {
    panel = NativeMemory.known(panel);
    FloatVector low = FloatVector.fromArray(F, INTERLEAVE, 0);
    FloatVector high = FloatVector.fromArray(F, INTERLEAVE, LANES);
    for (int k = 0; k < n; k += 16, at += 16 * STEP) {
      FloatVector r0 = FloatVector.fromArray(F, decoded, 0 * COLUMNS + k);
      FloatVector r1 = FloatVector.fromArray(F, decoded, 1 * COLUMNS + k);
      FloatVector r2 = FloatVector.fromArray(F, decoded, 2 * COLUMNS + k);
      FloatVector r3 = FloatVector.fromArray(F, decoded, 3 * COLUMNS + k);
      FloatVector r4 = FloatVector.fromArray(F, decoded, 4 * COLUMNS + k);
      FloatVector r5 = FloatVector.fromArray(F, decoded, 5 * COLUMNS + k);
      FloatVector r6 = FloatVector.fromArray(F, decoded, 6 * COLUMNS + k);
      FloatVector r7 = FloatVector.fromArray(F, decoded, 7 * COLUMNS + k);
      FloatVector r8 = FloatVector.fromArray(F, decoded, 8 * COLUMNS + k);
      FloatVector r9 = FloatVector.fromArray(F, decoded, 9 * COLUMNS + k);
      FloatVector r10 = FloatVector.fromArray(F, decoded, 10 * COLUMNS + k);
      FloatVector r11 = FloatVector.fromArray(F, decoded, 11 * COLUMNS + k);
      FloatVector r12 = FloatVector.fromArray(F, decoded, 12 * COLUMNS + k);
      FloatVector r13 = FloatVector.fromArray(F, decoded, 13 * COLUMNS + k);
      FloatVector r14 = FloatVector.fromArray(F, decoded, 14 * COLUMNS + k);
      FloatVector r15 = FloatVector.fromArray(F, decoded, 15 * COLUMNS + k);
      FloatVector s0 = low.selectFrom(r0, r8);
      FloatVector s1 = high.selectFrom(r0, r8);
      FloatVector s2 = low.selectFrom(r1, r9);
      FloatVector s3 = high.selectFrom(r1, r9);
      FloatVector s4 = low.selectFrom(r2, r10);
      FloatVector s5 = high.selectFrom(r2, r10);
      FloatVector s6 = low.selectFrom(r3, r11);
      FloatVector s7 = high.selectFrom(r3, r11);
      FloatVector s8 = low.selectFrom(r4, r12);
      FloatVector s9 = high.selectFrom(r4, r12);
      FloatVector s10 = low.selectFrom(r5, r13);
      FloatVector s11 = high.selectFrom(r5, r13);
      FloatVector s12 = low.selectFrom(r6, r14);
      FloatVector s13 = high.selectFrom(r6, r14);
      FloatVector s14 = low.selectFrom(r7, r15);
      FloatVector s15 = high.selectFrom(r7, r15);
      FloatVector t0 = low.selectFrom(s0, s8);
      FloatVector t1 = high.selectFrom(s0, s8);
      FloatVector t2 = low.selectFrom(s1, s9);
      FloatVector t3 = high.selectFrom(s1, s9);
      FloatVector t4 = low.selectFrom(s2, s10);
      FloatVector t5 = high.selectFrom(s2, s10);
      FloatVector t6 = low.selectFrom(s3, s11);
      FloatVector t7 = high.selectFrom(s3, s11);
      FloatVector t8 = low.selectFrom(s4, s12);
      FloatVector t9 = high.selectFrom(s4, s12);
      FloatVector t10 = low.selectFrom(s5, s13);
      FloatVector t11 = high.selectFrom(s5, s13);
      FloatVector t12 = low.selectFrom(s6, s14);
      FloatVector t13 = high.selectFrom(s6, s14);
      FloatVector t14 = low.selectFrom(s7, s15);
      FloatVector t15 = high.selectFrom(s7, s15);
      FloatVector u0 = low.selectFrom(t0, t8);
      FloatVector u1 = high.selectFrom(t0, t8);
      FloatVector u2 = low.selectFrom(t1, t9);
      FloatVector u3 = high.selectFrom(t1, t9);
      FloatVector u4 = low.selectFrom(t2, t10);
      FloatVector u5 = high.selectFrom(t2, t10);
      FloatVector u6 = low.selectFrom(t3, t11);
      FloatVector u7 = high.selectFrom(t3, t11);
      FloatVector u8 = low.selectFrom(t4, t12);
      FloatVector u9 = high.selectFrom(t4, t12);
      FloatVector u10 = low.selectFrom(t5, t13);
      FloatVector u11 = high.selectFrom(t5, t13);
      FloatVector u12 = low.selectFrom(t6, t14);
      FloatVector u13 = high.selectFrom(t6, t14);
      FloatVector u14 = low.selectFrom(t7, t15);
      FloatVector u15 = high.selectFrom(t7, t15);
      FloatVector v0 = low.selectFrom(u0, u8);
      FloatVector v1 = high.selectFrom(u0, u8);
      FloatVector v2 = low.selectFrom(u1, u9);
      FloatVector v3 = high.selectFrom(u1, u9);
      FloatVector v4 = low.selectFrom(u2, u10);
      FloatVector v5 = high.selectFrom(u2, u10);
      FloatVector v6 = low.selectFrom(u3, u11);
      FloatVector v7 = high.selectFrom(u3, u11);
      FloatVector v8 = low.selectFrom(u4, u12);
      FloatVector v9 = high.selectFrom(u4, u12);
      FloatVector v10 = low.selectFrom(u5, u13);
      FloatVector v11 = high.selectFrom(u5, u13);
      FloatVector v12 = low.selectFrom(u6, u14);
      FloatVector v13 = high.selectFrom(u6, u14);
      FloatVector v14 = low.selectFrom(u7, u15);
      FloatVector v15 = high.selectFrom(u7, u15);
      v0.intoMemorySegment(panel, at + 0 * STEP, LE);
      v1.intoMemorySegment(panel, at + 1 * STEP, LE);
      v2.intoMemorySegment(panel, at + 2 * STEP, LE);
      v3.intoMemorySegment(panel, at + 3 * STEP, LE);
      v4.intoMemorySegment(panel, at + 4 * STEP, LE);
      v5.intoMemorySegment(panel, at + 5 * STEP, LE);
      v6.intoMemorySegment(panel, at + 6 * STEP, LE);
      v7.intoMemorySegment(panel, at + 7 * STEP, LE);
      v8.intoMemorySegment(panel, at + 8 * STEP, LE);
      v9.intoMemorySegment(panel, at + 9 * STEP, LE);
      v10.intoMemorySegment(panel, at + 10 * STEP, LE);
      v11.intoMemorySegment(panel, at + 11 * STEP, LE);
      v12.intoMemorySegment(panel, at + 12 * STEP, LE);
      v13.intoMemorySegment(panel, at + 13 * STEP, LE);
      v14.intoMemorySegment(panel, at + 14 * STEP, LE);
      v15.intoMemorySegment(panel, at + 15 * STEP, LE);
    }
  }

  /**
   * Columns [k, k + n) of one row as f32. A method for each type: what C2 makes of one that has
   * seen several is now and then half as fast.
   */
  private static void decode(Matrix w, int row, int k, int n, float[] out, int at) {
    switch (w.type()) {
      case BF16 -> bf16(w, row, k, n, out, at);
      case F16 -> f16(w, row, k, n, out, at);
      case Q8_0 -> q8(w, row, k, n, out, at);
      default -> w.type().dequantize(w.data(), (long) row * w.cols() + k, out, at, n);
    }
  }

  private static void bf16(Matrix w, int row, int k, int n, float[] out, int at) {
    MemorySegment data = NativeMemory.known(w.data());
    long start = row * w.rowBytes() + 2L * k;
    VectorDot.faultsThrow(data, start);
    int i = 0;
    for (; i < F.loopBound(n); i += LANES) {
      ((IntVector)
              ShortVector.fromMemorySegment(S, data, start + 2L * i, LE)
                  .convertShape(VectorOperators.ZERO_EXTEND_S2I, I, 0))
          .lanewise(VectorOperators.LSHL, 16)
          .reinterpretAsFloats()
          .intoArray(out, at + i);
    }
    rest(w, row, k, i, n, out, at);
  }

  private static void f16(Matrix w, int row, int k, int n, float[] out, int at) {
    MemorySegment data = NativeMemory.known(w.data());
    long start = row * w.rowBytes() + 2L * k;
    VectorDot.faultsThrow(data, start);
    int i = 0;
    for (; i < F.loopBound(n); i += LANES) {
      ShortVector halves = ShortVector.fromMemorySegment(S, data, start + 2L * i, LE);
      VectorDot.halves(halves).intoArray(out, at + i);
    }
    rest(w, row, k, i, n, out, at);
  }

  private static void rest(Matrix w, int row, int k, int i, int n, float[] out, int at) {
    for (; i < n; i++) {
      out[at + i] = VectorDot.weight(w, row, k + i);
    }
  }

  private static void q8(Matrix w, int row, int k, int n, float[] out, int at) {
    MemorySegment data = NativeMemory.known(w.data());
    long start = row * w.rowBytes() + w.type().byteSize(k);
    for (int i = 0; i < n; i += 32, start += 34) {
      FloatVector scale = VectorDot.scale(data, start);
      for (int j = 0; j < 32; j += VectorDot.B.length()) {
        ByteVector bytes = ByteVector.fromMemorySegment(VectorDot.B, data, start + 2 + j, LE);
        for (int part = 0; part < VectorDot.PARTS; part++) {
          VectorDot.floats(bytes, part).mul(scale).intoArray(out, at + i + j + part * LANES);
        }
      }
    }
  }
}
