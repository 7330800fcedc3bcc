package dev.gemma4j.kernel;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/**
 * Where one layer's keys and values of one KV head lie in each page, and how they are stored there:
 * keys transposed as [headDim][pageSize], values as [headDim / 32][pageSize][32], so that both
 * products of attention run along neighbouring memory, and threads can share the positions of the
 * one and the dimensions of the other. Q8 has one f32 scale for {@value #BLOCK} neighbouring
 * elements of a head, behind the elements: [headDim / 32][pageSize].
 *
 * @param pageSize positions per page
 * @param keys byte of a page at which the keys begin
 * @param values byte of a page at which the values begin
 */
public record KvLayout(Type type, int pageSize, int headDim, long keys, long values) {
  /** How an element is stored. */
  public enum Type {
    F32,
    F16,
    Q8
  }

  /** Neighbouring elements of a head that share a scale, and whose values lie together. */
  public static final int BLOCK = 32;

  static final ValueLayout.OfFloat FLOAT =
      ValueLayout.JAVA_FLOAT.withOrder(ByteOrder.LITTLE_ENDIAN);
  static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** Bytes of the keys, or of the values, of one KV head in one page; a multiple of 64. */
  public static long bytes(Type type, int pageSize, int headDim) {
    long blocks = (long) pageSize * blocks(headDim);
    long bytes =
        switch (type) {
          case F32 -> 4 * blocks * BLOCK;
          case F16 -> 2 * blocks * BLOCK;
          case Q8 -> blocks * (BLOCK + 4);
        };
    return (bytes + 63) / 64 * 64;
  }

  /** Stores the key and the value of one position, [headDim] from offset in both. */
  public void put(MemorySegment page, int slot, float[] key, float[] value, int offset) {
    put(page, keys, slot, pageSize, slot, key, offset);
    put(page, values, slot * BLOCK, 1, slot, value, offset);
  }

  /** Reads back what {@link #put} stored, as rounded there. */
  public void get(MemorySegment page, int slot, float[] key, float[] value, int offset) {
    for (int d = 0; d < headDim; d++) {
      key[offset + d] = key(page, slot, d);
      value[offset + d] = value(page, slot, d);
    }
  }

  private float key(MemorySegment page, int slot, int d) {
    return element(page, keys, d * pageSize + slot, d / BLOCK * pageSize + slot);
  }

  float value(MemorySegment page, int slot, int d) {
    int block = d / BLOCK * pageSize + slot;
    return element(page, values, block * BLOCK + d % BLOCK, block);
  }

  /** All keys of a page, [headDim][pageSize]. */
  void readKeys(MemorySegment page, float[] target) {
    if (type == Type.F32) {
      MemorySegment.copy(page, FLOAT, keys, target, 0, headDim * pageSize);
      return;
    }
    for (int d = 0; d < headDim; d++) {
      for (int p = 0; p < pageSize; p++) {
        target[d * pageSize + p] = key(page, p, d);
      }
    }
  }

  /** Elements [from, to) of one position's value, into {@code target[0..]}. */
  void readValue(MemorySegment page, int slot, int from, int to, float[] target) {
    if (type != Type.F32) {
      for (int d = from; d < to; d++) {
        target[d - from] = value(page, slot, d);
      }
      return;
    }
    for (int d = from; d < to; d += BLOCK) {
      long at = values + 4L * (d / BLOCK * pageSize + slot) * BLOCK;
      MemorySegment.copy(page, FLOAT, at, target, d - from, Math.min(BLOCK, to - d));
    }
  }

  private float element(MemorySegment page, long at, int element, int scale) {
    return switch (type) {
      case F32 -> page.get(FLOAT, at + 4L * element);
      case F16 -> Float.float16ToFloat(page.get(SHORT, at + 2L * element));
      case Q8 ->
          page.get(ValueLayout.JAVA_BYTE, at + element) * page.get(FLOAT, scales(at) + 4L * scale);
    };
  }

  /** A block's elements lie at a first index and then every {@code step}. */
  private void put(
      MemorySegment page, long at, int first, int step, int slot, float[] x, int offset) {
    for (int b = 0; b < blocks(headDim); b++) {
      int n = Math.min(BLOCK, headDim - b * BLOCK);
      int from = offset + b * BLOCK;
      int to = first + b * pageSize * BLOCK;
      switch (type) {
        case F32 -> {
          for (int i = 0; i < n; i++) {
            page.set(FLOAT, at + 4L * (to + i * step), x[from + i]);
          }
        }
        case F16 -> {
          for (int i = 0; i < n; i++) {
            page.set(SHORT, at + 2L * (to + i * step), Float.floatToFloat16(x[from + i]));
          }
        }
        case Q8 -> {
          float max = 0;
          for (int i = 0; i < n; i++) {
            max = Math.max(max, Math.abs(x[from + i]));
          }
          float unit = max / 127;
          float inverse = unit == 0 ? 0 : 1 / unit;
          page.set(FLOAT, scales(at) + 4L * (b * pageSize + slot), unit);
          for (int i = 0; i < n; i++) {
            byte q = (byte) Math.round(x[from + i] * inverse);
            page.set(ValueLayout.JAVA_BYTE, at + to + (long) i * step, q);
          }
        }
      }
    }
  }

  /** The byte at which the scales of keys or values at {@code at} begin. */
  long scales(long at) {
    return at + (long) pageSize * blocks(headDim) * BLOCK;
  }

  static int blocks(int headDim) {
    return (headDim + BLOCK - 1) / BLOCK;
  }
}
