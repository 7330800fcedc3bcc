package dev.gemma4j.model;

import dev.gemma4j.io.HugePages;
import dev.gemma4j.kernel.Matrix;
import dev.gemma4j.kernel.WorkerPool;
import dev.gemma4j.loader.TensorType;
import dev.gemma4j.model.Adapter.LowRank;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Function;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * Stores a matrix in another type, rounding as ggml's reference quantiser does
 * (https://github.com/ggml-org/ggml, ggml-quants.c). Q4_0 is that of quantize_row_q4_0_ref as it
 * reads: {@code x * id + 8.5f} rounds twice, as in the gguf Python package. Where a C compiler
 * fuses the two operations, as on ARM, a value in the middle of two steps may become the other one.
 * The scale of a block of zeros is -0 there and here, in the package +0 if the zeros are -0.
 */
public final class WeightConverter {
  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfFloat FLOAT =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final int BLOCK = 32;
  // A copy keeps a garbage collection waiting until it is done.
  private static final long COPY_BYTES = 1 << 20;
  private static final float MAX_HALF = 65504;

  private WeightConverter() {}

  /**
   * The matrix as it is where kernels know its type; else in the smallest type that they know and
   * that is about as exact as the reference's sums, logits within 2e-3 of the largest. Q5_0, IQ4_NL
   * and MXFP4 become Q8_0 with the same integers and scales. All others have products of two scales
   * that no 32-block can hold, and become F16, or F32 where a value is too large for a half.
   *
   * @param owner of what is newly allocated, by its type
   */
  static Matrix runnable(Matrix source, Function<TensorType, Arena> owner, WorkerPool pool) {
    return switch (source.type()) {
      case F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K -> source;
      case Q5_0, IQ4_NL, MXFP4 -> {
        Matrix q8 = copyToQ8(source, owner.apply(TensorType.Q8_0), pool);
        yield q8 == null ? floats(source, owner.apply(TensorType.F32), pool) : q8;
      }
      case Q4_1, Q5_1, Q2_K, Q3_K, Q5_K, IQ4_XS -> {
        Matrix half = convertIfFits(source, TensorType.F16, owner.apply(TensorType.F16), pool);
        yield half == null ? floats(source, owner.apply(TensorType.F32), pool) : half;
      }
    };
  }

  /** Null when a scale is no half. */
  private static @Nullable Matrix copyToQ8(Matrix source, Arena arena, WorkerPool pool) {
    Matrix result = allocate(source, TensorType.Q8_0, arena);
    AtomicBoolean exact = new AtomicBoolean(true);
    pool.split(
        source.rows(),
        (from, to) -> {
          for (int r = from; r < to && exact.get(); r++) {
            long first = (long) r * source.cols();
            if (!source
                .type()
                .copyToQ8(
                    source.data(), first, result.data(), r * result.rowBytes(), source.cols())) {
              exact.set(false);
            }
          }
        });
    return exact.get() ? result : null;
  }

  private static Matrix allocate(Matrix source, TensorType type, Arena arena) {
    long size = type.byteSize((long) source.rows() * source.cols());
    return new Matrix(type, source.rows(), source.cols(), HugePages.allocate(arena, size));
  }

  /** The matrix in F32, which holds all that others do; newly allocated in the arena. */
  private static Matrix floats(Matrix source, Arena arena, WorkerPool pool) {
    return Objects.requireNonNull(convert(source, TensorType.F32, row -> true, arena, pool));
  }

  /**
   * The matrix in the type asked for, newly allocated in the arena; itself when it has that type.
   * Null when a value is NaN or larger than the type can tell, whichever sign it has.
   */
  public static @Nullable Matrix convertIfFits(
      Matrix source, TensorType type, Arena arena, WorkerPool pool) {
    float limit =
        switch (type) {
          case F16 -> MAX_HALF;
          case Q8_0 -> MAX_HALF * 127; // the scale is a half
          case Q4_0 -> MAX_HALF * 8;
          case BF16 -> 0x1.fep127f;
          default -> Float.MAX_VALUE;
        };
    return convert(source, type, row -> largest(row) <= limit, arena, pool);
  }

  private static float largest(float[] row) {
    float max = 0;
    for (float value : row) {
      max = Math.max(max, Math.abs(value)); // NaN stays
    }
    return max;
  }

  /** Null when a row is not accepted. */
  private static @Nullable Matrix convert(
      Matrix source, TensorType type, Predicate<float[]> accepts, Arena arena, WorkerPool pool) {
    int cols = source.cols();
    Matrix result = source.type() == type ? source : allocate(source, type, arena);
    AtomicBoolean accepted = new AtomicBoolean(true);
    pool.split(
        source.rows(),
        (from, to) -> {
          float[] row = new float[cols];
          for (int r = from; r < to && accepted.get(); r++) {
            source.type().dequantize(source.data(), (long) r * cols, row, 0, cols);
            if (!accepts.test(row)) {
              accepted.set(false);
            } else if (result != source) {
              encode(row, type, result.data(), r * result.rowBytes());
            }
          }
        });
    return accepted.get() ? result : null;
  }

  /** W + BA in f32, newly allocated in the arena. */
  public static Matrix merge(Matrix source, LowRank update, Arena arena, WorkerPool pool) {
    int cols = source.cols();
    int rank = update.rank();
    float[][] a = new float[rank][cols];
    for (int k = 0; k < rank; k++) {
      update.a().type().dequantize(update.a().data(), (long) k * cols, a[k], 0, cols);
    }
    Matrix result = allocate(source, TensorType.F32, arena);
    pool.split(
        source.rows(),
        (from, to) -> {
          float[] row = new float[cols];
          float[] sum = new float[cols];
          float[] b = new float[rank];
          for (int r = from; r < to; r++) {
            source.type().dequantize(source.data(), (long) r * cols, row, 0, cols);
            update.b().type().dequantize(update.b().data(), (long) r * rank, b, 0, rank);
            Arrays.fill(sum, 0);
            for (int k = 0; k < rank; k++) {
              multiplyAdd(b[k], a[k], sum);
            }
            multiplyAdd(1, sum, row);
            encode(row, TensorType.F32, result.data(), r * result.rowBytes());
          }
        });
    return result;
  }

  /** {@code y += s * x}. */
  private static void multiplyAdd(float s, float[] x, float[] y) {
    for (int i = 0; i < y.length; i++) {
      y[i] = Math.fma(s, x[i], y[i]);
    }
  }

  /**
   * The type in which a matrix that was stored in another runs once it has changed: the one that it
   * would run in, if rows can be encoded in that.
   */
  static TensorType encodable(TensorType stored) {
    return switch (stored) {
      case F32, F16, BF16, Q8_0, Q4_0 -> stored;
      case Q5_0, IQ4_NL, MXFP4 -> TensorType.Q8_0;
      case Q4_1, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_XS -> TensorType.F16;
    };
  }

  /** The same matrix in the arena. */
  static Matrix copy(Matrix source, Arena arena, WorkerPool pool) {
    Matrix result = allocate(source, source.type(), arena);
    long size = source.data().byteSize();
    pool.run(
        (part, parts) -> {
          long end = size * (part + 1) / parts;
          for (long at = size * part / parts; at < end; at += COPY_BYTES) {
            MemorySegment.copy(
                source.data(), at, result.data(), at, Math.min(COPY_BYTES, end - at));
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
