package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.VectorKernels.F;
import static dev.gemma4j.kernel.VectorKernels.I;
import static dev.gemma4j.kernel.VectorKernels.S;
import static dev.gemma4j.kernel.VectorKernels.SHORT;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * Matrix times one vector, straight from the stored weights: a decode step is bound by the memory's
 * bandwidth, so each row is read once, from front to back, and decoded in registers.
 *
 * <p>The loops are not counted ones to C2 (their bound is {@code i + step <= cols}), so that it
 * does not unroll them: unrolled, they are faster from the cache, but a third slower from memory.
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

  // A half's sign, exponent and mantissa moved to their places in a float; multiplying by 2^112
  // rebiases the exponent, and subnormal halves come out right too.
  private static final int HALF_BITS = 0x8fffe000;
  private static final float HALF_REBIAS = 0x1p112f;

  private VectorDot() {}

  /** A method for each type: C2 inlines only so much into one. */
  static void matvec(Matrix w, int from, int to, float[] x, float[] y, Scratch scratch) {
    switch (w.type()) {
      case F32 -> f32(w, from, to, x, y);
      case BF16 -> bf16(w, from, to, x, splitPairs(x, w.cols(), scratch), y);
      case F16 -> f16(w, from, to, x, splitPairs(x, w.cols(), scratch), y);
      case Q8_0 -> q8(w, from, to, x, y, scratch);
      default -> new ScalarKernels().matmul(w, from, to, x, 1, y, 0, scratch);
    }
  }

  private static void f32(Matrix w, int from, int to, float[] x, float[] y) {
    long rowBytes = w.rowBytes();
    for (int r = from; r < to; r++) {
      y[r] = f32(w.data(), r * rowBytes, x, w.cols());
    }
  }

  private static void bf16(Matrix w, int from, int to, float[] x, float[] split, float[] y) {
    long rowBytes = w.rowBytes();
    for (int r = from; r < to; r++) {
      y[r] = bf16(w.data(), r * rowBytes, split, x, w.cols());
    }
  }

  private static void f16(Matrix w, int from, int to, float[] x, float[] split, float[] y) {
    long rowBytes = w.rowBytes();
    for (int r = from; r < to; r++) {
      y[r] = f16(w.data(), r * rowBytes, split, x, w.cols());
    }
  }

  private static void q8(Matrix w, int from, int to, float[] x, float[] y, Scratch scratch) {
    if (!BYTES_WIDEN) {
      new ScalarKernels().matmul(w, from, to, x, 1, y, 0, scratch);
      return;
    }
    long rowBytes = w.rowBytes();
    for (int r = from; r < to; r++) {
      y[r] = q8(w.data(), r * rowBytes, x, w.cols());
    }
  }

  private static float f32(MemorySegment w, long at, float[] x, int cols) {
    FloatVector s0 = FloatVector.zero(F);
    FloatVector s1 = FloatVector.zero(F);
    int i = 0;
    for (; i + 2 * LANES <= cols; i += 2 * LANES) {
      long a = at + (long) i * Float.BYTES;
      s0 = FloatVector.fromMemorySegment(F, w, a, LE).fma(FloatVector.fromArray(F, x, i), s0);
      s1 =
          FloatVector.fromMemorySegment(F, w, a + F.vectorByteSize(), LE)
              .fma(FloatVector.fromArray(F, x, i + LANES), s1);
    }
    for (; i + LANES <= cols; i += LANES) { // a matrix of an adapter may have 16 columns
      s0 =
          FloatVector.fromMemorySegment(F, w, at + (long) i * Float.BYTES, LE)
              .fma(FloatVector.fromArray(F, x, i), s0);
    }
    float sum = s0.add(s1).reduceLanes(VectorOperators.ADD);
    for (; i < cols; i++) {
      float v = w.get(ValueLayout.JAVA_FLOAT_UNALIGNED, at + (long) i * Float.BYTES);
      sum = Math.fma(v, x[i], sum);
    }
    return sum;
  }

  /**
   * Rearranges x so that each run of 2 * LANES elements holds its even elements, then its odd ones.
   * An int lane loaded from 16-bit weights holds such a pair; shift and mask part it without a
   * shuffle.
   */
  private static float[] splitPairs(float[] x, int cols, Scratch scratch) {
    float[] split = scratch.panel(cols);
    for (int i = 0; i + 2 * LANES <= cols; i += 2 * LANES) {
      for (int j = 0; j < LANES; j++) {
        split[i + j] = x[i + 2 * j];
        split[i + LANES + j] = x[i + 2 * j + 1];
      }
    }
    return split;
  }

  private static float bf16(MemorySegment w, long at, float[] split, float[] x, int cols) {
    FloatVector s0 = FloatVector.zero(F);
    FloatVector s1 = FloatVector.zero(F);
    int i = 0;
    for (; i + 2 * LANES <= cols; i += 2 * LANES) {
      IntVector pairs = IntVector.fromMemorySegment(I, w, at + 2L * i, LE);
      FloatVector even = pairs.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats();
      FloatVector odd = pairs.and(0xffff0000).reinterpretAsFloats();
      s0 = even.fma(FloatVector.fromArray(F, split, i), s0);
      s1 = odd.fma(FloatVector.fromArray(F, split, i + LANES), s1);
    }
    float sum = s0.add(s1).reduceLanes(VectorOperators.ADD);
    for (; i < cols; i++) {
      sum = Math.fma(Float.intBitsToFloat(w.get(SHORT, at + 2L * i) << 16), x[i], sum);
    }
    return sum;
  }

  private static float f16(MemorySegment w, long at, float[] split, float[] x, int cols) {
    FloatVector s0 = FloatVector.zero(F);
    FloatVector s1 = FloatVector.zero(F);
    int i = 0;
    for (; i + 2 * LANES <= cols; i += 2 * LANES) {
      IntVector pairs = IntVector.fromMemorySegment(I, w, at + 2L * i, LE);
      FloatVector even = half(pairs.lanewise(VectorOperators.LSHL, 16));
      FloatVector odd = half(pairs);
      s0 = even.fma(FloatVector.fromArray(F, split, i), s0);
      s1 = odd.fma(FloatVector.fromArray(F, split, i + LANES), s1);
    }
    float sum = s0.add(s1).reduceLanes(VectorOperators.ADD);
    for (; i < cols; i++) {
      sum = Math.fma(Float.float16ToFloat(w.get(SHORT, at + 2L * i)), x[i], sum);
    }
    return sum;
  }

  /** The halves in the upper 16 bits of each lane as floats. */
  private static FloatVector half(IntVector bits) {
    return bits.lanewise(VectorOperators.ASHR, 3)
        .and(HALF_BITS)
        .reinterpretAsFloats()
        .mul(HALF_REBIAS);
  }

  /** Halves as floats. */
  static FloatVector halves(MemorySegment w, long at) {
    IntVector half =
        (IntVector)
            ShortVector.fromMemorySegment(S, w, at, LE).convertShape(VectorOperators.S2I, I, 0);
    return half.lanewise(VectorOperators.LSHL, 13)
        .and(HALF_BITS)
        .reinterpretAsFloats()
        .mul(HALF_REBIAS);
  }

  /** Two blocks a turn, each with a sum of its own, so that they do not wait for each other. */
  private static float q8(MemorySegment w, long at, float[] x, int cols) {
    FloatVector s0 = FloatVector.zero(F), s1 = s0;
    int i = 0;
    for (; i + 64 <= cols; i += 64, at += 68) {
      FloatVector scale = FloatVector.broadcast(F, Float.float16ToFloat(w.get(SHORT, at)));
      for (int j = 0; j < 32; j += 2 * LANES) {
        FloatVector a = bytes(w, at + 2 + j).mul(FloatVector.fromArray(F, x, i + j));
        FloatVector b = FloatVector.fromArray(F, x, i + j + LANES);
        s0 = bytes(w, at + 2 + j + LANES).fma(b, a).fma(scale, s0);
      }
      scale = FloatVector.broadcast(F, Float.float16ToFloat(w.get(SHORT, at + 34)));
      for (int j = 32; j < 64; j += 2 * LANES) {
        FloatVector a = bytes(w, at + 4 + j).mul(FloatVector.fromArray(F, x, i + j));
        FloatVector b = FloatVector.fromArray(F, x, i + j + LANES);
        s1 = bytes(w, at + 4 + j + LANES).fma(b, a).fma(scale, s1);
      }
    }
    if (i < cols) { // an odd block
      FloatVector scale = FloatVector.broadcast(F, Float.float16ToFloat(w.get(SHORT, at)));
      for (int j = 0; j < 32; j += LANES) {
        s0 = bytes(w, at + 2 + j).mul(FloatVector.fromArray(F, x, i + j)).fma(scale, s0);
      }
    }
    return s0.add(s1).reduceLanes(VectorOperators.ADD);
  }

  static FloatVector bytes(MemorySegment w, long at) {
    return (FloatVector)
        ByteVector.fromMemorySegment(B, w, at, LE).convertShape(VectorOperators.B2F, F, 0);
  }
}
