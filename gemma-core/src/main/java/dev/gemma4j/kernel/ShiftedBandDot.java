package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.RowBands.FOUR;
import static dev.gemma4j.kernel.RowBands.FOUR_K;
import static dev.gemma4j.kernel.RowBands.LANES;
import static dev.gemma4j.kernel.RowBands.ROWS;
import static dev.gemma4j.kernel.RowBands.SIX;
import static dev.gemma4j.kernel.RowBands.STEP;
import static dev.gemma4j.kernel.RowBands.STRIP;
import static dev.gemma4j.kernel.RowBands.STRIPS;
import static dev.gemma4j.kernel.RowBands.VECTOR;
import static dev.gemma4j.kernel.VectorDot.finiteHalf;
import static dev.gemma4j.kernel.VectorKernels.F;
import static dev.gemma4j.kernel.VectorKernels.I;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/**
 * {@link RowBands} times one vector, where vectors do not {@linkplain RowBands#ROTATES rotate}: a
 * product of integers and x for each strip, or half a strip of Q6_K, and then their scales.
 *
 * <p>Of an even and an odd column at a time both integers are masked where they lie, and the odd x
 * is divided by 16 beforehand, which is exact. The loops over them are not counted ones to C2, as
 * unrolled it would mask all integers first, and no register would be left for the sums.
 */
final class ShiftedBandDot {
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

  private ShiftedBandDot() {}

  /** Two bands at a time, from the halves of all: a core reads two places faster than one. */
  static void matvec(
      Matrix m, int from, int to, float[] x, int xAt, float[] y, int yAt, Scratch scratch) {
    int strips = m.cols() / STRIP;
    float[] input = arrange(m, x, xAt, scratch);
    float[] starts = starts(m, x, xAt, scratch);
    float[][] rows = scratch.rows(4, RowBands.SCALES); // two bands' scales, products, sums
    float[] sums = rows[3];
    int bands = (to - from + ROWS - 1) / ROWS;
    int half = bands / 2;
    for (int turn = 0; turn < VectorDot.turns(0, bands, 2); turn++) {
      int r = from + VectorDot.first(0, turn, half, 2) * ROWS;
      int other = turn < half ? r + half * ROWS : r;
      Arrays.fill(sums, 0, 2 * ROWS, 0);
      for (int s = 0; s < strips; s += STRIPS) {
        addBlock(m, r, other, s, input, starts, rows, sums);
      }
      System.arraycopy(sums, 0, y, yAt + r, Math.min(ROWS, to - r));
      System.arraycopy(sums, ROWS, y, yAt + other, Math.min(ROWS, to - other));
    }
  }

  /** The block that begins with strip s, of two rows' bands: [2, SETS, LANES]. */
  private static void addBlock(
      Matrix m,
      int row,
      int other,
      int s,
      float[] x,
      float[] starts,
      float[][] rows,
      float[] sums) {
    MemorySegment w = m.data();
    long at = RowBands.stripAt(m, row, s);
    long step = RowBands.stripAt(m, other, s) - at;
    int n = RowBands.blockStrips(m, s);
    int i = s * STRIP;
    float[] products = rows[2];
    if (m.type() == TensorType.Q4_0) {
      nibbles(w, at, step, FOUR, n, 4, x, i, starts, s, products);
      scaleQ4(w, at + 4 * STEP, step, n, products, sums);
      return;
    }
    RowBands.scales(m, row, s, rows[0]);
    RowBands.scales(m, other, s, rows[1]);
    if (m.type() == TensorType.Q4_K) {
      nibbles(w, at, step, FOUR_K, n, 4, x, i, starts, s, products);
      scale(products, n, rows[0], rows[1], sums);
      minima(rows[0], rows[1], n, starts, m.cols() / STRIP + s, sums);
    } else {
      nibbles(w, at + STEP, step, SIX / 2, 2 * n, 2, x, i, starts, 2 * s, products);
      pairs(w, at, step, SIX / 2, 2 * n, x, m.cols() + i, products);
      scale(products, 2 * n, rows[0], rows[1], sums);
    }
  }

  /** x as nibbles want it, odd columns divided by 16, and then as the pairs of bits of Q6_K do. */
  private static float[] arrange(Matrix m, float[] x, int xAt, Scratch scratch) {
    int cols = m.cols();
    boolean six = m.type() == TensorType.Q6_K;
    float[] out = scratch.panel(six ? 2 * cols : cols);
    for (int i = 0; i < cols; i += 2) {
      out[i] = x[xAt + i];
      out[i + 1] = x[xAt + i + 1] / 16;
    }
    if (six) {
      for (int i = 0; i < cols; i += 2) {
        out[cols + i] = x[xAt + i] * 16;
        out[cols + i + 1] = x[xAt + i + 1] * 4;
      }
    }
    return out;
  }

  /**
   * What the products of each scale's columns begin with, as Q4_0 means q - 8 and Q6_K q - 32, and
   * then the sums of x over them, for the minimum that Q4_K adds to each weight.
   */
  private static float[] starts(Matrix m, float[] x, int xAt, Scratch scratch) {
    int length = m.type() == TensorType.Q6_K ? STRIP / 2 : STRIP;
    float zero = m.type() == TensorType.Q4_0 ? -8 : m.type() == TensorType.Q4_K ? 0 : -32;
    int n = m.cols() / length;
    float[] starts = scratch.input(2 * n);
    for (int s = 0; s < n; s++) {
      float even = 0, odd = 0;
      for (int i = xAt + s * length; i < xAt + (s + 1) * length; i += 2) {
        even += x[i];
        odd += x[i + 1];
      }
      starts[s] = zero * (even + odd);
      starts[n + s] = even + odd;
    }
    return starts;
  }

  /**
   * The sums of integers times x of two bands, {@code step} bytes apart, for {@code n} scales,
   * whose {@code words} vectors of each set begin {@code bytes} apart: [n, 2, SETS, LANES].
   */
  private static void nibbles(
      MemorySegment w,
      long at,
      long step,
      long bytes,
      int n,
      int words,
      float[] x,
      int i,
      float[] starts,
      int start,
      float[] out) {
    w = NativeMemory.known(w);
    IntVector low = IntVector.broadcast(I, 0xf);
    IntVector high = IntVector.broadcast(I, 0xf0);
    for (int to = 0; to < n * 2 * ROWS; to += 2 * ROWS, at += bytes) {
      FloatVector a = FloatVector.broadcast(F, starts[start++]), b = a, c = a, d = a;
      for (long p = at; p != at + words * STEP; p += STEP) {
        IntVector aQ = IntVector.fromMemorySegment(I, w, p + 0 * VECTOR, LE);
        IntVector bQ = IntVector.fromMemorySegment(I, w, p + 1 * VECTOR, LE);
        IntVector cQ = IntVector.fromMemorySegment(I, w, p + step + 0 * VECTOR, LE);
        IntVector dQ = IntVector.fromMemorySegment(I, w, p + step + 1 * VECTOR, LE);
        for (int end = i + 8; i != end; i += 2) {
          FloatVector even = FloatVector.broadcast(F, x[i]);
          FloatVector odd = FloatVector.broadcast(F, x[i + 1]);
          a = ((FloatVector) aQ.and(low).convert(I2F, 0)).fma(even, a);
          a = ((FloatVector) aQ.and(high).convert(I2F, 0)).fma(odd, a);
          aQ = aQ.lanewise(LSHR, 8);
          b = ((FloatVector) bQ.and(low).convert(I2F, 0)).fma(even, b);
          b = ((FloatVector) bQ.and(high).convert(I2F, 0)).fma(odd, b);
          bQ = bQ.lanewise(LSHR, 8);
          c = ((FloatVector) cQ.and(low).convert(I2F, 0)).fma(even, c);
          c = ((FloatVector) cQ.and(high).convert(I2F, 0)).fma(odd, c);
          cQ = cQ.lanewise(LSHR, 8);
          d = ((FloatVector) dQ.and(low).convert(I2F, 0)).fma(even, d);
          d = ((FloatVector) dQ.and(high).convert(I2F, 0)).fma(odd, d);
          dQ = dQ.lanewise(LSHR, 8);
        }
      }
      a.intoArray(out, to + 0 * LANES);
      b.intoArray(out, to + 1 * LANES);
      c.intoArray(out, to + 2 * LANES);
      d.intoArray(out, to + 3 * LANES);
    }
  }

  /** Adds what the bits above the nibbles make, a vector of pairs of each set for a scale. */
  private static void pairs(
      MemorySegment w, long at, long step, long bytes, int n, float[] x, int i, float[] out) {
    w = NativeMemory.known(w);
    IntVector low = IntVector.broadcast(I, 0x3);
    IntVector high = IntVector.broadcast(I, 0xc);
    for (int to = 0; to < n * 2 * ROWS; to += 2 * ROWS, at += bytes) {
      FloatVector a = FloatVector.fromArray(F, out, to + 0 * LANES);
      FloatVector b = FloatVector.fromArray(F, out, to + 1 * LANES);
      FloatVector c = FloatVector.fromArray(F, out, to + 2 * LANES);
      FloatVector d = FloatVector.fromArray(F, out, to + 3 * LANES);
      IntVector aQ = IntVector.fromMemorySegment(I, w, at + 0 * VECTOR, LE);
      IntVector bQ = IntVector.fromMemorySegment(I, w, at + 1 * VECTOR, LE);
      IntVector cQ = IntVector.fromMemorySegment(I, w, at + step + 0 * VECTOR, LE);
      IntVector dQ = IntVector.fromMemorySegment(I, w, at + step + 1 * VECTOR, LE);
      for (int end = i + 16; i != end; i += 2) {
        FloatVector even = FloatVector.broadcast(F, x[i]);
        FloatVector odd = FloatVector.broadcast(F, x[i + 1]);
        a = ((FloatVector) aQ.and(low).convert(I2F, 0)).fma(even, a);
        a = ((FloatVector) aQ.and(high).convert(I2F, 0)).fma(odd, a);
        aQ = aQ.lanewise(LSHR, 4);
        b = ((FloatVector) bQ.and(low).convert(I2F, 0)).fma(even, b);
        b = ((FloatVector) bQ.and(high).convert(I2F, 0)).fma(odd, b);
        bQ = bQ.lanewise(LSHR, 4);
        c = ((FloatVector) cQ.and(low).convert(I2F, 0)).fma(even, c);
        c = ((FloatVector) cQ.and(high).convert(I2F, 0)).fma(odd, c);
        cQ = cQ.lanewise(LSHR, 4);
        d = ((FloatVector) dQ.and(low).convert(I2F, 0)).fma(even, d);
        d = ((FloatVector) dQ.and(high).convert(I2F, 0)).fma(odd, d);
        dQ = dQ.lanewise(LSHR, 4);
      }
      a.intoArray(out, to + 0 * LANES);
      b.intoArray(out, to + 1 * LANES);
      c.intoArray(out, to + 2 * LANES);
      d.intoArray(out, to + 3 * LANES);
    }
  }

  /** Adds the products times the scales of Q4_0. */
  private static void scaleQ4(
      MemorySegment w, long at, long step, int n, float[] products, float[] sums) {
    w = NativeMemory.known(w);
    FloatVector a = FloatVector.fromArray(F, sums, 0 * LANES);
    FloatVector b = FloatVector.fromArray(F, sums, 1 * LANES);
    FloatVector c = FloatVector.fromArray(F, sums, 2 * LANES);
    FloatVector d = FloatVector.fromArray(F, sums, 3 * LANES);
    for (int i = 0; i < n * 2 * ROWS; i += 2 * ROWS, at += FOUR) {
      IntVector scales = IntVector.fromMemorySegment(I, w, at, LE);
      a = finiteHalf(scales.lanewise(LSHL, 16)).fma(FloatVector.fromArray(F, products, i), a);
      b = finiteHalf(scales).fma(FloatVector.fromArray(F, products, i + LANES), b);
      scales = IntVector.fromMemorySegment(I, w, at + step, LE);
      c =
          finiteHalf(scales.lanewise(LSHL, 16))
              .fma(FloatVector.fromArray(F, products, i + 2 * LANES), c);
      d = finiteHalf(scales).fma(FloatVector.fromArray(F, products, i + 3 * LANES), d);
    }
    a.intoArray(sums, 0 * LANES);
    b.intoArray(sums, 1 * LANES);
    c.intoArray(sums, 2 * LANES);
    d.intoArray(sums, 3 * LANES);
  }

  /** Adds the products times the scales of {@link RowBands#scales}. */
  private static void scale(float[] products, int n, float[] scales, float[] others, float[] sums) {
    FloatVector a = FloatVector.fromArray(F, sums, 0 * LANES);
    FloatVector b = FloatVector.fromArray(F, sums, 1 * LANES);
    FloatVector c = FloatVector.fromArray(F, sums, 2 * LANES);
    FloatVector d = FloatVector.fromArray(F, sums, 3 * LANES);
    for (int i = 0; i < n * 4 * LANES; i += 4 * LANES) {
      a = FloatVector.fromArray(F, scales, i).fma(FloatVector.fromArray(F, products, i), a);
      b =
          FloatVector.fromArray(F, scales, i + 2 * LANES)
              .fma(FloatVector.fromArray(F, products, i + LANES), b);
      c =
          FloatVector.fromArray(F, others, i)
              .fma(FloatVector.fromArray(F, products, i + 2 * LANES), c);
      d =
          FloatVector.fromArray(F, others, i + 2 * LANES)
              .fma(FloatVector.fromArray(F, products, i + 3 * LANES), d);
    }
    a.intoArray(sums, 0 * LANES);
    b.intoArray(sums, 1 * LANES);
    c.intoArray(sums, 2 * LANES);
    d.intoArray(sums, 3 * LANES);
  }

  /** Adds the minima of Q4_K times the sums of x. */
  private static void minima(
      float[] scales, float[] others, int n, float[] starts, int first, float[] sums) {
    FloatVector a = FloatVector.fromArray(F, sums, 0 * LANES);
    FloatVector b = FloatVector.fromArray(F, sums, 1 * LANES);
    FloatVector c = FloatVector.fromArray(F, sums, 2 * LANES);
    FloatVector d = FloatVector.fromArray(F, sums, 3 * LANES);
    for (int i = 0; i < n; i++) {
      FloatVector total = FloatVector.broadcast(F, starts[first + i]);
      a = FloatVector.fromArray(F, scales, (i * 4 + 1) * LANES).fma(total, a);
      b = FloatVector.fromArray(F, scales, (i * 4 + 3) * LANES).fma(total, b);
      c = FloatVector.fromArray(F, others, (i * 4 + 1) * LANES).fma(total, c);
      d = FloatVector.fromArray(F, others, (i * 4 + 3) * LANES).fma(total, d);
    }
    a.intoArray(sums, 0 * LANES);
    b.intoArray(sums, 1 * LANES);
    c.intoArray(sums, 2 * LANES);
    d.intoArray(sums, 3 * LANES);
  }
}
