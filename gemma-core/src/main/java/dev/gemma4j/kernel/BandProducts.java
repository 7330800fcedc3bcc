package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.RowBands.FOUR;
import static dev.gemma4j.kernel.RowBands.FOUR_K;
import static dev.gemma4j.kernel.RowBands.FOUR_OFFSET;
import static dev.gemma4j.kernel.RowBands.FOUR_SCALE;
import static dev.gemma4j.kernel.RowBands.FOUR_UNIT;
import static dev.gemma4j.kernel.RowBands.LANES;
import static dev.gemma4j.kernel.RowBands.NEXT;
import static dev.gemma4j.kernel.RowBands.NIBBLE;
import static dev.gemma4j.kernel.RowBands.ONE;
import static dev.gemma4j.kernel.RowBands.ROTATES;
import static dev.gemma4j.kernel.RowBands.ROWS;
import static dev.gemma4j.kernel.RowBands.SIX;
import static dev.gemma4j.kernel.RowBands.SIX_NIBBLE;
import static dev.gemma4j.kernel.RowBands.SIX_OFFSET;
import static dev.gemma4j.kernel.RowBands.SIX_PAIR;
import static dev.gemma4j.kernel.RowBands.SIX_SCALE;
import static dev.gemma4j.kernel.RowBands.STEP;
import static dev.gemma4j.kernel.RowBands.STRIP;
import static dev.gemma4j.kernel.RowBands.STRIPS;
import static dev.gemma4j.kernel.RowBands.VECTOR;
import static dev.gemma4j.kernel.VectorDot.finiteHalf;
import static dev.gemma4j.kernel.VectorKernels.F;
import static dev.gemma4j.kernel.VectorKernels.FEW_REGISTERS;
import static dev.gemma4j.kernel.VectorKernels.I;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.ROL;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/**
 * Products of {@link RowBands} with a few vectors: weights are decoded in registers and meet up to
 * eight rows of the batch there. There, and in {@link Panel} too, an element is the same sum over
 * the same decoded weights from the first column to the last, to the last bit; a row or two ({@link
 * BandDot}) sum integers and apply scales afterwards, which is faster.
 *
 * <p>Written out: a loop over the accumulators would keep them in memory. One column a turn: C2
 * moves loads to the front, and those of two columns would leave no registers for the sums. The
 * scales are made ready elsewhere, since C2 inlines only so much into one method.
 */
final class BandProducts {
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

  private BandProducts() {}

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
    // Rows of the batch that one pass over a band serves.
    int tile = (batch <= 4 || FEW_REGISTERS) && w.type() == TensorType.Q4_0 ? 4 : 8;
    float[] sums = scratch.scores(tile * ROWS); // [tile, ROWS]
    float[] scales = scratch.input(RowBands.SCALES);
    for (int b = 0, n; b < batch; b += n) {
      n = Math.min(tile, batch - b);
      if (n <= dots(w)) {
        n = dot(w, from, to, x, b * xStride, xStride, n, y, b * yStride, yStride, scratch);
        continue;
      }
      float[] input = columns(x, b * xStride, xStride, n, tile, w.cols(), scratch);
      for (int r = from; r < to; r += ROWS) {
        Arrays.fill(sums, 0, tile * ROWS, 0);
        product(w, r, input, tile, scales, sums);
        int rows = Math.min(ROWS, to - r);
        for (int j = 0; j < n; j++) {
          System.arraycopy(sums, j * ROWS, y, (b + j) * yStride + r, rows);
        }
      }
    }
  }

  /**
   * So many rows that are left of a batch take less time by one, two or four than all in a tile:
   * scales are applied to sums, not to weights.
   */
  private static int dots(Matrix w) {
    if (!ROTATES) {
      return 1;
    }
    return switch (w.type()) {
      case Q4_0 -> 6;
      case Q4_K -> 2;
      default -> 1;
    };
  }

  /** One, two or four rows; returns how many. */
  private static int dot(
      Matrix w,
      int from,
      int to,
      float[] x,
      int xAt,
      int xStride,
      int left,
      float[] y,
      int yAt,
      int yStride,
      Scratch scratch) {
    if (!ROTATES) {
      ShiftedBandDot.matvec(w, from, to, x, xAt, y, yAt, scratch);
      return 1;
    }
    if (left == 1 || w.type() != TensorType.Q4_0) {
      BandDot.matvec(w, from, to, x, xAt, y, yAt, scratch);
      return 1;
    }
    if (left >= 4) {
      BandDot.four(w, from, to, x, xAt, xStride, y, yAt, yStride, scratch);
      return 4;
    }
    BandDot.pair(w, from, to, x, xAt, xStride, y, yAt, yStride, scratch);
    return 2;
  }

  /** n rows of x as [cols, tile], the rest zero. */
  private static float[] columns(
      float[] x, int first, int xStride, int n, int tile, int cols, Scratch scratch) {
    float[] columns = scratch.panel(cols * tile);
    for (int k = 0; k < cols; k++) {
      for (int j = 0; j < tile; j++) {
        columns[k * tile + j] = j < n ? x[first + j * xStride + k] : 0;
      }
    }
    return columns;
  }

  private static void product(Matrix m, int row, float[] x, int tile, float[] scales, float[] y) {
    MemorySegment w = m.data();
    int strips = m.cols() / STRIP;
    if (m.type() == TensorType.Q4_0) {
      long at = RowBands.stripAt(m, row, 0);
      if (tile == 4) {
        fourx4(w, at, strips, x, y);
      } else {
        fourx8(w, at, strips, x, y);
      }
      return;
    }
    for (int s = 0; s < strips; s += STRIPS) {
      RowBands.scales(m, row, s, scales);
      long at = RowBands.stripAt(m, row, s);
      int i = s * STRIP * tile;
      if (m.type() == TensorType.Q4_K) {
        fourKx8(w, at, STRIPS, scales, x, i, y);
      } else {
        sixKx8(w, at, STRIPS, scales, x, i, y);
      }
    }
  }

  private static void fourx4(MemorySegment w, long at, int strips, float[] x, float[] y) {
    w = NativeMemory.known(w);
    int i = 0;
    FloatVector a0 = FloatVector.fromArray(F, y, 0 * LANES);
    FloatVector b0 = FloatVector.fromArray(F, y, 1 * LANES);
    FloatVector a1 = FloatVector.fromArray(F, y, 2 * LANES);
    FloatVector b1 = FloatVector.fromArray(F, y, 3 * LANES);
    FloatVector a2 = FloatVector.fromArray(F, y, 4 * LANES);
    FloatVector b2 = FloatVector.fromArray(F, y, 5 * LANES);
    FloatVector a3 = FloatVector.fromArray(F, y, 6 * LANES);
    FloatVector b3 = FloatVector.fromArray(F, y, 7 * LANES);
    for (int s = 0; s < strips; s++, at += FOUR) {
      IntVector scales = IntVector.fromMemorySegment(I, w, at + 4 * STEP, LE);
      FloatVector aUnit = finiteHalf(scales.lanewise(LSHL, 16));
      FloatVector aScale = aUnit.mul(FOUR_SCALE);
      FloatVector aOffset = aUnit.mul(FOUR_OFFSET);
      FloatVector bUnit = finiteHalf(scales);
      FloatVector bScale = bUnit.mul(FOUR_SCALE);
      FloatVector bOffset = bUnit.mul(FOUR_OFFSET);
      for (int j = 0; j < 4; j++) {
        IntVector a = IntVector.fromMemorySegment(I, w, at + j * STEP + 0 * VECTOR, LE);
        IntVector b = IntVector.fromMemorySegment(I, w, at + j * STEP + 1 * VECTOR, LE);
        for (int k = 0; k < 8; k++, i += 4) {
          IntVector aq = a.and(NIBBLE);
          FloatVector af =
              ROTATES ? aq.or(ONE).reinterpretAsFloats() : (FloatVector) aq.convert(I2F, 0);
          FloatVector aw = af.fma(aScale, aOffset);
          IntVector bq = b.and(NIBBLE);
          FloatVector bf =
              ROTATES ? bq.or(ONE).reinterpretAsFloats() : (FloatVector) bq.convert(I2F, 0);
          FloatVector bw = bf.fma(bScale, bOffset);
          FloatVector z = FloatVector.broadcast(F, x[i]);
          a0 = aw.fma(z, a0);
          b0 = bw.fma(z, b0);
          z = FloatVector.broadcast(F, x[i + 1]);
          a1 = aw.fma(z, a1);
          b1 = bw.fma(z, b1);
          z = FloatVector.broadcast(F, x[i + 2]);
          a2 = aw.fma(z, a2);
          b2 = bw.fma(z, b2);
          z = FloatVector.broadcast(F, x[i + 3]);
          a3 = aw.fma(z, a3);
          b3 = bw.fma(z, b3);
          a = a.lanewise(NEXT, 4);
          b = b.lanewise(NEXT, 4);
        }
      }
    }
    a0.intoArray(y, 0 * LANES);
    b0.intoArray(y, 1 * LANES);
    a1.intoArray(y, 2 * LANES);
    b1.intoArray(y, 3 * LANES);
    a2.intoArray(y, 4 * LANES);
    b2.intoArray(y, 5 * LANES);
    a3.intoArray(y, 6 * LANES);
    b3.intoArray(y, 7 * LANES);
  }

  private static void fourx8(MemorySegment w, long at, int strips, float[] x, float[] y) {
    w = NativeMemory.known(w);
    int i = 0;
    FloatVector a0 = FloatVector.fromArray(F, y, 0 * LANES);
    FloatVector b0 = FloatVector.fromArray(F, y, 1 * LANES);
    FloatVector a1 = FloatVector.fromArray(F, y, 2 * LANES);
    FloatVector b1 = FloatVector.fromArray(F, y, 3 * LANES);
    FloatVector a2 = FloatVector.fromArray(F, y, 4 * LANES);
    FloatVector b2 = FloatVector.fromArray(F, y, 5 * LANES);
    FloatVector a3 = FloatVector.fromArray(F, y, 6 * LANES);
    FloatVector b3 = FloatVector.fromArray(F, y, 7 * LANES);
    FloatVector a4 = FloatVector.fromArray(F, y, 8 * LANES);
    FloatVector b4 = FloatVector.fromArray(F, y, 9 * LANES);
    FloatVector a5 = FloatVector.fromArray(F, y, 10 * LANES);
    FloatVector b5 = FloatVector.fromArray(F, y, 11 * LANES);
    FloatVector a6 = FloatVector.fromArray(F, y, 12 * LANES);
    FloatVector b6 = FloatVector.fromArray(F, y, 13 * LANES);
    FloatVector a7 = FloatVector.fromArray(F, y, 14 * LANES);
    FloatVector b7 = FloatVector.fromArray(F, y, 15 * LANES);
    for (int s = 0; s < strips; s++, at += FOUR) {
      IntVector scales = IntVector.fromMemorySegment(I, w, at + 4 * STEP, LE);
      FloatVector aUnit = finiteHalf(scales.lanewise(LSHL, 16));
      FloatVector aScale = aUnit.mul(FOUR_SCALE);
      FloatVector aOffset = aUnit.mul(FOUR_OFFSET);
      FloatVector bUnit = finiteHalf(scales);
      FloatVector bScale = bUnit.mul(FOUR_SCALE);
      FloatVector bOffset = bUnit.mul(FOUR_OFFSET);
      for (int j = 0; j < 4; j++) {
        IntVector a = IntVector.fromMemorySegment(I, w, at + j * STEP + 0 * VECTOR, LE);
        IntVector b = IntVector.fromMemorySegment(I, w, at + j * STEP + 1 * VECTOR, LE);
        for (int k = 0; k < 8; k++, i += 8) {
          IntVector aq = a.and(NIBBLE);
          FloatVector af =
              ROTATES ? aq.or(ONE).reinterpretAsFloats() : (FloatVector) aq.convert(I2F, 0);
          FloatVector aw = af.fma(aScale, aOffset);
          IntVector bq = b.and(NIBBLE);
          FloatVector bf =
              ROTATES ? bq.or(ONE).reinterpretAsFloats() : (FloatVector) bq.convert(I2F, 0);
          FloatVector bw = bf.fma(bScale, bOffset);
          FloatVector z = FloatVector.broadcast(F, x[i]);
          a0 = aw.fma(z, a0);
          b0 = bw.fma(z, b0);
          z = FloatVector.broadcast(F, x[i + 1]);
          a1 = aw.fma(z, a1);
          b1 = bw.fma(z, b1);
          z = FloatVector.broadcast(F, x[i + 2]);
          a2 = aw.fma(z, a2);
          b2 = bw.fma(z, b2);
          z = FloatVector.broadcast(F, x[i + 3]);
          a3 = aw.fma(z, a3);
          b3 = bw.fma(z, b3);
          z = FloatVector.broadcast(F, x[i + 4]);
          a4 = aw.fma(z, a4);
          b4 = bw.fma(z, b4);
          z = FloatVector.broadcast(F, x[i + 5]);
          a5 = aw.fma(z, a5);
          b5 = bw.fma(z, b5);
          z = FloatVector.broadcast(F, x[i + 6]);
          a6 = aw.fma(z, a6);
          b6 = bw.fma(z, b6);
          z = FloatVector.broadcast(F, x[i + 7]);
          a7 = aw.fma(z, a7);
          b7 = bw.fma(z, b7);
          a = a.lanewise(NEXT, 4);
          b = b.lanewise(NEXT, 4);
        }
      }
    }
    a0.intoArray(y, 0 * LANES);
    b0.intoArray(y, 1 * LANES);
    a1.intoArray(y, 2 * LANES);
    b1.intoArray(y, 3 * LANES);
    a2.intoArray(y, 4 * LANES);
    b2.intoArray(y, 5 * LANES);
    a3.intoArray(y, 6 * LANES);
    b3.intoArray(y, 7 * LANES);
    a4.intoArray(y, 8 * LANES);
    b4.intoArray(y, 9 * LANES);
    a5.intoArray(y, 10 * LANES);
    b5.intoArray(y, 11 * LANES);
    a6.intoArray(y, 12 * LANES);
    b6.intoArray(y, 13 * LANES);
    a7.intoArray(y, 14 * LANES);
    b7.intoArray(y, 15 * LANES);
  }

  private static void fourKx8(
      MemorySegment w, long at, int strips, float[] scales, float[] x, int i, float[] y) {
    w = NativeMemory.known(w);
    FloatVector a0 = FloatVector.fromArray(F, y, 0 * LANES);
    FloatVector b0 = FloatVector.fromArray(F, y, 1 * LANES);
    FloatVector a1 = FloatVector.fromArray(F, y, 2 * LANES);
    FloatVector b1 = FloatVector.fromArray(F, y, 3 * LANES);
    FloatVector a2 = FloatVector.fromArray(F, y, 4 * LANES);
    FloatVector b2 = FloatVector.fromArray(F, y, 5 * LANES);
    FloatVector a3 = FloatVector.fromArray(F, y, 6 * LANES);
    FloatVector b3 = FloatVector.fromArray(F, y, 7 * LANES);
    FloatVector a4 = FloatVector.fromArray(F, y, 8 * LANES);
    FloatVector b4 = FloatVector.fromArray(F, y, 9 * LANES);
    FloatVector a5 = FloatVector.fromArray(F, y, 10 * LANES);
    FloatVector b5 = FloatVector.fromArray(F, y, 11 * LANES);
    FloatVector a6 = FloatVector.fromArray(F, y, 12 * LANES);
    FloatVector b6 = FloatVector.fromArray(F, y, 13 * LANES);
    FloatVector a7 = FloatVector.fromArray(F, y, 14 * LANES);
    FloatVector b7 = FloatVector.fromArray(F, y, 15 * LANES);
    int scale = 0;
    for (int s = 0; s < strips; s++, at += FOUR_K) {
      FloatVector aScale = FloatVector.fromArray(F, scales, scale + 0 * LANES).mul(FOUR_UNIT);
      FloatVector aOffset = FloatVector.fromArray(F, scales, scale + 1 * LANES);
      FloatVector bScale = FloatVector.fromArray(F, scales, scale + 2 * LANES).mul(FOUR_UNIT);
      FloatVector bOffset = FloatVector.fromArray(F, scales, scale + 3 * LANES);
      scale += 4 * LANES;
      for (int j = 0; j < 4; j++) {
        IntVector a = IntVector.fromMemorySegment(I, w, at + j * STEP + 0 * VECTOR, LE);
        IntVector b = IntVector.fromMemorySegment(I, w, at + j * STEP + 1 * VECTOR, LE);
        for (int k = 0; k < 8; k++, i += 8) {
          FloatVector aw = ((FloatVector) a.and(NIBBLE).convert(I2F, 0)).fma(aScale, aOffset);
          FloatVector bw = ((FloatVector) b.and(NIBBLE).convert(I2F, 0)).fma(bScale, bOffset);
          FloatVector z = FloatVector.broadcast(F, x[i]);
          a0 = aw.fma(z, a0);
          b0 = bw.fma(z, b0);
          z = FloatVector.broadcast(F, x[i + 1]);
          a1 = aw.fma(z, a1);
          b1 = bw.fma(z, b1);
          z = FloatVector.broadcast(F, x[i + 2]);
          a2 = aw.fma(z, a2);
          b2 = bw.fma(z, b2);
          z = FloatVector.broadcast(F, x[i + 3]);
          a3 = aw.fma(z, a3);
          b3 = bw.fma(z, b3);
          z = FloatVector.broadcast(F, x[i + 4]);
          a4 = aw.fma(z, a4);
          b4 = bw.fma(z, b4);
          z = FloatVector.broadcast(F, x[i + 5]);
          a5 = aw.fma(z, a5);
          b5 = bw.fma(z, b5);
          z = FloatVector.broadcast(F, x[i + 6]);
          a6 = aw.fma(z, a6);
          b6 = bw.fma(z, b6);
          z = FloatVector.broadcast(F, x[i + 7]);
          a7 = aw.fma(z, a7);
          b7 = bw.fma(z, b7);
          a = a.lanewise(NEXT, 4);
          b = b.lanewise(NEXT, 4);
        }
      }
    }
    a0.intoArray(y, 0 * LANES);
    b0.intoArray(y, 1 * LANES);
    a1.intoArray(y, 2 * LANES);
    b1.intoArray(y, 3 * LANES);
    a2.intoArray(y, 4 * LANES);
    b2.intoArray(y, 5 * LANES);
    a3.intoArray(y, 6 * LANES);
    b3.intoArray(y, 7 * LANES);
    a4.intoArray(y, 8 * LANES);
    b4.intoArray(y, 9 * LANES);
    a5.intoArray(y, 10 * LANES);
    b5.intoArray(y, 11 * LANES);
    a6.intoArray(y, 12 * LANES);
    b6.intoArray(y, 13 * LANES);
    a7.intoArray(y, 14 * LANES);
    b7.intoArray(y, 15 * LANES);
  }

  private static void sixKx8(
      MemorySegment w, long at, int strips, float[] scales, float[] x, int i, float[] y) {
    w = NativeMemory.known(w);
    FloatVector a0 = FloatVector.fromArray(F, y, 0 * LANES);
    FloatVector b0 = FloatVector.fromArray(F, y, 1 * LANES);
    FloatVector a1 = FloatVector.fromArray(F, y, 2 * LANES);
    FloatVector b1 = FloatVector.fromArray(F, y, 3 * LANES);
    FloatVector a2 = FloatVector.fromArray(F, y, 4 * LANES);
    FloatVector b2 = FloatVector.fromArray(F, y, 5 * LANES);
    FloatVector a3 = FloatVector.fromArray(F, y, 6 * LANES);
    FloatVector b3 = FloatVector.fromArray(F, y, 7 * LANES);
    FloatVector a4 = FloatVector.fromArray(F, y, 8 * LANES);
    FloatVector b4 = FloatVector.fromArray(F, y, 9 * LANES);
    FloatVector a5 = FloatVector.fromArray(F, y, 10 * LANES);
    FloatVector b5 = FloatVector.fromArray(F, y, 11 * LANES);
    FloatVector a6 = FloatVector.fromArray(F, y, 12 * LANES);
    FloatVector b6 = FloatVector.fromArray(F, y, 13 * LANES);
    FloatVector a7 = FloatVector.fromArray(F, y, 14 * LANES);
    FloatVector b7 = FloatVector.fromArray(F, y, 15 * LANES);
    int scale = 0;
    for (int s = 0; s < strips; s++, at += SIX) {
      for (int half = 0; half < 2; half++) {
        FloatVector aUnit = FloatVector.fromArray(F, scales, scale + 0 * LANES);
        FloatVector aScale = aUnit.mul(SIX_SCALE);
        FloatVector aOffset = aUnit.mul(SIX_OFFSET);
        FloatVector bUnit = FloatVector.fromArray(F, scales, scale + 2 * LANES);
        FloatVector bScale = bUnit.mul(SIX_SCALE);
        FloatVector bOffset = bUnit.mul(SIX_OFFSET);
        scale += 4 * LANES;
        IntVector aPairs = IntVector.fromMemorySegment(I, w, at + half * 3 * STEP + 0 * VECTOR, LE);
        aPairs = ROTATES ? aPairs : aPairs.lanewise(ROL, 4);
        IntVector bPairs = IntVector.fromMemorySegment(I, w, at + half * 3 * STEP + 1 * VECTOR, LE);
        bPairs = ROTATES ? bPairs : bPairs.lanewise(ROL, 4);
        for (int j = 0; j < 2; j++) {
          IntVector a =
              IntVector.fromMemorySegment(I, w, at + (half * 3 + 1 + j) * STEP + 0 * VECTOR, LE);
          IntVector b =
              IntVector.fromMemorySegment(I, w, at + (half * 3 + 1 + j) * STEP + 1 * VECTOR, LE);
          IntVector aU = aPairs;
          IntVector bU = bPairs;
          for (int k = 0; k < 8; k++, i += 8) {
            IntVector aq = a.and(SIX_NIBBLE).or(aU.and(SIX_PAIR));
            FloatVector af =
                ROTATES ? aq.or(ONE).reinterpretAsFloats() : (FloatVector) aq.convert(I2F, 0);
            FloatVector aw = af.fma(aScale, aOffset);
            IntVector bq = b.and(SIX_NIBBLE).or(bU.and(SIX_PAIR));
            FloatVector bf =
                ROTATES ? bq.or(ONE).reinterpretAsFloats() : (FloatVector) bq.convert(I2F, 0);
            FloatVector bw = bf.fma(bScale, bOffset);
            FloatVector z = FloatVector.broadcast(F, x[i]);
            a0 = aw.fma(z, a0);
            b0 = bw.fma(z, b0);
            z = FloatVector.broadcast(F, x[i + 1]);
            a1 = aw.fma(z, a1);
            b1 = bw.fma(z, b1);
            z = FloatVector.broadcast(F, x[i + 2]);
            a2 = aw.fma(z, a2);
            b2 = bw.fma(z, b2);
            z = FloatVector.broadcast(F, x[i + 3]);
            a3 = aw.fma(z, a3);
            b3 = bw.fma(z, b3);
            z = FloatVector.broadcast(F, x[i + 4]);
            a4 = aw.fma(z, a4);
            b4 = bw.fma(z, b4);
            z = FloatVector.broadcast(F, x[i + 5]);
            a5 = aw.fma(z, a5);
            b5 = bw.fma(z, b5);
            z = FloatVector.broadcast(F, x[i + 6]);
            a6 = aw.fma(z, a6);
            b6 = bw.fma(z, b6);
            z = FloatVector.broadcast(F, x[i + 7]);
            a7 = aw.fma(z, a7);
            b7 = bw.fma(z, b7);
            a = a.lanewise(NEXT, 4);
            aU = aU.lanewise(NEXT, 2);
            b = b.lanewise(NEXT, 4);
            bU = bU.lanewise(NEXT, 2);
          }
          aPairs = ROTATES ? aU : aPairs.lanewise(ROL, 16);
          bPairs = ROTATES ? bU : bPairs.lanewise(ROL, 16);
        }
      }
    }
    a0.intoArray(y, 0 * LANES);
    b0.intoArray(y, 1 * LANES);
    a1.intoArray(y, 2 * LANES);
    b1.intoArray(y, 3 * LANES);
    a2.intoArray(y, 4 * LANES);
    b2.intoArray(y, 5 * LANES);
    a3.intoArray(y, 6 * LANES);
    b3.intoArray(y, 7 * LANES);
    a4.intoArray(y, 8 * LANES);
    b4.intoArray(y, 9 * LANES);
    a5.intoArray(y, 10 * LANES);
    b5.intoArray(y, 11 * LANES);
    a6.intoArray(y, 12 * LANES);
    b6.intoArray(y, 13 * LANES);
    a7.intoArray(y, 14 * LANES);
    b7.intoArray(y, 15 * LANES);
  }
}
