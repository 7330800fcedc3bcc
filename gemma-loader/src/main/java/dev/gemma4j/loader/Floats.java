package dev.gemma4j.loader;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/** Decodes values that stand each for itself, little-endian. */
final class Floats {
  private static final ValueLayout.OfFloat FLOAT =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** Stays in the first-level cache. */
  private static final int CHUNK = 1024;

  private Floats() {}

  static void f32(MemorySegment data, long at, float[] target, int offset, int count) {
    MemorySegment.copy(data, FLOAT, at, target, offset, count);
  }

  static void f16(MemorySegment data, long at, float[] target, int offset, int count) {
    short[] halves = new short[Math.min(CHUNK, count)];
    for (int from = 0; from < count; from += CHUNK) {
      int n = Math.min(CHUNK, count - from);
      MemorySegment.copy(data, SHORT, at + 2L * from, halves, 0, n);
      for (int i = 0; i < n; i++) {
        target[offset + from + i] = Float.float16ToFloat(halves[i]);
      }
    }
  }

  static void bf16(MemorySegment data, long at, float[] target, int offset, int count) {
    for (int i = 0; i < count; i++) {
      target[offset + i] = Float.intBitsToFloat(data.get(SHORT, at + 2L * i) << 16);
    }
  }
}
