package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.VectorKernels.F;
import static dev.gemma4j.kernel.VectorKernels.I;
import static dev.gemma4j.kernel.VectorKernels.SHORT;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * Matrix times one vector, straight from the stored weights: a decode step is bound by the memory's
 * bandwidth, so each row is read once, from front to back, and decoded in registers.
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

  // Multiplying a half's exponent and mantissa, moved to their place in a float, by 2^112 rebiases
  // the exponent; subnormal halves come out right too.
  private static final float HALF_REBIAS = 0x1p112f;

  private VectorDot() {}

  static void matvec(Matrix w, int from, int to, float[] x, float[] y, Scratch scratch) {
    int cols = w.cols();
    MemorySegment data = w.data();
    long rowBytes = w.rowBytes();
    switch (w.type()) {
      case F32 -> {
        for (int r = from; r < to; r++) {
          y[r] = f32(data, r * rowBytes, x, cols);
        }
      }
      case BF16, F16 -> {
        boolean brain = w.type() == dev.gemma4j.loader.TensorType.BF16;
        float[] split = splitPairs(x, cols, scratch);
        for (int r = from; r < to; r++) {
          y[r] =
              brain
                  ? bf16(data, r * rowBytes, split, x, cols)
                  : f16(data, r * rowBytes, split, x, cols);
        }
      }
      case Q8_0 -> {
        if (!BYTES_WIDEN) {
          new ScalarKernels().matmul(w, from, to, x, 1, y, 0, scratch);
          return;
        }
        for (int r = from; r < to; r++) {
          y[r] = q8(data, r * rowBytes, x, cols);
        }
      }
      default -> new ScalarKernels().matmul(w, from, to, x, 1, y, 0, scratch);
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
      FloatVector even = halves(pairs.lanewise(VectorOperators.LSHL, 16), pairs.and(0x7fff), 13);
      FloatVector odd = halves(pairs, pairs.lanewise(VectorOperators.LSHR, 16).and(0x7fff), 13);
      s0 = even.fma(FloatVector.fromArray(F, split, i), s0);
      s1 = odd.fma(FloatVector.fromArray(F, split, i + LANES), s1);
    }
    float sum = s0.add(s1).reduceLanes(VectorOperators.ADD);
    for (; i < cols; i++) {
      sum = Math.fma(Float.float16ToFloat(w.get(SHORT, at + 2L * i)), x[i], sum);
    }
    return sum;
  }

  /** Half floats given by a sign in bit 31 of one vector and the other 15 bits in a second. */
  static FloatVector halves(IntVector sign, IntVector rest, int shift) {
    return rest.lanewise(VectorOperators.LSHL, shift)
        .reinterpretAsFloats()
        .mul(HALF_REBIAS)
        .reinterpretAsInts()
        .or(sign.and(0x80000000))
        .reinterpretAsFloats();
  }

  private static float q8(MemorySegment w, long at, float[] x, int cols) {
    FloatVector s0 = FloatVector.zero(F);
    FloatVector s1 = FloatVector.zero(F);
    for (int i = 0; i < cols; i += 32, at += 34) {
      FloatVector scale = FloatVector.broadcast(F, Float.float16ToFloat(w.get(SHORT, at)));
      for (int j = 0; j < 32; j += 2 * LANES) {
        FloatVector a = bytes(w, at + 2 + j).mul(FloatVector.fromArray(F, x, i + j));
        FloatVector b =
            bytes(w, at + 2 + j + LANES).mul(FloatVector.fromArray(F, x, i + j + LANES));
        s0 = a.fma(scale, s0);
        s1 = b.fma(scale, s1);
      }
    }
    return s0.add(s1).reduceLanes(VectorOperators.ADD);
  }

  static FloatVector bytes(MemorySegment w, long at) {
    return (FloatVector)
        ByteVector.fromMemorySegment(B, w, at, LE).convertShape(VectorOperators.B2F, F, 0);
  }
}
