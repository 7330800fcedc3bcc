package dev.gemma4j.loader;

import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * How a tensor's values are stored. All but the first three are ggml's blocks of small integers
 * that share scales (<a
 * href="https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h">format</a>).
 */
public enum TensorType {
  /** IEEE single precision. */
  F32(1, 4, Floats::f32),
  /** IEEE half precision. */
  F16(1, 2, Floats::f16),
  /** The upper half of {@link #F32}. */
  BF16(1, 2, Floats::bf16),
  /** 8-bit integers; value = scale * q, the scale a half. */
  Q8_0(32, 34, Blocks32::q8_0),
  /** 4-bit integers; value = scale * (q - 8), the scale a half. */
  Q4_0(32, 18, Blocks32::q4_0),
  /** 4-bit integers; value = scale * q + min, both halves. */
  Q4_1(32, 20, Blocks32::q4_1),
  /** 5-bit integers; value = scale * (q - 16), the scale a half. */
  Q5_0(32, 22, Blocks32::q5_0),
  /** 5-bit integers; value = scale * q + min, both halves. */
  Q5_1(32, 24, Blocks32::q5_1),
  /** 4-bit indices into 16 unevenly spaced 8-bit integers, times a half. */
  IQ4_NL(32, 18, Blocks32::iq4_nl),
  /** 4-bit floats times a power of two: OCP's microscaling format. */
  MXFP4(32, 17, Blocks32::mxfp4),
  /** 2-bit integers; 16 values share a scale and a minimum of 4 bits. */
  Q2_K(256, 84, Blocks256::q2_k),
  /** 3-bit integers; 16 values share a scale of 6 bits. */
  Q3_K(256, 110, Blocks256::q3_k),
  /** 4-bit integers; 32 values share a scale and a minimum of 6 bits. */
  Q4_K(256, 144, Blocks256::q4_k),
  /** 5-bit integers; 32 values share a scale and a minimum of 6 bits. */
  Q5_K(256, 176, Blocks256::q5_k),
  /** 6-bit integers; 16 values share a scale of 8 bits. */
  Q6_K(256, 210, Blocks256::q6_k),
  /** As {@link #IQ4_NL}; 32 values share a scale of 6 bits. */
  IQ4_XS(256, 136, Blocks256::iq4_xs);

  /** Decodes whole blocks from byte {@code at} on; bounds are checked. */
  interface Decoder {
    void decode(MemorySegment data, long at, float[] target, int offset, int count);
  }

  private final int blockSize;
  private final int blockBytes;
  private final Decoder decoder;

  TensorType(int blockSize, int blockBytes, Decoder decoder) {
    this.blockSize = blockSize;
    this.blockBytes = blockBytes;
    this.decoder = decoder;
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
    long at = check(data, firstElement, count);
    Objects.checkFromIndexSize(targetOffset, count, target.length);
    decoder.decode(data, at, target, targetOffset, count);
  }

  /**
   * Stores values as {@link #Q8_0} blocks of the same scales and integers: nothing is rounded.
   *
   * @param data a tensor's bytes
   * @param firstElement where to begin, a multiple of 32
   * @param target receives the blocks from byte targetAt on
   * @param count a multiple of 32
   * @return false when these values have no such form, as the type is not {@link #Q5_0}, {@link
   *     #IQ4_NL} or {@link #MXFP4}, or a scale of the latter is no half
   * @throws IllegalArgumentException when one is not such a multiple
   * @throws IndexOutOfBoundsException when data or target are too short
   */
  public boolean copyToQ8(
      MemorySegment data, long firstElement, MemorySegment target, long targetAt, int count) {
    long at = check(data, firstElement, count);
    return switch (this) {
      case Q5_0, IQ4_NL, MXFP4 -> Blocks32.copyToQ8(this, data, at, target, targetAt, count);
      default -> false;
    };
  }

  /** The byte where elements begin, once it is clear that they do and are all there. */
  private long check(MemorySegment data, long firstElement, int count) {
    if (firstElement % blockSize != 0 || count % blockSize != 0) {
      throw new IllegalArgumentException(
          "elements "
              + firstElement
              + " and following "
              + count
              + " do not begin and end at blocks of "
              + blockSize);
    }
    long at = byteSize(firstElement);
    Objects.checkFromIndexSize(at, byteSize(count), data.byteSize());
    return at;
  }
}
