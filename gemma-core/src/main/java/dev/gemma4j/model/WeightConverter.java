package dev.gemma4j.model;

import dev.gemma4j.kernel.Matrix;
import dev.gemma4j.kernel.WorkerPool;
import dev.gemma4j.loader.TensorType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/**
 * Stores a matrix in another type, rounding as ggml's reference quantiser does
 * (https://github.com/ggml-org/ggml, ggml-quants.c).
 */
final class WeightConverter {
  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfFloat FLOAT =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final int BLOCK = 32;

  private WeightConverter() {}

  /**
   * The matrix in the type asked for, newly allocated in the arena; itself when it has that type.
   */
  static Matrix convert(Matrix source, TensorType type, Arena arena, WorkerPool pool) {
    if (source.type() == type) {
      return source;
    }
    int cols = source.cols();
    MemorySegment target = arena.allocate(type.byteSize((long) source.rows() * cols), 64);
    Matrix result = new Matrix(type, source.rows(), cols, target);
    pool.run(
        (part, parts) -> {
          float[] row = new float[cols];
          int to = (int) ((long) source.rows() * (part + 1) / parts);
          for (int r = (int) ((long) source.rows() * part / parts); r < to; r++) {
            source.type().dequantize(source.data(), (long) r * cols, row, 0, cols);
            encode(row, type, target, r * result.rowBytes());
          }
        });
    return result;
  }

  /** Encodes one row. */
  static void encode(float[] row, TensorType type, MemorySegment target, long at) {
    switch (type) {
      case F32 -> {
        for (int i = 0; i < row.length; i++) {
          target.set(FLOAT, at + 4L * i, row[i]);
        }
      }
      case BF16 -> {
        for (int i = 0; i < row.length; i++) {
          target.set(SHORT, at + 2L * i, bf16(row[i]));
        }
      }
      case F16 -> {
        for (int i = 0; i < row.length; i++) {
          target.set(SHORT, at + 2L * i, Float.floatToFloat16(row[i]));
        }
      }
      case Q8_0 -> {
        for (int i = 0; i < row.length; i += BLOCK, at += type.blockBytes()) {
          q8(row, i, target, at);
        }
      }
      case Q4_0 -> {
        for (int i = 0; i < row.length; i += BLOCK, at += type.blockBytes()) {
          q4(row, i, target, at);
        }
      }
      default -> throw new IllegalArgumentException("cannot encode " + type);
    }
  }

  /** Rounds to nearest, ties to even. */
  private static short bf16(float value) {
    int bits = Float.floatToRawIntBits(value);
    return (short) ((bits + 0x7fff + (bits >>> 16 & 1)) >>> 16);
  }

  private static void q8(float[] row, int first, MemorySegment target, long at) {
    float max = 0;
    for (int i = 0; i < BLOCK; i++) {
      max = Math.max(max, Math.abs(row[first + i]));
    }
    float d = max / 127;
    float inverse = d == 0 ? 0 : 1 / d;
    target.set(SHORT, at, Float.floatToFloat16(d));
    for (int i = 0; i < BLOCK; i++) {
      float q = row[first + i] * inverse;
      // half away from zero, as C's roundf; adding 0.5f would itself round
      float size = Math.abs(q);
      int rounded = (int) size;
      rounded += size - rounded >= 0.5f ? 1 : 0;
      target.set(ValueLayout.JAVA_BYTE, at + 2 + i, (byte) (q < 0 ? -rounded : rounded));
    }
  }

  private static void q4(float[] row, int first, MemorySegment target, long at) {
    float extreme = 0;
    for (int i = 0; i < BLOCK; i++) {
      if (Math.abs(row[first + i]) > Math.abs(extreme)) {
        extreme = row[first + i];
      }
    }
    float d = extreme / -8;
    float inverse = d == 0 ? 0 : 1 / d;
    target.set(SHORT, at, Float.floatToFloat16(d));
    for (int i = 0; i < BLOCK / 2; i++) {
      int low = nibble(row[first + i] * inverse);
      int high = nibble(row[first + i + BLOCK / 2] * inverse);
      target.set(ValueLayout.JAVA_BYTE, at + 2 + i, (byte) (low | high << 4));
    }
  }

  private static int nibble(float q) {
    return Math.clamp((int) (q + 8.5f), 0, 15);
  }
}
