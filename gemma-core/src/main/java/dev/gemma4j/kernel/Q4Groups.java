package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.VectorKernels.F;
import static dev.gemma4j.kernel.VectorKernels.I;
import static dev.gemma4j.kernel.VectorKernels.S;
import static dev.gemma4j.kernel.VectorKernels.SHORT;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorOperators;

/**
 * Q4_0 with the rows side by side: each lane of a vector works on a row of its own, so that a block
 * of 32 columns needs no sum across lanes, its 16 or so scales are applied at once, and the input
 * is broadcast from where it is.
 *
 * <p>A group of LANES rows is stored block by block: 4 vectors of ints, each int the 8 weights of
 * columns 8j to 8j + 7 of its row, then LANES scales (f16). In an int, byte c holds column 2c in
 * its high nibble and 2c + 1 in its low one.
 *
 * <p>A nibble q becomes a float without a conversion: moved into the top of the mantissa of 1 it
 * reads 1 + q/16, into the four bits below 1 + q/256, so one shift serves two nibbles. What is too
 * much, (1 + 8/16) or (1 + 8/256) times the input, is subtracted once a block.
 */
final class Q4Groups {
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final int LANES = F.length();
  private static final int VECTOR = F.vectorByteSize();

  private static final int BLOCK = 32;
  private static final long GROUP_BLOCK_BYTES = 18L * LANES;
  private static final int INPUT_BLOCK = BLOCK + 2;

  private static final int ONE = 0x3f800000; // 1f
  private static final int HIGH = 0x00780000; // its highest four bits of mantissa
  private static final int LOW = 0x00078000; // the four below
  private static final float HIGH_OFFSET = 1 + 8 / 16f;
  private static final float LOW_OFFSET = 1 + 8 / 256f;

  private static final int HALF_BITS = 0x8fffe000;
  // A half's bits moved to a float's lie 112 powers of two too low; 16 undoes the nibble's q/16.
  private static final float SCALE = 0x1p112f * 16;

  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfLong LONG =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final long NIBBLES = 0x0f0f0f0f0f0f0f0fL;

  private Q4Groups() {}

  /** Packs a Q4_0 matrix; the last group is padded with rows of zeros. */
  static Matrix pack(Matrix w, Arena arena, WorkerPool pool) {
    int groups = (w.rows() + LANES - 1) / LANES;
    MemorySegment target = arena.allocate(groups * groupBytes(w), 64);
    pool.split(
        groups,
        (from, to) -> {
          for (int g = from; g < to; g++) {
            packGroup(w, g, target);
          }
        });
    return new Matrix(TensorType.Q4_0, w.rows(), w.cols(), target, true);
  }

  private static long groupBytes(Matrix w) {
    return w.cols() / BLOCK * GROUP_BLOCK_BYTES;
  }

  /** Block by block, so that what is written follows what was written before. */
  private static void packGroup(Matrix w, int group, MemorySegment target) {
    int first = group * LANES;
    int rows = Math.min(LANES, w.rows() - first);
    long from = first * w.rowBytes();
    long to = group * groupBytes(w);
    for (int b = 0; b < w.cols() / BLOCK; b++, from += 18, to += GROUP_BLOCK_BYTES) {
      packBlock(w.data(), from, w.rowBytes(), rows, target, to);
    }
  }

  /** Short, and so compiled early in a load. */
  private static void packBlock(
      MemorySegment data, long from, long rowBytes, int rows, MemorySegment target, long to) {
    for (int lane = 0; lane < rows; lane++, from += rowBytes) {
      long low = data.get(LONG, from + 2);
      long high = data.get(LONG, from + 10);
      long at = to + (long) lane * Integer.BYTES;
      target.set(INT, at, pairs(low & NIBBLES));
      target.set(INT, at + VECTOR, pairs(high & NIBBLES));
      target.set(INT, at + 2 * VECTOR, pairs(low >>> 4 & NIBBLES));
      target.set(INT, at + 3 * VECTOR, pairs(high >>> 4 & NIBBLES));
      target.set(SHORT, to + 4 * VECTOR + (long) lane * Short.BYTES, data.get(SHORT, from));
    }
  }

  /** Eight bytes, each a nibble, to four bytes of two nibbles, the earlier one high. */
  private static int pairs(long nibbles) {
    long p = (nibbles << 4 | nibbles >>> 8) & 0x00ff00ff00ff00ffL;
    p = (p | p >>> 8) & 0x0000ffff0000ffffL;
    return (int) (p | p >>> 16);
  }

  /** One row as f32. */
  static void unpackRow(Matrix w, int row, float[] out, int offset) {
    long at = row / LANES * groupBytes(w);
    int lane = row % LANES;
    for (int b = 0; b < w.cols() / BLOCK; b++, at += GROUP_BLOCK_BYTES) {
      float scale =
          Float.float16ToFloat(w.data().get(SHORT, at + 4 * VECTOR + (long) lane * Short.BYTES));
      for (int k = 0; k < BLOCK; k++) {
        int v = w.data().get(INT, at + k / 8 * VECTOR + (long) lane * Integer.BYTES);
        out[offset + b * BLOCK + k] = ((v >>> (k % 8 ^ 1) * 4 & 15) - 8) * scale;
      }
    }
  }

  /** y[r] = w[r] · x for whole groups; {@code from} is a multiple of LANES. */
  static void matvec(Matrix w, int from, int to, float[] x, float[] y, Scratch scratch) {
    int blocks = w.cols() / BLOCK;
    float[] input = input(x, blocks, scratch);
    float[] last = scratch.scores(LANES);
    for (int r = from; r < to; r += LANES) {
      long at = r / LANES * groupBytes(w);
      if (r + LANES <= to) {
        group(w.data(), at, input, blocks, y, r);
      } else {
        group(w.data(), at, input, blocks, last, 0);
        System.arraycopy(last, 0, y, r, to - r);
      }
    }
  }

  /** Each block of x followed by what to subtract for its even and for its odd columns. */
  private static float[] input(float[] x, int blocks, Scratch scratch) {
    float[] input = scratch.panel(blocks * INPUT_BLOCK);
    for (int b = 0; b < blocks; b++) {
      int at = b * INPUT_BLOCK;
      float even = 0;
      float odd = 0;
      for (int k = 0; k < BLOCK; k += 2) {
        float e = x[b * BLOCK + k];
        float o = x[b * BLOCK + k + 1];
        input[at + k] = e;
        input[at + k + 1] = o;
        even += e;
        odd += o;
      }
      input[at + BLOCK] = -HIGH_OFFSET * even;
      input[at + BLOCK + 1] = -LOW_OFFSET * odd;
    }
    return input;
  }

  // Written out, without helpers: C2 stops inlining those in a method with so many vectors.
  private static void group(
      MemorySegment w, long start, float[] x, int blocks, float[] y, int row) {
    FloatVector sum = FloatVector.zero(F);
    IntVector high = IntVector.broadcast(I, HIGH);
    IntVector low = IntVector.broadcast(I, LOW);
    IntVector one = IntVector.broadcast(I, ONE);
    for (int block = 0; block < blocks; block++) {
      long at = start + block * GROUP_BLOCK_BYTES;
      int i = block * INPUT_BLOCK;
      FloatVector a = FloatVector.broadcast(F, x[i + BLOCK]);
      FloatVector b = FloatVector.broadcast(F, x[i + BLOCK + 1]);
      FloatVector c = FloatVector.zero(F);
      FloatVector d = c;
      IntVector v0 = IntVector.fromMemorySegment(I, w, at, LE);
      IntVector u = v0.lanewise(LSHL, 15);
      a = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 0]), a);
      b = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 1]), b);
      u = v0.lanewise(LSHL, 7);
      c = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 2]), c);
      d = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 3]), d);
      u = v0.lanewise(LSHR, 1);
      a = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 4]), a);
      b = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 5]), b);
      u = v0.lanewise(LSHR, 9);
      c = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 6]), c);
      d = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 7]), d);
      IntVector v1 = IntVector.fromMemorySegment(I, w, at + VECTOR, LE);
      u = v1.lanewise(LSHL, 15);
      a = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 8]), a);
      b = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 9]), b);
      u = v1.lanewise(LSHL, 7);
      c = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 10]), c);
      d = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 11]), d);
      u = v1.lanewise(LSHR, 1);
      a = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 12]), a);
      b = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 13]), b);
      u = v1.lanewise(LSHR, 9);
      c = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 14]), c);
      d = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 15]), d);
      IntVector v2 = IntVector.fromMemorySegment(I, w, at + 2 * VECTOR, LE);
      u = v2.lanewise(LSHL, 15);
      a = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 16]), a);
      b = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 17]), b);
      u = v2.lanewise(LSHL, 7);
      c = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 18]), c);
      d = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 19]), d);
      u = v2.lanewise(LSHR, 1);
      a = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 20]), a);
      b = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 21]), b);
      u = v2.lanewise(LSHR, 9);
      c = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 22]), c);
      d = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 23]), d);
      IntVector v3 = IntVector.fromMemorySegment(I, w, at + 3 * VECTOR, LE);
      u = v3.lanewise(LSHL, 15);
      a = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 24]), a);
      b = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 25]), b);
      u = v3.lanewise(LSHL, 7);
      c = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 26]), c);
      d = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 27]), d);
      u = v3.lanewise(LSHR, 1);
      a = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 28]), a);
      b = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 29]), b);
      u = v3.lanewise(LSHR, 9);
      c = u.and(high).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 30]), c);
      d = u.and(low).or(one).reinterpretAsFloats().fma(FloatVector.broadcast(F, x[i + 31]), d);
      IntVector half =
          (IntVector)
              ShortVector.fromMemorySegment(S, w, at + 4 * VECTOR, LE)
                  .convertShape(VectorOperators.S2I, I, 0);
      FloatVector scale = half.lanewise(LSHL, 13).and(HALF_BITS).reinterpretAsFloats().mul(SCALE);
      sum = b.add(d).mul(16).add(a.add(c)).fma(scale, sum);
    }
    sum.intoArray(y, row);
  }

  /** Columns [k, k + n) of a group of rows as f32, [n][stride] from {@code to} on. */
  static void decode(Matrix w, int row, int k, int n, MemorySegment panel, long to, long stride) {
    MemorySegment data = w.data();
    for (int b = k / BLOCK; b < (k + n) / BLOCK; b++) {
      long at = row / LANES * groupBytes(w) + b * GROUP_BLOCK_BYTES;
      IntVector half =
          (IntVector)
              ShortVector.fromMemorySegment(S, data, at + 4 * VECTOR, LE)
                  .convertShape(VectorOperators.S2I, I, 0);
      FloatVector scale = half.lanewise(LSHL, 13).and(HALF_BITS).reinterpretAsFloats().mul(SCALE);
      FloatVector lowScale = scale.mul(16);
      for (int j = 0; j < 4; j++) {
        IntVector v = IntVector.fromMemorySegment(I, data, at + j * VECTOR, LE);
        for (int c = 0; c < 4; c++, to += 2 * stride) {
          IntVector u = v.lanewise(LSHL, 15);
          v = v.lanewise(LSHR, 8);
          u.and(HIGH)
              .or(ONE)
              .reinterpretAsFloats()
              .sub(HIGH_OFFSET)
              .mul(scale)
              .intoMemorySegment(panel, to, LE);
          u.and(LOW)
              .or(ONE)
              .reinterpretAsFloats()
              .sub(LOW_OFFSET)
              .mul(lowScale)
              .intoMemorySegment(panel, to + stride, LE);
        }
      }
    }
  }
}
