package dev.gemma4j.loader;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/**
 * Decodes ggml's blocks of 32 values, exactly as ggml does (<a
 * href="https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c">dequantize_row_*</a>). Of
 * every byte of nibbles the low one is among the first 16 values, the high one among the others.
 *
 * <p>Integers are unpacked into bytes first, eight at a time: multiplying them is then a loop that
 * the JIT vectorises, which for Q4_0 is 2.4 times as fast in all.
 */
final class Blocks32 {
  static final int SIZE = 32;

  /** The 16 values of IQ4_NL and IQ4_XS. */
  static final byte[] IQ4_VALUES = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
  };

  /** Twice the values of a float with 2 bits of exponent and 1 of mantissa. */
  private static final byte[] FP4_VALUES = {
    0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12
  };

  static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfLong LONG =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final VarHandle BYTES =
      MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
  private static final long NIBBLES = 0x0f0f0f0f0f0f0f0fL;
  private static final long SIGNS = 0x8080808080808080L;
  private static final long ONES = 0x0101010101010101L;

  private Blocks32() {}

  /** The half at {@code at}. */
  static float half(MemorySegment data, long at) {
    return Float.float16ToFloat(data.get(SHORT, at));
  }

  static void q8_0(MemorySegment data, long at, float[] target, int offset, int count) {
    byte[] q = new byte[SIZE];
    for (int i = offset; i < offset + count; i += SIZE, at += 34) {
      MemorySegment.copy(data, ValueLayout.JAVA_BYTE, at + 2, q, 0, SIZE);
      scale(half(data, at), q, target, i);
    }
  }

  static void q4_0(MemorySegment data, long at, float[] target, int offset, int count) {
    byte[] q = new byte[SIZE];
    for (int i = offset; i < offset + count; i += SIZE, at += 18) {
      nibbles(data, at + 2, q);
      subtract(8, q);
      scale(half(data, at), q, target, i);
    }
  }

  static void q4_1(MemorySegment data, long at, float[] target, int offset, int count) {
    byte[] q = new byte[SIZE];
    for (int i = offset; i < offset + count; i += SIZE, at += 20) {
      nibbles(data, at + 4, q);
      scaleAndAdd(half(data, at), half(data, at + 2), q, target, i);
    }
  }

  static void q5_0(MemorySegment data, long at, float[] target, int offset, int count) {
    byte[] q = new byte[SIZE];
    for (int i = offset; i < offset + count; i += SIZE, at += 22) {
      unpackQ5(data, at, q);
      scale(half(data, at), q, target, i);
    }
  }

  static void q5_1(MemorySegment data, long at, float[] target, int offset, int count) {
    byte[] q = new byte[SIZE];
    for (int i = offset; i < offset + count; i += SIZE, at += 24) {
      nibbles(data, at + 8, q);
      fifthBits(data.get(INT, at + 4), q);
      scaleAndAdd(half(data, at), half(data, at + 2), q, target, i);
    }
  }

  static void iq4_nl(MemorySegment data, long at, float[] target, int offset, int count) {
    byte[] q = new byte[SIZE];
    for (int i = offset; i < offset + count; i += SIZE, at += 18) {
      unpackIq4(data, at, q);
      scale(half(data, at), q, target, i);
    }
  }

  static void mxfp4(MemorySegment data, long at, float[] target, int offset, int count) {
    byte[] q = new byte[SIZE];
    for (int i = offset; i < offset + count; i += SIZE, at += 17) {
      unpackMxfp4(data, at, q);
      scale(mxfp4Scale(data, at), q, target, i);
    }
  }

  /** See {@link TensorType#copyToQ8}. */
  static boolean copyToQ8(
      TensorType type, MemorySegment data, long at, MemorySegment target, long to, int count) {
    byte[] q = new byte[SIZE];
    for (int i = 0; i < count; i += SIZE, at += type.blockBytes(), to += 34) {
      short scale;
      switch (type) {
        case Q5_0 -> {
          scale = data.get(SHORT, at);
          unpackQ5(data, at, q);
        }
        case IQ4_NL -> {
          scale = data.get(SHORT, at);
          unpackIq4(data, at, q);
        }
        case MXFP4 -> {
          scale = Float.floatToFloat16(mxfp4Scale(data, at));
          if (Float.float16ToFloat(scale) != mxfp4Scale(data, at)) {
            return false;
          }
          unpackMxfp4(data, at, q);
        }
        default -> throw new IllegalArgumentException(type.name());
      }
      target.set(SHORT, to, scale);
      MemorySegment.copy(q, 0, target, ValueLayout.JAVA_BYTE, to + 2, SIZE);
    }
    return true;
  }

  private static void unpackQ5(MemorySegment data, long at, byte[] q) {
    nibbles(data, at + 6, q);
    fifthBits(data.get(INT, at + 2), q);
    subtract(16, q);
  }

  private static void unpackIq4(MemorySegment data, long at, byte[] q) {
    nibbles(data, at + 2, q);
    lookUp(IQ4_VALUES, q);
  }

  private static void unpackMxfp4(MemorySegment data, long at, byte[] q) {
    nibbles(data, at + 1, q);
    lookUp(FP4_VALUES, q);
  }

  /** Half of 2^(e - 127), as the integers are twice the values; subnormal for the smallest two. */
  private static float mxfp4Scale(MemorySegment data, long at) {
    int e = Byte.toUnsignedInt(data.get(ValueLayout.JAVA_BYTE, at));
    return Float.intBitsToFloat(e < 2 ? 0x0020_0000 << e : e - 1 << 23);
  }

  private static void nibbles(MemorySegment data, long at, byte[] q) {
    long first = data.get(LONG, at);
    long second = data.get(LONG, at + 8);
    BYTES.set(q, 0, first & NIBBLES);
    BYTES.set(q, 8, second & NIBBLES);
    BYTES.set(q, 16, first >>> 4 & NIBBLES);
    BYTES.set(q, 24, second >>> 4 & NIBBLES);
  }

  /** Bit j of {@code bits} is worth 16 in q[j]. */
  private static void fifthBits(int bits, byte[] q) {
    for (int j = 0; j < SIZE; j += 8) {
      // Each byte keeps its own of eight copies; adding 0x7f carries any bit into the highest.
      long own = (bits >>> j & 0xff) * ONES & 0x8040201008040201L;
      long set = own + 0x7f7f7f7f7f7f7f7fL | own;
      BYTES.set(q, j, (long) BYTES.get(q, j) | (set & SIGNS) >>> 3);
    }
  }

  /** Subtracts at most 127 from bytes of at most 127; the bits of the signs keep from borrowing. */
  private static void subtract(int bias, byte[] q) {
    for (int j = 0; j < SIZE; j += 8) {
      BYTES.set(q, j, ((long) BYTES.get(q, j) | SIGNS) - bias * ONES ^ SIGNS);
    }
  }

  private static void lookUp(byte[] values, byte[] q) {
    for (int j = 0; j < SIZE; j++) {
      q[j] = values[q[j]];
    }
  }

  private static void scale(float scale, byte[] q, float[] target, int offset) {
    for (int j = 0; j < SIZE; j++) {
      target[offset + j] = scale * q[j];
    }
  }

  private static void scaleAndAdd(float scale, float min, byte[] q, float[] target, int offset) {
    for (int j = 0; j < SIZE; j++) {
      target[offset + j] = scale * q[j] + min;
    }
  }
}
