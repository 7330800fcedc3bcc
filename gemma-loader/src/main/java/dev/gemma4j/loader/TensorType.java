package dev.gemma4j.loader;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Objects;

/**
 * How a tensor's values are stored. The block types are ggml's, which share one half-precision
 * scale among 32 values (<a
 * href="https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h">format</a>).
 */
public enum TensorType {
  /** IEEE single precision. */
  F32(1, 4) {
    @Override
    void decode(MemorySegment data, long at, float[] target, int offset, int count) {
      MemorySegment.copy(data, FLOAT, at, target, offset, count);
    }
  },
  /** IEEE half precision. */
  F16(1, 2) {
    @Override
    void decode(MemorySegment data, long at, float[] target, int offset, int count) {
      short[] halves = new short[Math.min(CHUNK, count)];
      for (int from = 0; from < count; from += CHUNK) {
        int n = Math.min(CHUNK, count - from);
        MemorySegment.copy(data, SHORT, at + 2L * from, halves, 0, n);
        for (int i = 0; i < n; i++) {
          target[offset + from + i] = Float.float16ToFloat(halves[i]);
        }
      }
    }
  },
  /** The upper half of {@link #F32}. */
  BF16(1, 2) {
    @Override
    void decode(MemorySegment data, long at, float[] target, int offset, int count) {
      for (int i = 0; i < count; i++) {
        target[offset + i] = Float.intBitsToFloat(data.get(SHORT, at + 2L * i) << 16);
      }
    }
  },
  /** Signed bytes; value = scale * q. */
  Q8_0(32, 34) {
    @Override
    void decode(MemorySegment data, long at, float[] target, int offset, int count) {
      byte[] block = new byte[34];
      for (int i = offset; i < offset + count; i += 32, at += 34) {
        float scale = Float.float16ToFloat(data.get(SHORT, at));
        MemorySegment.copy(data, ValueLayout.JAVA_BYTE, at, block, 0, 34);
        for (int j = 0; j < 32; j++) {
          target[i + j] = scale * block[2 + j];
        }
      }
    }
  },
  /** Nibbles; value = scale * (q - 8); the low ones are the first 16 values. */
  Q4_0(32, 18) {
    @Override
    void decode(MemorySegment data, long at, float[] target, int offset, int count) {
      byte[] block = new byte[18];
      for (int i = offset; i < offset + count; i += 32, at += 18) {
        float scale = Float.float16ToFloat(data.get(SHORT, at));
        MemorySegment.copy(data, ValueLayout.JAVA_BYTE, at, block, 0, 18);
        for (int j = 0; j < 16; j++) {
          target[i + j] = scale * ((block[2 + j] & 15) - 8);
          target[i + 16 + j] = scale * ((block[2 + j] >> 4 & 15) - 8);
        }
      }
    }
  };

  private static final ValueLayout.OfFloat FLOAT =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** Stays in the first-level cache. */
  private static final int CHUNK = 1024;

  private final int blockSize;
  private final int blockBytes;

  TensorType(int blockSize, int blockBytes) {
    this.blockSize = blockSize;
    this.blockBytes = blockBytes;
  }

  /** Values of one block, 1 where each stands alone. Rows are a multiple of it. */
  public int blockSize() {
    return blockSize;
  }

  /** Bytes of one block. */
  public int blockBytes() {
    return blockBytes;
  }

  /**
   * Bytes of so many values.
   *
   * @param elements a multiple of {@link #blockSize()}
   * @throws ArithmeticException when they are too many for a long
   */
  public long byteSize(long elements) {
    return Math.multiplyExact(elements / blockSize, (long) blockBytes);
  }

  /**
   * Decodes values, exactly as ggml does.
   *
   * @param data a tensor's bytes
   * @param firstElement where to begin, a multiple of {@link #blockSize()}
   * @param target receives count values from targetOffset on
   * @param count a multiple of {@link #blockSize()}
   * @throws IllegalArgumentException when one is not such a multiple
   * @throws IndexOutOfBoundsException when data or target are too short
   */
  public void dequantize(
      MemorySegment data, long firstElement, float[] target, int targetOffset, int count) {
    if (firstElement % blockSize != 0 || count % blockSize != 0) {
      throw new IllegalArgumentException(
          "elements "
              + firstElement
              + " and following "
              + count
              + " do not begin and end at blocks of "
              + blockSize);
    }
    Objects.checkFromIndexSize(targetOffset, count, target.length);
    long at = byteSize(firstElement);
    Objects.checkFromIndexSize(at, byteSize(count), data.byteSize());
    decode(data, at, target, targetOffset, count);
  }

  /** Decodes whole blocks from byte {@code at} on; bounds are checked. */
  abstract void decode(MemorySegment data, long at, float[] target, int offset, int count);
}
