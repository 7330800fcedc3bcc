package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.RowBands.FOUR;
import static dev.gemma4j.kernel.RowBands.FOUR_K;
import static dev.gemma4j.kernel.RowBands.LANES;
import static dev.gemma4j.kernel.RowBands.NIBBLE;
import static dev.gemma4j.kernel.RowBands.ONE;
import static dev.gemma4j.kernel.RowBands.ROWS;
import static dev.gemma4j.kernel.RowBands.SIX;
import static dev.gemma4j.kernel.RowBands.SIX_NIBBLE;
import static dev.gemma4j.kernel.RowBands.SIX_PAIR;
import static dev.gemma4j.kernel.RowBands.STEP;
import static dev.gemma4j.kernel.RowBands.STRIP;
import static dev.gemma4j.kernel.RowBands.STRIPS;
import static dev.gemma4j.kernel.RowBands.VECTOR;
import static dev.gemma4j.kernel.VectorDot.HALF_BITS;
import static dev.gemma4j.kernel.VectorDot.HALF_REBIAS;
import static dev.gemma4j.kernel.VectorKernels.F;
import static dev.gemma4j.kernel.VectorKernels.I;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.ROL;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/**
 * {@link RowBands} times one vector, and Q4_0 times two or four, where vectors {@linkplain
 * RowBands#ROTATES rotate}: integers are read as mantissas and summed, and the scales applied to
 * the sums of a strip.
 *
 * <p>Written out for each number of bands and vectors: C2 does not inline helpers that take vectors
 * into methods with so many, and each call would make objects of them, which is ten times slower.
 */
final class BandDot {
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

  // The nibble below the top one of a mantissa: even columns have their integer in NIBBLE, as 1 +
  // q/16, odd ones here, as 1 + q/256, and one rotation serves two of them.
  private static final int LOWER = 0x00078000;

  private BandDot() {}

  /**
   * Four bands at a time, from the quarters of all: a core reads memory faster in several places
   * far apart than in one. What is left is taken in twos.
   */
  static void matvec(
      Matrix m, int from, int to, float[] x, int xAt, float[] y, int yAt, Scratch scratch) {
    float[] offsets = scratch.input(3 * m.cols() / STRIP);
    offsets(m, x, xAt, offsets, 0);
    int quarter = (to - from) / (4 * ROWS) * ROWS;
    for (int r = from; r < from + quarter; r += ROWS) {
      bands(m, r, quarter, 4, to, x, xAt, offsets, y, yAt, scratch);
    }
    for (int r = from + 4 * quarter; r < to; r += 2 * ROWS) {
      bands(m, r, r + ROWS < to ? ROWS : 0, 2, to, x, xAt, offsets, y, yAt, scratch);
    }
  }

  /**
   * Q4_0 times two vectors, xStride apart, which share what is unpacked; the sums are in {@link
   * #matvec}'s order.
   */
  static void pair(
      Matrix m,
      int from,
      int to,
      float[] x,
      int xAt,
      int xStride,
      float[] y,
      int yAt,
      int yStride,
      Scratch scratch) {
    int strips = m.cols() / STRIP;
    float[] offsets = scratch.input(4 * strips);
    offsets(m, x, xAt, offsets, 0);
    offsets(m, x, xAt + xStride, offsets, 2 * strips);
    float[] sums = scratch.scores(4 * ROWS); // [2, 2, ROWS]: of a vector, of a band
    int bands = (to - from + ROWS - 1) / ROWS;
    int half = bands / 2;
    for (int turn = 0; turn < VectorDot.turns(0, bands, 2); turn++) {
      int r = from + VectorDot.first(0, turn, half, 2) * ROWS;
      int d = turn < half ? half * ROWS : 0;
      long at = RowBands.stripAt(m, r, 0);
      long step = RowBands.stripAt(m, r + d, 0) - at;
      Arrays.fill(sums, 0, 4 * ROWS, 0);
      twoBandsTwice(m.data(), at, step, strips, x, xAt, xStride, offsets, sums);
      copy(sums, 0 * ROWS, 16, y, yAt + r, Math.min(ROWS, to - r));
      copy(sums, 1 * ROWS, 16, y, yAt + r + d, Math.min(ROWS, to - r - d));
      copy(sums, 2 * ROWS, 16, y, yAt + yStride + r, Math.min(ROWS, to - r));
      copy(sums, 3 * ROWS, 16, y, yAt + yStride + r + d, Math.min(ROWS, to - r - d));
    }
  }

  /** The same for four. */
  static void four(
      Matrix m,
      int from,
      int to,
      float[] x,
      int xAt,
      int xStride,
      float[] y,
      int yAt,
      int yStride,
      Scratch scratch) {
    int strips = m.cols() / STRIP;
    float[] offsets = scratch.input(8 * strips);
    for (int b = 0; b < 4; b++) {
      offsets(m, x, xAt + b * xStride, offsets, 2 * b * strips);
    }
    float[] sums = scratch.scores(4 * ROWS); // [4, ROWS]
    int bands = (to - from + ROWS - 1) / ROWS;
    for (int turn = 0; turn < bands; turn++) {
      int r = from + VectorDot.first(0, turn, bands, 1) * ROWS;
      Arrays.fill(sums, 0, 4 * ROWS, 0);
      long at = RowBands.stripAt(m, r, 0);
      bandFourTimes(m.data(), at, strips, x, xAt, xStride, offsets, sums);
      for (int b = 0; b < 4; b++) {
        copy(sums, b * ROWS, 16, y, yAt + b * yStride + r, Math.min(ROWS, to - r));
      }
    }
  }

  private static void copy(float[] sums, int at, float unit, float[] y, int to, int n) {
    for (int i = 0; i < n; i++) {
      y[to + i] = sums[at + i] * unit;
    }
  }

  /** The {@code n} bands of rows r, r + d and so on. */
  private static void bands(
      Matrix m,
      int r,
      int d,
      int n,
      int to,
      float[] x,
      int xAt,
      float[] offsets,
      float[] y,
      int yAt,
      Scratch scratch) {
    int strips = m.cols() / STRIP;
    float[] sums = scratch.scores(4 * ROWS);
    Arrays.fill(sums, 0, n * ROWS, 0);
    if (m.type() == TensorType.Q4_0) {
      long at = RowBands.stripAt(m, r, 0);
      long step = RowBands.stripAt(m, r + d, 0) - at;
      if (n == 4) {
        fourBands(m.data(), at, step, strips, x, xAt, offsets, sums);
      } else {
        twoBands(m.data(), at, step, strips, x, xAt, offsets, sums);
      }
    } else {
      float[][] scales = scratch.rows(2, RowBands.SCALES);
      for (int s = 0; s < strips; s += STRIPS) {
        for (int i = 0; i < n; i += 2) {
          block(m, r + i * d, r + i * d + d, s, x, xAt, offsets, scales, sums, i * ROWS);
        }
      }
    }
    float unit = m.type() == TensorType.Q6_K ? 64 : 16; // of what the nibbles are read as
    for (int i = 0; i < n; i++) {
      int row = r + i * d;
      copy(sums, i * ROWS, unit, y, yAt + row, Math.min(ROWS, to - row));
    }
  }

  /** Adds the block that begins with strip s, of two rows' bands, to their sums. */
  private static void block(
      Matrix m,
      int row,
      int other,
      int s,
      float[] x,
      int xAt,
      float[] offsets,
      float[][] scales,
      float[] y,
      int to) {
    RowBands.scales(m, row, s, scales[0]);
    RowBands.scales(m, other, s, scales[1]);
    long at = RowBands.stripAt(m, row, s);
    long step = RowBands.stripAt(m, other, s) - at;
    if (m.type() == TensorType.Q4_K) {
      fourK(m.data(), at, step, STRIPS, scales, x, xAt, offsets, s, y, to);
    } else {
      sixK(m.data(), at, step, STRIPS, scales, x, xAt, offsets, s, y, to);
    }
  }

  /**
   * What to add for each strip's input x: Q4_0 and Q4_K read nibbles as 1 + q/16 in even columns
   * and 1 + q/256 in odd ones, Q4_0 means q - 8, Q4_K subtracts its minimum from each weight; Q6_K
   * reads 1 + q/64, means q - 32, and has a scale for each half.
   */
  private static void offsets(Matrix m, float[] x, int xAt, float[] offsets, int to) {
    int strips = m.cols() / STRIP;
    for (int s = 0; s < strips; s++) {
      float even = 0, odd = 0, half = 0;
      int first = xAt + s * STRIP;
      for (int i = first; i < first + STRIP / 2; i += 2) {
        half += x[i] + x[i + 1];
        even += x[i] + x[i + STRIP / 2];
        odd += x[i + 1] + x[i + STRIP / 2 + 1];
      }
      switch (m.type()) {
        case Q4_0 -> {
          offsets[to + 2 * s] = -(1 + 8 / 16f) * even;
          offsets[to + 2 * s + 1] = -(1 + 8 / 256f) * odd;
        }
        case Q4_K -> {
          offsets[to + 3 * s] = -even;
          offsets[to + 3 * s + 1] = -odd;
          offsets[to + 3 * s + 2] = (even + odd) / 16; // times minus the minimum
        }
        default -> {
          offsets[to + 2 * s] = -(1 + 32 / 64f) * half;
          offsets[to + 2 * s + 1] = -(1 + 32 / 64f) * (even + odd - half);
        }
      }
    }
  }

  /** Two bands of Q4_0, {@code step} bytes apart. */
  private static void twoBands(
      MemorySegment w,
      long at,
      long step,
      int strips,
      float[] x,
      int i,
      float[] offsets,
      float[] y) {
    w = NativeMemory.known(w);
    FloatVector a = FloatVector.zero(F), b = a, c = a, d = a;
    IntVector nibble = IntVector.broadcast(I, NIBBLE);
    IntVector lower = IntVector.broadcast(I, LOWER);
    IntVector one = IntVector.broadcast(I, ONE);
    IntVector halfBits = IntVector.broadcast(I, HALF_BITS);
    FloatVector rebias = FloatVector.broadcast(F, HALF_REBIAS);
    FloatVector sixteen = FloatVector.broadcast(F, 16);
    for (int s = 0; s < strips; s++, at += FOUR) {
      FloatVector evenOffset = FloatVector.broadcast(F, offsets[2 * s]);
      FloatVector oddOffset = FloatVector.broadcast(F, offsets[2 * s + 1]);
      FloatVector aEven = evenOffset, aOdd = oddOffset;
      FloatVector bEven = evenOffset, bOdd = oddOffset;
      FloatVector cEven = evenOffset, cOdd = oddOffset;
      FloatVector dEven = evenOffset, dOdd = oddOffset;
      for (long p = at; p != at + 4 * STEP; p += STEP) {
        IntVector aQ = IntVector.fromMemorySegment(I, w, p + 0 * VECTOR, LE);
        IntVector bQ = IntVector.fromMemorySegment(I, w, p + 1 * VECTOR, LE);
        IntVector cQ = IntVector.fromMemorySegment(I, w, p + step + 0 * VECTOR, LE);
        IntVector dQ = IntVector.fromMemorySegment(I, w, p + step + 1 * VECTOR, LE);
        for (int k = 0; k < 4; k++, i += 2) {
          FloatVector even = FloatVector.broadcast(F, x[i]);
          FloatVector odd = FloatVector.broadcast(F, x[i + 1]);
          aEven = aQ.and(nibble).or(one).reinterpretAsFloats().fma(even, aEven);
          aOdd = aQ.and(lower).or(one).reinterpretAsFloats().fma(odd, aOdd);
          aQ = aQ.lanewise(ROL, 8);
          bEven = bQ.and(nibble).or(one).reinterpretAsFloats().fma(even, bEven);
          bOdd = bQ.and(lower).or(one).reinterpretAsFloats().fma(odd, bOdd);
          bQ = bQ.lanewise(ROL, 8);
          cEven = cQ.and(nibble).or(one).reinterpretAsFloats().fma(even, cEven);
          cOdd = cQ.and(lower).or(one).reinterpretAsFloats().fma(odd, cOdd);
          cQ = cQ.lanewise(ROL, 8);
          dEven = dQ.and(nibble).or(one).reinterpretAsFloats().fma(even, dEven);
          dOdd = dQ.and(lower).or(one).reinterpretAsFloats().fma(odd, dOdd);
          dQ = dQ.lanewise(ROL, 8);
        }
      }
      IntVector scales = IntVector.fromMemorySegment(I, w, at + 4 * STEP, LE);
      FloatVector aScale =
          scales.lanewise(LSHL, 16).lanewise(ASHR, 3).and(halfBits).reinterpretAsFloats();
      a = aOdd.fma(sixteen, aEven).fma(aScale.mul(rebias), a);
      FloatVector bScale = scales.lanewise(ASHR, 3).and(halfBits).reinterpretAsFloats();
      b = bOdd.fma(sixteen, bEven).fma(bScale.mul(rebias), b);
      scales = IntVector.fromMemorySegment(I, w, at + step + 4 * STEP, LE);
      FloatVector cScale =
          scales.lanewise(LSHL, 16).lanewise(ASHR, 3).and(halfBits).reinterpretAsFloats();
      c = cOdd.fma(sixteen, cEven).fma(cScale.mul(rebias), c);
      FloatVector dScale = scales.lanewise(ASHR, 3).and(halfBits).reinterpretAsFloats();
      d = dOdd.fma(sixteen, dEven).fma(dScale.mul(rebias), d);
    }
    a.intoArray(y, 0 * LANES);
    b.intoArray(y, 1 * LANES);
    c.intoArray(y, 2 * LANES);
    d.intoArray(y, 3 * LANES);
  }

  /**
   * Four bands of Q4_0, {@code step} bytes apart. What they add up to stays in memory: there are
   * registers only for a strip's sums.
   */
  private static void fourBands(
      MemorySegment w,
      long at,
      long step,
      int strips,
      float[] x,
      int i,
      float[] offsets,
      float[] y) {
    w = NativeMemory.known(w);
    IntVector nibble = IntVector.broadcast(I, NIBBLE);
    IntVector lower = IntVector.broadcast(I, LOWER);
    IntVector one = IntVector.broadcast(I, ONE);
    IntVector halfBits = IntVector.broadcast(I, HALF_BITS);
    FloatVector rebias = FloatVector.broadcast(F, HALF_REBIAS);
    FloatVector sixteen = FloatVector.broadcast(F, 16);
    long step2 = 2 * step;
    long step3 = 3 * step;
    for (int s = 0; s < strips; s++, at += FOUR) {
      FloatVector evenOffset = FloatVector.broadcast(F, offsets[2 * s]);
      FloatVector oddOffset = FloatVector.broadcast(F, offsets[2 * s + 1]);
      FloatVector aEven = evenOffset, aOdd = oddOffset;
      FloatVector bEven = evenOffset, bOdd = oddOffset;
      FloatVector cEven = evenOffset, cOdd = oddOffset;
      FloatVector dEven = evenOffset, dOdd = oddOffset;
      FloatVector eEven = evenOffset, eOdd = oddOffset;
      FloatVector fEven = evenOffset, fOdd = oddOffset;
      FloatVector gEven = evenOffset, gOdd = oddOffset;
      FloatVector hEven = evenOffset, hOdd = oddOffset;
      for (long p = at; p != at + 4 * STEP; p += STEP) {
        IntVector aQ = IntVector.fromMemorySegment(I, w, p + 0 * VECTOR, LE);
        IntVector bQ = IntVector.fromMemorySegment(I, w, p + 1 * VECTOR, LE);
        IntVector cQ = IntVector.fromMemorySegment(I, w, p + step + 0 * VECTOR, LE);
        IntVector dQ = IntVector.fromMemorySegment(I, w, p + step + 1 * VECTOR, LE);
        IntVector eQ = IntVector.fromMemorySegment(I, w, p + step2 + 0 * VECTOR, LE);
        IntVector fQ = IntVector.fromMemorySegment(I, w, p + step2 + 1 * VECTOR, LE);
        IntVector gQ = IntVector.fromMemorySegment(I, w, p + step3 + 0 * VECTOR, LE);
        IntVector hQ = IntVector.fromMemorySegment(I, w, p + step3 + 1 * VECTOR, LE);
        for (int k = 0; k < 4; k++, i += 2) {
          FloatVector even = FloatVector.broadcast(F, x[i]);
          FloatVector odd = FloatVector.broadcast(F, x[i + 1]);
          aEven = aQ.and(nibble).or(one).reinterpretAsFloats().fma(even, aEven);
          aOdd = aQ.and(lower).or(one).reinterpretAsFloats().fma(odd, aOdd);
          aQ = aQ.lanewise(ROL, 8);
          bEven = bQ.and(nibble).or(one).reinterpretAsFloats().fma(even, bEven);
          bOdd = bQ.and(lower).or(one).reinterpretAsFloats().fma(odd, bOdd);
          bQ = bQ.lanewise(ROL, 8);
          cEven = cQ.and(nibble).or(one).reinterpretAsFloats().fma(even, cEven);
          cOdd = cQ.and(lower).or(one).reinterpretAsFloats().fma(odd, cOdd);
          cQ = cQ.lanewise(ROL, 8);
          dEven = dQ.and(nibble).or(one).reinterpretAsFloats().fma(even, dEven);
          dOdd = dQ.and(lower).or(one).reinterpretAsFloats().fma(odd, dOdd);
          dQ = dQ.lanewise(ROL, 8);
          eEven = eQ.and(nibble).or(one).reinterpretAsFloats().fma(even, eEven);
          eOdd = eQ.and(lower).or(one).reinterpretAsFloats().fma(odd, eOdd);
          eQ = eQ.lanewise(ROL, 8);
          fEven = fQ.and(nibble).or(one).reinterpretAsFloats().fma(even, fEven);
          fOdd = fQ.and(lower).or(one).reinterpretAsFloats().fma(odd, fOdd);
          fQ = fQ.lanewise(ROL, 8);
          gEven = gQ.and(nibble).or(one).reinterpretAsFloats().fma(even, gEven);
          gOdd = gQ.and(lower).or(one).reinterpretAsFloats().fma(odd, gOdd);
          gQ = gQ.lanewise(ROL, 8);
          hEven = hQ.and(nibble).or(one).reinterpretAsFloats().fma(even, hEven);
          hOdd = hQ.and(lower).or(one).reinterpretAsFloats().fma(odd, hOdd);
          hQ = hQ.lanewise(ROL, 8);
        }
      }
      IntVector scales = IntVector.fromMemorySegment(I, w, at + 4 * STEP, LE);
      FloatVector aScale =
          scales.lanewise(LSHL, 16).lanewise(ASHR, 3).and(halfBits).reinterpretAsFloats();
      FloatVector a = FloatVector.fromArray(F, y, 0 * LANES);
      aOdd.fma(sixteen, aEven).fma(aScale.mul(rebias), a).intoArray(y, 0 * LANES);
      FloatVector bScale = scales.lanewise(ASHR, 3).and(halfBits).reinterpretAsFloats();
      FloatVector b = FloatVector.fromArray(F, y, 1 * LANES);
      bOdd.fma(sixteen, bEven).fma(bScale.mul(rebias), b).intoArray(y, 1 * LANES);
      scales = IntVector.fromMemorySegment(I, w, at + step + 4 * STEP, LE);
      FloatVector cScale =
          scales.lanewise(LSHL, 16).lanewise(ASHR, 3).and(halfBits).reinterpretAsFloats();
      FloatVector c = FloatVector.fromArray(F, y, 2 * LANES);
      cOdd.fma(sixteen, cEven).fma(cScale.mul(rebias), c).intoArray(y, 2 * LANES);
      FloatVector dScale = scales.lanewise(ASHR, 3).and(halfBits).reinterpretAsFloats();
      FloatVector d = FloatVector.fromArray(F, y, 3 * LANES);
      dOdd.fma(sixteen, dEven).fma(dScale.mul(rebias), d).intoArray(y, 3 * LANES);
      scales = IntVector.fromMemorySegment(I, w, at + step2 + 4 * STEP, LE);
      FloatVector eScale =
          scales.lanewise(LSHL, 16).lanewise(ASHR, 3).and(halfBits).reinterpretAsFloats();
      FloatVector e = FloatVector.fromArray(F, y, 4 * LANES);
      eOdd.fma(sixteen, eEven).fma(eScale.mul(rebias), e).intoArray(y, 4 * LANES);
      FloatVector fScale = scales.lanewise(ASHR, 3).and(halfBits).reinterpretAsFloats();
      FloatVector f = FloatVector.fromArray(F, y, 5 * LANES);
      fOdd.fma(sixteen, fEven).fma(fScale.mul(rebias), f).intoArray(y, 5 * LANES);
      scales = IntVector.fromMemorySegment(I, w, at + step3 + 4 * STEP, LE);
      FloatVector gScale =
          scales.lanewise(LSHL, 16).lanewise(ASHR, 3).and(halfBits).reinterpretAsFloats();
      FloatVector g = FloatVector.fromArray(F, y, 6 * LANES);
      gOdd.fma(sixteen, gEven).fma(gScale.mul(rebias), g).intoArray(y, 6 * LANES);
      FloatVector hScale = scales.lanewise(ASHR, 3).and(halfBits).reinterpretAsFloats();
      FloatVector h = FloatVector.fromArray(F, y, 7 * LANES);
      hOdd.fma(sixteen, hEven).fma(hScale.mul(rebias), h).intoArray(y, 7 * LANES);
    }
  }

  /**
   * Two bands of Q4_0, {@code step} bytes apart, times two vectors, {@code other} floats apart.
   * What they add up to stays in memory, as in fourBands.
   */
  private static void twoBandsTwice(
      MemorySegment w,
      long at,
      long step,
      int strips,
      float[] x,
      int i,
      int other,
      float[] offsets,
      float[] y) {
    w = NativeMemory.known(w);
    IntVector nibble = IntVector.broadcast(I, NIBBLE);
    IntVector lower = IntVector.broadcast(I, LOWER);
    IntVector one = IntVector.broadcast(I, ONE);
    IntVector halfBits = IntVector.broadcast(I, HALF_BITS);
    FloatVector rebias = FloatVector.broadcast(F, HALF_REBIAS);
    FloatVector sixteen = FloatVector.broadcast(F, 16);
    for (int s = 0; s < strips; s++, at += FOUR) {
      FloatVector evenOffset = FloatVector.broadcast(F, offsets[2 * s]);
      FloatVector oddOffset = FloatVector.broadcast(F, offsets[2 * s + 1]);
      FloatVector otherEven = FloatVector.broadcast(F, offsets[2 * (strips + s)]);
      FloatVector otherOdd = FloatVector.broadcast(F, offsets[2 * (strips + s) + 1]);
      FloatVector aEven0 = evenOffset, aOdd0 = oddOffset;
      FloatVector aEven1 = otherEven, aOdd1 = otherOdd;
      FloatVector bEven0 = evenOffset, bOdd0 = oddOffset;
      FloatVector bEven1 = otherEven, bOdd1 = otherOdd;
      FloatVector cEven0 = evenOffset, cOdd0 = oddOffset;
      FloatVector cEven1 = otherEven, cOdd1 = otherOdd;
      FloatVector dEven0 = evenOffset, dOdd0 = oddOffset;
      FloatVector dEven1 = otherEven, dOdd1 = otherOdd;
      for (long p = at; p != at + 4 * STEP; p += STEP) {
        IntVector aQ = IntVector.fromMemorySegment(I, w, p + 0 * VECTOR, LE);
        IntVector bQ = IntVector.fromMemorySegment(I, w, p + 1 * VECTOR, LE);
        IntVector cQ = IntVector.fromMemorySegment(I, w, p + step + 0 * VECTOR, LE);
        IntVector dQ = IntVector.fromMemorySegment(I, w, p + step + 1 * VECTOR, LE);
        for (int k = 0; k < 4; k++, i += 2) {
          FloatVector even0 = FloatVector.broadcast(F, x[i]);
          FloatVector odd0 = FloatVector.broadcast(F, x[i + 1]);
          FloatVector even1 = FloatVector.broadcast(F, x[i + other]);
          FloatVector odd1 = FloatVector.broadcast(F, x[i + other + 1]);
          FloatVector even, odd;
          even = aQ.and(nibble).or(one).reinterpretAsFloats();
          aEven0 = even.fma(even0, aEven0);
          aEven1 = even.fma(even1, aEven1);
          odd = aQ.and(lower).or(one).reinterpretAsFloats();
          aOdd0 = odd.fma(odd0, aOdd0);
          aOdd1 = odd.fma(odd1, aOdd1);
          aQ = aQ.lanewise(ROL, 8);
          even = bQ.and(nibble).or(one).reinterpretAsFloats();
          bEven0 = even.fma(even0, bEven0);
          bEven1 = even.fma(even1, bEven1);
          odd = bQ.and(lower).or(one).reinterpretAsFloats();
          bOdd0 = odd.fma(odd0, bOdd0);
          bOdd1 = odd.fma(odd1, bOdd1);
          bQ = bQ.lanewise(ROL, 8);
          even = cQ.and(nibble).or(one).reinterpretAsFloats();
          cEven0 = even.fma(even0, cEven0);
          cEven1 = even.fma(even1, cEven1);
          odd = cQ.and(lower).or(one).reinterpretAsFloats();
          cOdd0 = odd.fma(odd0, cOdd0);
          cOdd1 = odd.fma(odd1, cOdd1);
          cQ = cQ.lanewise(ROL, 8);
          even = dQ.and(nibble).or(one).reinterpretAsFloats();
          dEven0 = even.fma(even0, dEven0);
          dEven1 = even.fma(even1, dEven1);
          odd = dQ.and(lower).or(one).reinterpretAsFloats();
          dOdd0 = odd.fma(odd0, dOdd0);
          dOdd1 = odd.fma(odd1, dOdd1);
          dQ = dQ.lanewise(ROL, 8);
        }
      }
      IntVector scales = IntVector.fromMemorySegment(I, w, at + 4 * STEP, LE);
      FloatVector aScale =
          scales
              .lanewise(LSHL, 16)
              .lanewise(ASHR, 3)
              .and(halfBits)
              .reinterpretAsFloats()
              .mul(rebias);
      FloatVector a0 = FloatVector.fromArray(F, y, 0 * LANES);
      aOdd0.fma(sixteen, aEven0).fma(aScale, a0).intoArray(y, 0 * LANES);
      FloatVector a1 = FloatVector.fromArray(F, y, 4 * LANES);
      aOdd1.fma(sixteen, aEven1).fma(aScale, a1).intoArray(y, 4 * LANES);
      FloatVector bScale = scales.lanewise(ASHR, 3).and(halfBits).reinterpretAsFloats().mul(rebias);
      FloatVector b0 = FloatVector.fromArray(F, y, 1 * LANES);
      bOdd0.fma(sixteen, bEven0).fma(bScale, b0).intoArray(y, 1 * LANES);
      FloatVector b1 = FloatVector.fromArray(F, y, 5 * LANES);
      bOdd1.fma(sixteen, bEven1).fma(bScale, b1).intoArray(y, 5 * LANES);
      scales = IntVector.fromMemorySegment(I, w, at + step + 4 * STEP, LE);
      FloatVector cScale =
          scales
              .lanewise(LSHL, 16)
              .lanewise(ASHR, 3)
              .and(halfBits)
              .reinterpretAsFloats()
              .mul(rebias);
      FloatVector c0 = FloatVector.fromArray(F, y, 2 * LANES);
      cOdd0.fma(sixteen, cEven0).fma(cScale, c0).intoArray(y, 2 * LANES);
      FloatVector c1 = FloatVector.fromArray(F, y, 6 * LANES);
      cOdd1.fma(sixteen, cEven1).fma(cScale, c1).intoArray(y, 6 * LANES);
      FloatVector dScale = scales.lanewise(ASHR, 3).and(halfBits).reinterpretAsFloats().mul(rebias);
      FloatVector d0 = FloatVector.fromArray(F, y, 3 * LANES);
      dOdd0.fma(sixteen, dEven0).fma(dScale, d0).intoArray(y, 3 * LANES);
      FloatVector d1 = FloatVector.fromArray(F, y, 7 * LANES);
      dOdd1.fma(sixteen, dEven1).fma(dScale, d1).intoArray(y, 7 * LANES);
    }
  }

  /**
   * A band of Q4_0 times four vectors, {@code stride} floats apart. What they add up to stays in
   * memory, as in fourBands.
   */
  private static void bandFourTimes(
      MemorySegment w,
      long at,
      int strips,
      float[] x,
      int i,
      int stride,
      float[] offsets,
      float[] y) {
    w = NativeMemory.known(w);
    IntVector nibble = IntVector.broadcast(I, NIBBLE);
    IntVector lower = IntVector.broadcast(I, LOWER);
    IntVector one = IntVector.broadcast(I, ONE);
    IntVector halfBits = IntVector.broadcast(I, HALF_BITS);
    FloatVector rebias = FloatVector.broadcast(F, HALF_REBIAS);
    FloatVector sixteen = FloatVector.broadcast(F, 16);
    for (int s = 0; s < strips; s++, at += FOUR) {
      FloatVector even0 = FloatVector.broadcast(F, offsets[2 * s]);
      FloatVector odd0 = FloatVector.broadcast(F, offsets[2 * s + 1]);
      FloatVector even1 = FloatVector.broadcast(F, offsets[2 * (strips + s)]);
      FloatVector odd1 = FloatVector.broadcast(F, offsets[2 * (strips + s) + 1]);
      FloatVector even2 = FloatVector.broadcast(F, offsets[2 * (2 * strips + s)]);
      FloatVector odd2 = FloatVector.broadcast(F, offsets[2 * (2 * strips + s) + 1]);
      FloatVector even3 = FloatVector.broadcast(F, offsets[2 * (3 * strips + s)]);
      FloatVector odd3 = FloatVector.broadcast(F, offsets[2 * (3 * strips + s) + 1]);
      FloatVector aEven0 = even0, aOdd0 = odd0;
      FloatVector aEven1 = even1, aOdd1 = odd1;
      FloatVector aEven2 = even2, aOdd2 = odd2;
      FloatVector aEven3 = even3, aOdd3 = odd3;
      FloatVector bEven0 = even0, bOdd0 = odd0;
      FloatVector bEven1 = even1, bOdd1 = odd1;
      FloatVector bEven2 = even2, bOdd2 = odd2;
      FloatVector bEven3 = even3, bOdd3 = odd3;
      for (long p = at; p != at + 4 * STEP; p += STEP) {
        IntVector aQ = IntVector.fromMemorySegment(I, w, p + 0 * VECTOR, LE);
        IntVector bQ = IntVector.fromMemorySegment(I, w, p + 1 * VECTOR, LE);
        for (int k = 0; k < 4; k++, i += 2) {
          even0 = FloatVector.broadcast(F, x[i]);
          odd0 = FloatVector.broadcast(F, x[i + 1]);
          even1 = FloatVector.broadcast(F, x[i + stride]);
          odd1 = FloatVector.broadcast(F, x[i + stride + 1]);
          even2 = FloatVector.broadcast(F, x[i + 2 * stride]);
          odd2 = FloatVector.broadcast(F, x[i + 2 * stride + 1]);
          even3 = FloatVector.broadcast(F, x[i + 3 * stride]);
          odd3 = FloatVector.broadcast(F, x[i + 3 * stride + 1]);
          FloatVector q;
          q = aQ.and(nibble).or(one).reinterpretAsFloats();
          aEven0 = q.fma(even0, aEven0);
          aEven1 = q.fma(even1, aEven1);
          aEven2 = q.fma(even2, aEven2);
          aEven3 = q.fma(even3, aEven3);
          q = aQ.and(lower).or(one).reinterpretAsFloats();
          aOdd0 = q.fma(odd0, aOdd0);
          aOdd1 = q.fma(odd1, aOdd1);
          aOdd2 = q.fma(odd2, aOdd2);
          aOdd3 = q.fma(odd3, aOdd3);
          aQ = aQ.lanewise(ROL, 8);
          q = bQ.and(nibble).or(one).reinterpretAsFloats();
          bEven0 = q.fma(even0, bEven0);
          bEven1 = q.fma(even1, bEven1);
          bEven2 = q.fma(even2, bEven2);
          bEven3 = q.fma(even3, bEven3);
          q = bQ.and(lower).or(one).reinterpretAsFloats();
          bOdd0 = q.fma(odd0, bOdd0);
          bOdd1 = q.fma(odd1, bOdd1);
          bOdd2 = q.fma(odd2, bOdd2);
          bOdd3 = q.fma(odd3, bOdd3);
          bQ = bQ.lanewise(ROL, 8);
        }
      }
      IntVector scales = IntVector.fromMemorySegment(I, w, at + 4 * STEP, LE);
      FloatVector aScale =
          scales
              .lanewise(LSHL, 16)
              .lanewise(ASHR, 3)
              .and(halfBits)
              .reinterpretAsFloats()
              .mul(rebias);
      FloatVector bScale = scales.lanewise(ASHR, 3).and(halfBits).reinterpretAsFloats().mul(rebias);
      FloatVector sum;
      sum = FloatVector.fromArray(F, y, 0 * LANES);
      aOdd0.fma(sixteen, aEven0).fma(aScale, sum).intoArray(y, 0 * LANES);
      sum = FloatVector.fromArray(F, y, 1 * LANES);
      bOdd0.fma(sixteen, bEven0).fma(bScale, sum).intoArray(y, 1 * LANES);
      sum = FloatVector.fromArray(F, y, 2 * LANES);
      aOdd1.fma(sixteen, aEven1).fma(aScale, sum).intoArray(y, 2 * LANES);
      sum = FloatVector.fromArray(F, y, 3 * LANES);
      bOdd1.fma(sixteen, bEven1).fma(bScale, sum).intoArray(y, 3 * LANES);
      sum = FloatVector.fromArray(F, y, 4 * LANES);
      aOdd2.fma(sixteen, aEven2).fma(aScale, sum).intoArray(y, 4 * LANES);
      sum = FloatVector.fromArray(F, y, 5 * LANES);
      bOdd2.fma(sixteen, bEven2).fma(bScale, sum).intoArray(y, 5 * LANES);
      sum = FloatVector.fromArray(F, y, 6 * LANES);
      aOdd3.fma(sixteen, aEven3).fma(aScale, sum).intoArray(y, 6 * LANES);
      sum = FloatVector.fromArray(F, y, 7 * LANES);
      bOdd3.fma(sixteen, bEven3).fma(bScale, sum).intoArray(y, 7 * LANES);
    }
  }

  private static void fourK(
      MemorySegment w,
      long at,
      long step,
      int strips,
      float[][] scales,
      float[] x,
      int xAt,
      float[] offsets,
      int first,
      float[] y,
      int to) {
    w = NativeMemory.known(w);
    FloatVector a = FloatVector.fromArray(F, y, to + 0 * LANES);
    FloatVector b = FloatVector.fromArray(F, y, to + 1 * LANES);
    FloatVector c = FloatVector.fromArray(F, y, to + 2 * LANES);
    FloatVector d = FloatVector.fromArray(F, y, to + 3 * LANES);
    float[] scales1 = scales[0];
    float[] scales2 = scales[1];
    int scale = 0;
    IntVector nibble = IntVector.broadcast(I, NIBBLE);
    IntVector lower = IntVector.broadcast(I, LOWER);
    IntVector one = IntVector.broadcast(I, ONE);
    FloatVector sixteen = FloatVector.broadcast(F, 16);
    int i = xAt + first * STRIP;
    for (int s = first; s < first + strips; s++, at += FOUR_K) {
      FloatVector evenOffset = FloatVector.broadcast(F, offsets[3 * s]);
      FloatVector oddOffset = FloatVector.broadcast(F, offsets[3 * s + 1]);
      FloatVector aEven = evenOffset, aOdd = oddOffset;
      FloatVector bEven = evenOffset, bOdd = oddOffset;
      FloatVector cEven = evenOffset, cOdd = oddOffset;
      FloatVector dEven = evenOffset, dOdd = oddOffset;
      for (long p = at; p != at + 4 * STEP; p += STEP) {
        IntVector aQ = IntVector.fromMemorySegment(I, w, p + 0 * VECTOR, LE);
        IntVector bQ = IntVector.fromMemorySegment(I, w, p + 1 * VECTOR, LE);
        IntVector cQ = IntVector.fromMemorySegment(I, w, p + step + 0 * VECTOR, LE);
        IntVector dQ = IntVector.fromMemorySegment(I, w, p + step + 1 * VECTOR, LE);
        for (int k = 0; k < 4; k++, i += 2) {
          FloatVector even = FloatVector.broadcast(F, x[i]);
          FloatVector odd = FloatVector.broadcast(F, x[i + 1]);
          aEven = aQ.and(nibble).or(one).reinterpretAsFloats().fma(even, aEven);
          aOdd = aQ.and(lower).or(one).reinterpretAsFloats().fma(odd, aOdd);
          aQ = aQ.lanewise(ROL, 8);
          bEven = bQ.and(nibble).or(one).reinterpretAsFloats().fma(even, bEven);
          bOdd = bQ.and(lower).or(one).reinterpretAsFloats().fma(odd, bOdd);
          bQ = bQ.lanewise(ROL, 8);
          cEven = cQ.and(nibble).or(one).reinterpretAsFloats().fma(even, cEven);
          cOdd = cQ.and(lower).or(one).reinterpretAsFloats().fma(odd, cOdd);
          cQ = cQ.lanewise(ROL, 8);
          dEven = dQ.and(nibble).or(one).reinterpretAsFloats().fma(even, dEven);
          dOdd = dQ.and(lower).or(one).reinterpretAsFloats().fma(odd, dOdd);
          dQ = dQ.lanewise(ROL, 8);
        }
      }
      FloatVector total = FloatVector.broadcast(F, offsets[3 * s + 2]);
      a = FloatVector.fromArray(F, scales1, scale + 1 * LANES).fma(total, a);
      aEven = aOdd.fma(sixteen, aEven);
      a = FloatVector.fromArray(F, scales1, scale + 0 * LANES).fma(aEven, a);
      b = FloatVector.fromArray(F, scales1, scale + 3 * LANES).fma(total, b);
      bEven = bOdd.fma(sixteen, bEven);
      b = FloatVector.fromArray(F, scales1, scale + 2 * LANES).fma(bEven, b);
      c = FloatVector.fromArray(F, scales2, scale + 1 * LANES).fma(total, c);
      cEven = cOdd.fma(sixteen, cEven);
      c = FloatVector.fromArray(F, scales2, scale + 0 * LANES).fma(cEven, c);
      d = FloatVector.fromArray(F, scales2, scale + 3 * LANES).fma(total, d);
      dEven = dOdd.fma(sixteen, dEven);
      d = FloatVector.fromArray(F, scales2, scale + 2 * LANES).fma(dEven, d);
      scale += 4 * LANES;
    }
    a.intoArray(y, to + 0 * LANES);
    b.intoArray(y, to + 1 * LANES);
    c.intoArray(y, to + 2 * LANES);
    d.intoArray(y, to + 3 * LANES);
  }

  private static void sixK(
      MemorySegment w,
      long at,
      long step,
      int strips,
      float[][] scales,
      float[] x,
      int xAt,
      float[] offsets,
      int first,
      float[] y,
      int to) {
    w = NativeMemory.known(w);
    FloatVector a = FloatVector.fromArray(F, y, to + 0 * LANES);
    FloatVector b = FloatVector.fromArray(F, y, to + 1 * LANES);
    FloatVector c = FloatVector.fromArray(F, y, to + 2 * LANES);
    FloatVector d = FloatVector.fromArray(F, y, to + 3 * LANES);
    float[] scales1 = scales[0];
    float[] scales2 = scales[1];
    int scale = 0;
    IntVector nibble = IntVector.broadcast(I, SIX_NIBBLE);
    IntVector pair = IntVector.broadcast(I, SIX_PAIR);
    IntVector one = IntVector.broadcast(I, ONE);
    int i = xAt + first * STRIP;
    for (int s = first; s < first + strips; s++, at += SIX) {
      for (int half = 0; half < 2; half++) {
        long from = at + half * 3 * STEP;
        FloatVector offset = FloatVector.broadcast(F, offsets[2 * s + half]);
        IntVector aU = IntVector.fromMemorySegment(I, w, from + 0 * VECTOR, LE);
        IntVector bU = IntVector.fromMemorySegment(I, w, from + 1 * VECTOR, LE);
        IntVector cU = IntVector.fromMemorySegment(I, w, from + step + 0 * VECTOR, LE);
        IntVector dU = IntVector.fromMemorySegment(I, w, from + step + 1 * VECTOR, LE);
        FloatVector aSum = offset, bSum = offset, cSum = offset, dSum = offset;
        for (long p = from + STEP; p != from + 3 * STEP; p += STEP) {
          IntVector aQ = IntVector.fromMemorySegment(I, w, p + 0 * VECTOR, LE);
          IntVector bQ = IntVector.fromMemorySegment(I, w, p + 1 * VECTOR, LE);
          IntVector cQ = IntVector.fromMemorySegment(I, w, p + step + 0 * VECTOR, LE);
          IntVector dQ = IntVector.fromMemorySegment(I, w, p + step + 1 * VECTOR, LE);
          for (int k = 0; k < 8; k++, i++) {
            FloatVector z = FloatVector.broadcast(F, x[i]);
            aSum = aQ.and(nibble).or(one).or(aU.and(pair)).reinterpretAsFloats().fma(z, aSum);
            aQ = aQ.lanewise(ROL, 4);
            aU = aU.lanewise(ROL, 2);
            bSum = bQ.and(nibble).or(one).or(bU.and(pair)).reinterpretAsFloats().fma(z, bSum);
            bQ = bQ.lanewise(ROL, 4);
            bU = bU.lanewise(ROL, 2);
            cSum = cQ.and(nibble).or(one).or(cU.and(pair)).reinterpretAsFloats().fma(z, cSum);
            cQ = cQ.lanewise(ROL, 4);
            cU = cU.lanewise(ROL, 2);
            dSum = dQ.and(nibble).or(one).or(dU.and(pair)).reinterpretAsFloats().fma(z, dSum);
            dQ = dQ.lanewise(ROL, 4);
            dU = dU.lanewise(ROL, 2);
          }
        }
        a = FloatVector.fromArray(F, scales1, scale + 0 * LANES).fma(aSum, a);
        b = FloatVector.fromArray(F, scales1, scale + 2 * LANES).fma(bSum, b);
        c = FloatVector.fromArray(F, scales2, scale + 0 * LANES).fma(cSum, c);
        d = FloatVector.fromArray(F, scales2, scale + 2 * LANES).fma(dSum, d);
        scale += 4 * LANES;
      }
    }
    a.intoArray(y, to + 0 * LANES);
    b.intoArray(y, to + 1 * LANES);
    c.intoArray(y, to + 2 * LANES);
    d.intoArray(y, to + 3 * LANES);
  }
}
