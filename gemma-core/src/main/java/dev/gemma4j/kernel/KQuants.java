package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.VectorKernels.F;
import static dev.gemma4j.kernel.VectorKernels.I;
import static dev.gemma4j.kernel.VectorKernels.SHORT;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/**
 * Blocks of 256 weights, Q4_K and Q6_K, to f32 as ggml's reference decodes them
 * (https://github.com/ggml-org/ggml, ggml-quants.c): most published GGUF files mix the two.
 */
final class KQuants {
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final int LANES = F.length();
  private static final int BLOCK = 256;

  private KQuants() {}

  /** Whether the type is one of these and this machine's vectors serve it. */
  static boolean serves(TensorType type) {
    return (type == TensorType.Q4_K || type == TensorType.Q6_K)
        && VectorDot.BYTES_WIDEN
        && LANES <= 16;
  }

  static void matvec(Matrix w, int from, int to, float[] x, float[] y, Scratch scratch) {
    int cols = w.cols();
    float[] row = scratch.panel(cols);
    for (int r = from; r < to; r++) {
      decode(w, r * w.rowBytes(), cols, row, 0);
      y[r] = VectorKernels.dot(row, 0, x, 0, cols);
    }
  }

  /** {@code n} weights, whole blocks, from byte {@code at} on. */
  static void decode(Matrix w, long at, int n, float[] out, int to) {
    if (w.type() == TensorType.Q4_K) {
      q4k(w.data(), at, n, out, to);
    } else {
      q6k(w.data(), at, n, out, to);
    }
  }

  /** d, dmin, 8 scales and 8 minima of 6 bits each in 12 bytes, 128 bytes of nibbles. */
  private static void q4k(MemorySegment w, long at, int n, float[] out, int to) {
    for (int i = 0; i < n; i += BLOCK, at += 144) {
      float d = Float.float16ToFloat(w.get(SHORT, at));
      float dmin = Float.float16ToFloat(w.get(SHORT, at + 2));
      for (int s = 0; s < 8; s += 2) { // two runs of 32 share 32 bytes
        FloatVector d0 = FloatVector.broadcast(F, d * scale(w, at + 4, s));
        FloatVector m0 = FloatVector.broadcast(F, dmin * min(w, at + 4, s));
        FloatVector d1 = FloatVector.broadcast(F, d * scale(w, at + 4, s + 1));
        FloatVector m1 = FloatVector.broadcast(F, dmin * min(w, at + 4, s + 1));
        for (int j = 0; j < 32; j += LANES) {
          IntVector q = bytes(w, at + 16 + 16 * s + j);
          int target = to + i + 32 * s + j;
          floats(q.and(15)).mul(d0).sub(m0).intoArray(out, target);
          floats(q.lanewise(VectorOperators.LSHR, 4)).mul(d1).sub(m1).intoArray(out, target + 32);
        }
      }
    }
  }

  private static int scale(MemorySegment w, long at, int s) {
    return s < 4 ? at(w, at + s) & 63 : at(w, at + s + 4) & 15 | at(w, at + s - 4) >> 2 & 0x30;
  }

  private static int min(MemorySegment w, long at, int s) {
    return s < 4 ? at(w, at + s + 4) & 63 : at(w, at + s + 4) >> 4 & 15 | at(w, at + s) >> 2 & 0x30;
  }

  /** 128 bytes of low nibbles, 64 of high pairs of bits, 16 scales, d. */
  private static void q6k(MemorySegment w, long at, int n, float[] out, int to) {
    for (int i = 0; i < n; i += BLOCK, at += 210) {
      float d = Float.float16ToFloat(w.get(SHORT, at + 208));
      for (int half = 0; half < 2; half++) {
        for (int j = 0; j < 32; j += LANES) {
          IntVector a = bytes(w, at + 64 * half + j);
          IntVector b = bytes(w, at + 64 * half + 32 + j);
          IntVector h = bytes(w, at + 128 + 32 * half + j);
          long scales = at + 192 + 8 * half + j / 16;
          int target = to + i + 128 * half + j;
          IntVector q = a.and(15).or(h.and(3).lanewise(VectorOperators.LSHL, 4));
          floats(q.sub(32)).mul(d * at(w, scales)).intoArray(out, target);
          q = b.and(15).or(h.and(12).lanewise(VectorOperators.LSHL, 2));
          floats(q.sub(32)).mul(d * at(w, scales + 2)).intoArray(out, target + 32);
          q = a.lanewise(VectorOperators.LSHR, 4).or(h.and(48));
          floats(q.sub(32)).mul(d * at(w, scales + 4)).intoArray(out, target + 64);
          q = b.lanewise(VectorOperators.LSHR, 4).or(h.lanewise(VectorOperators.LSHR, 2).and(48));
          floats(q.sub(32)).mul(d * at(w, scales + 6)).intoArray(out, target + 96);
        }
      }
    }
  }

  private static int at(MemorySegment w, long at) {
    return w.get(ValueLayout.JAVA_BYTE, at);
  }

  private static IntVector bytes(MemorySegment w, long at) {
    return (IntVector)
        ByteVector.fromMemorySegment(VectorDot.B, w, at, LE)
            .convertShape(VectorOperators.ZERO_EXTEND_B2I, I, 0);
  }

  private static FloatVector floats(IntVector q) {
    return (FloatVector) q.convert(VectorOperators.I2F, 0);
  }
}
