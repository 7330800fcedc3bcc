package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.VectorKernels.F;
import static dev.gemma4j.kernel.VectorKernels.I;
import static dev.gemma4j.kernel.VectorKernels.S;
import static dev.gemma4j.kernel.VectorKernels.SHORT;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.B2F;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.S2I;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorShuffle;
import jdk.incubator.vector.VectorSpecies;

/**
 * Matrix times one vector, straight from the stored weights: a decode step is bound by the memory's
 * bandwidth, so each row is read once, from front to back, and decoded in registers.
 *
 * <p>Four rows at a time, from the quarters of all rows: they share what is loaded of x, which for
 * long rows is more than the first-level cache holds, and a core reads memory faster in several
 * places far apart than in one. Neighbouring rows would be slower than one alone.
 *
 * <p>The loops are not counted ones to C2 (their bound is {@code i + step <= cols}), so that it
 * does not unroll them: unrolled, they are faster from the cache, but a third slower from memory.
 * Q8_0's is too long to be unrolled, and counted, so that C2 checks bounds before the loop and not
 * at each of its loads, which are many and short: 80 instructions for four blocks instead of 200.
 */
final class VectorDot {
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final int LANES = F.length();

  /** As many bytes as F has lanes, where the machine's vectors are wide enough for that shape. */
  static final boolean BYTES_WIDEN = F.vectorBitSize() >= 256;

  static final VectorSpecies<Byte> B =
      BYTES_WIDEN
          ? VectorSpecies.of(byte.class, VectorShape.forBitSize(F.vectorBitSize() / 4))
          : ByteVector.SPECIES_64;

  /** Vectors of floats that one of B becomes. */
  static final int PARTS = B.length() / LANES;

  // A half's sign, exponent and mantissa moved to their places in a float; multiplying by 2^112
  // rebiases the exponent, and subnormal halves come out right too. Infinity and NaN come out as
  // 65536 and more: another 2^112 makes infinity of these, and of nothing else.
  static final int HALF_BITS = 0x8fffe000;
  static final float HALF_REBIAS = 0x1p112f;

  /**
   * The even lanes of two vectors, and the odd ones; those of the second are marked by wrapping.
   */
  static final VectorShuffle<Float> EVEN =
      VectorShuffle.fromOp(F, i -> 2 * i < LANES ? 2 * i : 2 * i - 2 * LANES);

  static final VectorShuffle<Float> ODD =
      VectorShuffle.fromOp(F, i -> 2 * i < LANES ? 2 * i + 1 : 2 * i + 1 - 2 * LANES);

  /** Every half as a float. */
  private static final float[] HALVES = new float[1 << 16];

  static {
    for (int i = 0; i < HALVES.length; i++) {
      HALVES[i] = Float.float16ToFloat((short) i);
    }
  }

  private VectorDot() {}

  /** A method for each type: C2 inlines only so much into one. */
  static void matvec(Matrix w, int from, int to, float[] x, float[] y, Scratch scratch) {
    float[] sums = scratch.scores(4 * LANES);
    switch (w.type()) {
      case F32 -> f32(w, from, to, x, y, sums);
      case BF16 -> bf16(w, from, to, x, splitPairs(x, w.cols(), scratch), y, sums);
      case F16 -> f16(w, from, to, x, splitPairs(x, w.cols(), scratch), y, sums);
      case Q8_0 -> q8(w, from, to, x, y, sums, scratch);
      default -> new ScalarKernels().matmul(w, from, to, x, 0, 1, y, 0, scratch);
    }
  }

  private static void f32(Matrix w, int from, int to, float[] x, float[] y, float[] sums) {
    int d = (to - from) / 4;
    for (int turn = 0; turn < turns(from, to, 4); turn++) {
      f32Rows(w, first(from, turn, d, 4), turn < d ? d : 0, x, y, sums);
    }
  }

  private static void bf16(
      Matrix w, int from, int to, float[] x, float[] split, float[] y, float[] sums) {
    int d = (to - from) / 4;
    for (int turn = 0; turn < turns(from, to, 4); turn++) {
      bf16Rows(w, first(from, turn, d, 4), turn < d ? d : 0, split, x, y, sums);
    }
  }

  /** Two rows at a time: four would be more than C2 inlines into one method. */
  private static void f16(
      Matrix w, int from, int to, float[] x, float[] split, float[] y, float[] sums) {
    int d = (to - from) / 2;
    for (int turn = 0; turn < turns(from, to, 2); turn++) {
      f16Rows(w, first(from, turn, d, 2), turn < d ? d : 0, split, x, y, sums);
    }
  }

  private static void q8(
      Matrix w, int from, int to, float[] x, float[] y, float[] sums, Scratch scratch) {
    if (!BYTES_WIDEN) {
      float[] split = splitQuads(x, w.cols(), scratch);
      int d = (to - from) / 2;
      for (int turn = 0; turn < turns(from, to, 2); turn++) {
        q8IntRows(w, first(from, turn, d, 2), turn < d ? d : 0, split, y, sums);
      }
      return;
    }
    int d = (to - from) / 4;
    for (int turn = 0; turn < turns(from, to, 4); turn++) {
      q8Rows(w, first(from, turn, d, 4), turn < d ? d : 0, x, y, sums);
    }
  }

  /** One for each {@code n} rows, and one for each row that is left, which is taken n times. */
  static int turns(int from, int to, int n) {
    return (to - from) / n + (to - from) % n;
  }

  /**
   * The first of a turn's {@code n} rows, which are {@code d} apart. Turns alternate between two
   * places, so that there is more time to fetch ahead in each.
   */
  static int first(int from, int turn, int d, int n) {
    if (turn >= d) {
      return from + turn + (n - 1) * d;
    }
    int half = d / 2;
    return from + (turn < 2 * half ? turn / 2 + turn % 2 * half : turn);
  }

  /** Rows r, r + d, r + 2 d and r + 3 d. */
  private static void f32Rows(Matrix m, int r, int d, float[] x, float[] y, float[] sums) {
    MemorySegment w = NativeMemory.known(m.data());
    int cols = m.cols();
    long step = d * m.rowBytes();
    long at = r * m.rowBytes();
    faultsThrow(w, at);
    FloatVector s0 = FloatVector.zero(F), s1 = s0, s2 = s0, s3 = s0;
    int i = 0;
    for (; i + LANES <= cols; i += LANES, at += F.vectorByteSize()) {
      FloatVector z = FloatVector.fromArray(F, x, i);
      s0 = FloatVector.fromMemorySegment(F, w, at, LE).fma(z, s0);
      s1 = FloatVector.fromMemorySegment(F, w, at + step, LE).fma(z, s1);
      s2 = FloatVector.fromMemorySegment(F, w, at + 2 * step, LE).fma(z, s2);
      s3 = FloatVector.fromMemorySegment(F, w, at + 3 * step, LE).fma(z, s3);
    }
    s0.intoArray(sums, 0 * LANES);
    s1.intoArray(sums, 1 * LANES);
    s2.intoArray(sums, 2 * LANES);
    s3.intoArray(sums, 3 * LANES);
    sum(m, r, d, 4, i, x, sums, y);
  }

  /**
   * Rearranges x so that each run of 2 * LANES elements holds its even elements, then its odd ones.
   * An int lane loaded from 16-bit weights holds such a pair; shift and mask part it without a
   * shuffle.
   */
  private static float[] splitPairs(float[] x, int cols, Scratch scratch) {
    float[] split = scratch.panel(cols);
    for (int i = 0; i + 2 * LANES <= cols; i += 2 * LANES) {
      FloatVector first = FloatVector.fromArray(F, x, i);
      FloatVector second = FloatVector.fromArray(F, x, i + LANES);
      first.rearrange(EVEN, second).intoArray(split, i);
      first.rearrange(ODD, second).intoArray(split, i + LANES);
    }
    return split;
  }

  /** The same for fours, as an int lane of bytes holds them. */
  private static float[] splitQuads(float[] x, int cols, Scratch scratch) {
    float[] split = scratch.panel(cols);
    for (int i = 0; i < cols; i += 4 * LANES) {
      for (int j = 0; j < LANES; j++) {
        for (int k = 0; k < 4; k++) {
          split[i + k * LANES + j] = x[i + 4 * j + k];
        }
      }
    }
    return split;
  }

  private static void bf16Rows(
      Matrix m, int r, int d, float[] split, float[] x, float[] y, float[] sums) {
    MemorySegment w = NativeMemory.known(m.data());
    int cols = m.cols();
    long step = d * m.rowBytes();
    long at = r * m.rowBytes();
    faultsThrow(w, at);
    FloatVector even0 = FloatVector.zero(F), even1 = even0, even2 = even0, even3 = even0;
    FloatVector odd0 = even0, odd1 = even0, odd2 = even0, odd3 = even0;
    int i = 0;
    for (; i + 2 * LANES <= cols; i += 2 * LANES, at += I.vectorByteSize()) {
      FloatVector even = FloatVector.fromArray(F, split, i);
      FloatVector odd = FloatVector.fromArray(F, split, i + LANES);
      IntVector p0 = IntVector.fromMemorySegment(I, w, at, LE);
      even0 = p0.lanewise(LSHL, 16).reinterpretAsFloats().fma(even, even0);
      odd0 = p0.and(0xffff0000).reinterpretAsFloats().fma(odd, odd0);
      IntVector p1 = IntVector.fromMemorySegment(I, w, at + step, LE);
      even1 = p1.lanewise(LSHL, 16).reinterpretAsFloats().fma(even, even1);
      odd1 = p1.and(0xffff0000).reinterpretAsFloats().fma(odd, odd1);
      IntVector p2 = IntVector.fromMemorySegment(I, w, at + 2 * step, LE);
      even2 = p2.lanewise(LSHL, 16).reinterpretAsFloats().fma(even, even2);
      odd2 = p2.and(0xffff0000).reinterpretAsFloats().fma(odd, odd2);
      IntVector p3 = IntVector.fromMemorySegment(I, w, at + 3 * step, LE);
      even3 = p3.lanewise(LSHL, 16).reinterpretAsFloats().fma(even, even3);
      odd3 = p3.and(0xffff0000).reinterpretAsFloats().fma(odd, odd3);
    }
    even0.add(odd0).intoArray(sums, 0 * LANES);
    even1.add(odd1).intoArray(sums, 1 * LANES);
    even2.add(odd2).intoArray(sums, 2 * LANES);
    even3.add(odd3).intoArray(sums, 3 * LANES);
    sum(m, r, d, 4, i, x, sums, y);
  }

  /** Rows r and r + d. */
  private static void f16Rows(
      Matrix m, int r, int d, float[] split, float[] x, float[] y, float[] sums) {
    MemorySegment w = m.data(); // known, the loop takes 6 % longer, and it is short enough without
    int cols = m.cols();
    long step = d * m.rowBytes();
    long at = r * m.rowBytes();
    faultsThrow(w, at);
    FloatVector even0 = FloatVector.zero(F), even1 = even0, odd0 = even0, odd1 = even0;
    int i = 0;
    for (; i + 2 * LANES <= cols; i += 2 * LANES, at += I.vectorByteSize()) {
      FloatVector even = FloatVector.fromArray(F, split, i);
      FloatVector odd = FloatVector.fromArray(F, split, i + LANES);
      IntVector p0 = IntVector.fromMemorySegment(I, w, at, LE);
      even0 = half(p0.lanewise(LSHL, 16)).fma(even, even0);
      odd0 = half(p0).fma(odd, odd0);
      IntVector p1 = IntVector.fromMemorySegment(I, w, at + step, LE);
      even1 = half(p1.lanewise(LSHL, 16)).fma(even, even1);
      odd1 = half(p1).fma(odd, odd1);
    }
    even0.add(odd0).intoArray(sums, 0 * LANES);
    even1.add(odd1).intoArray(sums, 1 * LANES);
    sum(m, r, d, 2, i, x, sums, y);
  }

  /** The sums of n rows' lanes, and of their products from column {@code done} on. */
  private static void sum(
      Matrix m, int r, int d, int n, int done, float[] x, float[] sums, float[] y) {
    for (int j = 0; j < n; j++) {
      int row = r + j * d;
      float sum = VectorKernels.sum(sums, j * LANES);
      for (int i = done; i < m.cols(); i++) {
        sum = Math.fma(weight(m, row, i), x[i], sum);
      }
      y[row] = sum;
    }
  }

  /**
   * An ordinary read, for methods whose others are all of vectors: HotSpot makes an {@link
   * InternalError} of a fault, as when a mapped file was shortened, only in methods that have one.
   * Elsewhere the process ends.
   */
  static void faultsThrow(MemorySegment w, long at) {
    w.get(ValueLayout.JAVA_BYTE, at);
  }

  /** One weight of a type without blocks. */
  static float weight(Matrix m, int row, int column) {
    long at = row * m.rowBytes() + m.type().byteSize(column);
    return switch (m.type()) {
      case F32 -> m.data().get(ValueLayout.JAVA_FLOAT_UNALIGNED, at);
      case F16 -> Float.float16ToFloat(m.data().get(SHORT, at));
      default -> Float.intBitsToFloat(m.data().get(SHORT, at) << 16);
    };
  }

  /** The halves in the upper 16 bits of each lane as floats; a NaN is infinite. */
  static FloatVector half(IntVector bits) {
    return rebias(bits.lanewise(ASHR, 3).and(HALF_BITS).reinterpretAsFloats());
  }

  private static FloatVector rebias(FloatVector half) {
    return half.mul(HALF_REBIAS).mul(HALF_REBIAS).mul(1 / HALF_REBIAS);
  }

  /** Halves as floats; a NaN is infinite. */
  static FloatVector halves(ShortVector halves) {
    IntVector half = (IntVector) halves.convertShape(S2I, I, 0);
    return rebias(half.lanewise(LSHL, 13).and(HALF_BITS).reinterpretAsFloats());
  }

  /** {@link #half} of scales, which are finite in a packed matrix. */
  static FloatVector finiteHalf(IntVector bits) {
    return bits.lanewise(ASHR, 3).and(HALF_BITS).reinterpretAsFloats().mul(HALF_REBIAS);
  }

  /** Those that lie there; not in a file, see {@link #faultsThrow}. */
  static FloatVector halves(MemorySegment memory, long at) {
    return halves(ShortVector.fromMemorySegment(S, memory, at, LE));
  }

  private static void q8Rows(Matrix m, int r, int d, float[] x, float[] y, float[] sums) {
    MemorySegment w = NativeMemory.known(m.data());
    int cols = m.cols();
    long step = d * m.rowBytes();
    long at = r * m.rowBytes();
    FloatVector s0 = FloatVector.zero(F), s1 = s0, s2 = s0, s3 = s0;
    long at1 = at + step;
    long at2 = at1 + step;
    long at3 = at2 + step;
    int blocks = cols / 32;
    for (int i = 0; i < blocks; i++) {
      long p = 34L * i;
      FloatVector scale0 = scale(w, at + p);
      FloatVector scale1 = scale(w, at1 + p);
      FloatVector scale2 = scale(w, at2 + p);
      FloatVector scale3 = scale(w, at3 + p);
      p += 2;
      for (int j = 0; j < 32; j += 2 * LANES) {
        FloatVector a = FloatVector.fromArray(F, x, 32 * i + j);
        FloatVector b = FloatVector.fromArray(F, x, 32 * i + j + LANES);
        long q = p + j;
        ByteVector c0 = ByteVector.fromMemorySegment(B, w, at + q, LE);
        ByteVector d0 = ByteVector.fromMemorySegment(B, w, at + q + LANES, LE);
        s0 = floats(d0).fma(b, floats(c0).mul(a)).fma(scale0, s0);
        ByteVector c1 = ByteVector.fromMemorySegment(B, w, at1 + q, LE);
        ByteVector d1 = ByteVector.fromMemorySegment(B, w, at1 + q + LANES, LE);
        s1 = floats(d1).fma(b, floats(c1).mul(a)).fma(scale1, s1);
        ByteVector c2 = ByteVector.fromMemorySegment(B, w, at2 + q, LE);
        ByteVector d2 = ByteVector.fromMemorySegment(B, w, at2 + q + LANES, LE);
        s2 = floats(d2).fma(b, floats(c2).mul(a)).fma(scale2, s2);
        ByteVector c3 = ByteVector.fromMemorySegment(B, w, at3 + q, LE);
        ByteVector d3 = ByteVector.fromMemorySegment(B, w, at3 + q + LANES, LE);
        s3 = floats(d3).fma(b, floats(c3).mul(a)).fma(scale3, s3);
      }
    }
    s0.intoArray(sums, 0 * LANES);
    s1.intoArray(sums, 1 * LANES);
    s2.intoArray(sums, 2 * LANES);
    s3.intoArray(sums, 3 * LANES);
    sum(m, r, d, 4, cols, x, sums, y);
  }

  /** Rows r and r + d where bytes do not widen: an int lane holds four, which shifts part. */
  private static void q8IntRows(Matrix m, int r, int d, float[] split, float[] y, float[] sums) {
    MemorySegment w = NativeMemory.known(m.data());
    int cols = m.cols();
    long at = r * m.rowBytes();
    long step = d * m.rowBytes();
    FloatVector s0 = FloatVector.zero(F), s1 = s0;
    for (int i = 0; i < cols; i += 32, at += 34) {
      FloatVector scale0 = scale(w, at);
      FloatVector scale1 = scale(w, at + step);
      for (int j = 0; j < 32; j += 4 * LANES) {
        FloatVector a = FloatVector.fromArray(F, split, i + j);
        FloatVector b = FloatVector.fromArray(F, split, i + j + LANES);
        FloatVector c = FloatVector.fromArray(F, split, i + j + 2 * LANES);
        FloatVector e = FloatVector.fromArray(F, split, i + j + 3 * LANES);
        IntVector q0 = IntVector.fromMemorySegment(I, w, at + 2 + j, LE);
        FloatVector first0 = (FloatVector) q0.lanewise(LSHL, 24).lanewise(ASHR, 24).convert(I2F, 0);
        FloatVector second0 =
            (FloatVector) q0.lanewise(LSHL, 16).lanewise(ASHR, 24).convert(I2F, 0);
        s0 = second0.fma(b, first0.mul(a)).fma(scale0, s0);
        first0 = (FloatVector) q0.lanewise(LSHL, 8).lanewise(ASHR, 24).convert(I2F, 0);
        second0 = (FloatVector) q0.lanewise(ASHR, 24).convert(I2F, 0);
        s0 = second0.fma(e, first0.mul(c)).fma(scale0, s0);
        IntVector q1 = IntVector.fromMemorySegment(I, w, at + step + 2 + j, LE);
        FloatVector first1 = (FloatVector) q1.lanewise(LSHL, 24).lanewise(ASHR, 24).convert(I2F, 0);
        FloatVector second1 =
            (FloatVector) q1.lanewise(LSHL, 16).lanewise(ASHR, 24).convert(I2F, 0);
        s1 = second1.fma(b, first1.mul(a)).fma(scale1, s1);
        first1 = (FloatVector) q1.lanewise(LSHL, 8).lanewise(ASHR, 24).convert(I2F, 0);
        second1 = (FloatVector) q1.lanewise(ASHR, 24).convert(I2F, 0);
        s1 = second1.fma(e, first1.mul(c)).fma(scale1, s1);
      }
    }
    s0.intoArray(sums, 0 * LANES);
    s1.intoArray(sums, 1 * LANES);
    sum(m, r, d, 2, cols, split, sums, y);
  }

  /**
   * A scale in all lanes, from a table: converted, it would take four instructions of the units
   * that multiply, which have no time for it, and so it takes one of those that load.
   */
  static FloatVector scale(MemorySegment w, long at) {
    return FloatVector.broadcast(F, HALVES[w.get(SHORT, at) & 0xffff]);
  }

  /** Bytes as floats. */
  static FloatVector floats(ByteVector bytes) {
    return floats(bytes, 0);
  }

  /** The part-th LANES of them, of as many parts as {@link #PARTS}. */
  static FloatVector floats(ByteVector bytes, int part) {
    return (FloatVector) bytes.convertShape(B2F, F, part);
  }

  /** Those that lie there; not in a file, see {@link #faultsThrow}. */
  static FloatVector floats(MemorySegment memory, long at) {
    return floats(ByteVector.fromMemorySegment(B, memory, at, LE));
  }
}
