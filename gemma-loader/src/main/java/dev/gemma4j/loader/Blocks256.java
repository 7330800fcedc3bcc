package dev.gemma4j.loader;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Decodes ggml's super-blocks of 256 values, exactly as ggml does (<a
 * href="https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c">dequantize_row_*</a>).
 *
 * <p>The block's half-precision scales are multiplied by small integer scales, one for each 16 or
 * 32 values. Low and high bits of the values' integers lie apart; each 32 bytes of them hold as
 * many runs of 32 values as they have bits for, the first in the lowest bits.
 */
final class Blocks256 {
  private static final int SIZE = 256;
  private static final int RUN = 32;

  private Blocks256() {}

  private static byte[] block(TensorType type) {
    return new byte[type.blockBytes()];
  }

  private static void load(MemorySegment data, long at, byte[] block) {
    MemorySegment.copy(data, ValueLayout.JAVA_BYTE, at, block, 0, block.length);
  }

  /** scales[16] (scale, min nibbles), integers[64], d, dmin. */
  static void q2_k(MemorySegment data, long at, float[] target, int offset, int count) {
    byte[] block = block(TensorType.Q2_K);
    byte[] q = new byte[SIZE];
    for (int i = offset; i < offset + count; i += SIZE, at += block.length) {
      load(data, at, block);
      float d = Blocks32.half(data, at + 80);
      float dmin = Blocks32.half(data, at + 82);
      bits(block, 16, 2, 3, q);
      for (int s = 0; s < 16; s++) {
        scale(16, d * (block[s] & 15), dmin * (block[s] >> 4 & 15), q, s, target, i);
      }
    }
  }

  /** high bits[32], low bits[64], scales[12], d. */
  static void q3_k(MemorySegment data, long at, float[] target, int offset, int count) {
    byte[] block = block(TensorType.Q3_K);
    byte[] q = new byte[SIZE];
    byte[] high = new byte[SIZE];
    for (int i = offset; i < offset + count; i += SIZE, at += block.length) {
      load(data, at, block);
      float d = Blocks32.half(data, at + 108);
      bits(block, 32, 2, 3, q);
      bits(block, 0, 1, 1, high);
      for (int j = 0; j < SIZE; j++) {
        q[j] = (byte) (q[j] + 4 * high[j] - 4);
      }
      for (int s = 0; s < 16; s++) {
        // Eight bytes of two nibbles each, then four of four high parts each.
        int low = block[96 + s % 8] >> 4 * (s / 8) & 15;
        int upper = block[104 + s % 4] >> 2 * (s / 4) & 3;
        scale(d * ((low | upper << 4) - 32), q, 16 * s, 16, target, i);
      }
    }
  }

  /** d, dmin, scales[12], integers[128]. */
  static void q4_k(MemorySegment data, long at, float[] target, int offset, int count) {
    byte[] block = block(TensorType.Q4_K);
    byte[] q = new byte[SIZE];
    for (int i = offset; i < offset + count; i += SIZE, at += block.length) {
      load(data, at, block);
      bits(block, 16, 4, 15, q);
      scaleRuns(data, at, block, q, target, i);
    }
  }

  /** d, dmin, scales[12], high bits[32], low bits[128]. */
  static void q5_k(MemorySegment data, long at, float[] target, int offset, int count) {
    byte[] block = block(TensorType.Q5_K);
    byte[] q = new byte[SIZE];
    byte[] high = new byte[SIZE];
    for (int i = offset; i < offset + count; i += SIZE, at += block.length) {
      load(data, at, block);
      bits(block, 48, 4, 15, q);
      bits(block, 16, 1, 1, high);
      for (int j = 0; j < SIZE; j++) {
        q[j] = (byte) (q[j] + 16 * high[j]);
      }
      scaleRuns(data, at, block, q, target, i);
    }
  }

  /** low bits[128], high bits[64], scales[16], d. */
  static void q6_k(MemorySegment data, long at, float[] target, int offset, int count) {
    byte[] block = block(TensorType.Q6_K);
    byte[] q = new byte[SIZE];
    byte[] low = new byte[SIZE];
    for (int i = offset; i < offset + count; i += SIZE, at += block.length) {
      load(data, at, block);
      float d = Blocks32.half(data, at + 208);
      // Each 64 bytes hold the low bits of 64 values and then of the next 64, so that the runs of
      // 32 that bits() unpacks are in the order 0, 2, 1, 3 of each 128 values.
      bits(block, 0, 4, 15, low);
      bits(block, 128, 2, 3, q);
      for (int run = 0; run < 8; run++) {
        int from = RUN * (run & 4 | (run & 1) << 1 | run >> 1 & 1);
        for (int j = 0; j < RUN; j++) {
          q[RUN * run + j] = (byte) (low[from + j] + 16 * q[RUN * run + j] - 32);
        }
      }
      for (int s = 0; s < 16; s++) {
        scale(d * block[192 + s], q, 16 * s, 16, target, i);
      }
    }
  }

  /** d, high parts of scales (16 bits), low parts[4], indices[128]: nibbles as in 32-blocks. */
  static void iq4_xs(MemorySegment data, long at, float[] target, int offset, int count) {
    byte[] block = block(TensorType.IQ4_XS);
    byte[] q = new byte[SIZE];
    for (int i = offset; i < offset + count; i += SIZE, at += block.length) {
      load(data, at, block);
      float d = Blocks32.half(data, at);
      int upper = data.get(Blocks32.SHORT, at + 2);
      for (int run = 0; run < 8; run++) {
        for (int j = 0; j < RUN / 2; j++) {
          int pair = block[8 + 16 * run + j];
          q[RUN * run + j] = Blocks32.IQ4_VALUES[pair & 15];
          q[RUN * run + 16 + j] = Blocks32.IQ4_VALUES[pair >> 4 & 15];
        }
        int low = block[4 + run / 2] >> 4 * (run % 2) & 15;
        scale(d * ((low | (upper >> 2 * run & 3) << 4) - 32), q, RUN * run, RUN, target, i);
      }
    }
  }

  /** Unpacks 256 integers of so many bits each from the block's byte {@code from} on. */
  private static void bits(byte[] block, int from, int width, int mask, byte[] q) {
    for (int run = 0; run < 8; run++) {
      int at = from + RUN * (run * width / 8);
      int shift = run * width % 8;
      for (int j = 0; j < RUN; j++) {
        q[RUN * run + j] = (byte) (block[at + j] >> shift & mask);
      }
    }
  }

  /** Scales and minima of Q4_K and Q5_K: eight of 6 bits each in 12 bytes. */
  private static void scaleRuns(
      MemorySegment data, long at, byte[] block, byte[] q, float[] target, int offset) {
    float d = Blocks32.half(data, at);
    float dmin = Blocks32.half(data, at + 2);
    for (int s = 0; s < 8; s++) {
      int scale;
      int min;
      if (s < 4) {
        scale = block[4 + s] & 63;
        min = block[8 + s] & 63;
      } else {
        scale = block[8 + s] & 15 | block[s] >> 2 & 0x30;
        min = block[8 + s] >> 4 & 15 | block[4 + s] >> 2 & 0x30;
      }
      scale(RUN, d * scale, dmin * min, q, s, target, offset);
    }
  }

  private static void scale(float scale, byte[] q, int from, int size, float[] target, int offset) {
    for (int j = from; j < from + size; j++) {
      target[offset + j] = scale * q[j];
    }
  }

  /** target = scale * q - min for part s of so many values. */
  private static void scale(
      int size, float scale, float min, byte[] q, int s, float[] target, int offset) {
    for (int j = size * s; j < size * (s + 1); j++) {
      target[offset + j] = scale * q[j] - min;
    }
  }
}
