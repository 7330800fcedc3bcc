package dev.gemma4j.kernel;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/**
 * Where one layer's keys and values of one KV head lie in each page, and how they are stored there:
 * keys transposed as [headDim][pageSize], values as [pageSize][headDim], so that both products of
 * attention run along neighbouring memory. Q8 has one f32 scale for {@value #BLOCK} neighbouring
 * elements of a head, behind the elements: [headDim / 32][pageSize] for keys, [pageSize][headDim /
 * 32] for values.
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

  /** Elements of a head that share a scale. */
  static final int BLOCK = 32;

  static final ValueLayout.OfFloat FLOAT =
      ValueLayout.JAVA_FLOAT.withOrder(ByteOrder.LITTLE_ENDIAN);
  static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** Bytes of the keys, or of the values, of one KV head in one page; a multiple of 64. */
  public static long bytes(Type type, int pageSize, int headDim) {
    long elements = (long) pageSize * headDim;
    long bytes =
        switch (type) {
          case F32 -> 4 * elements;
          case F16 -> 2 * elements;
          case Q8 -> (elements + 3) / 4 * 4 + 4L * pageSize * blocks(headDim);
        };
    return (bytes + 63) / 64 * 64;
  }

  /** Stores the key and the value of one position, [headDim] from offset in both. */
  public void put(MemorySegment page, int slot, float[] key, float[] value, int offset) {
    put(page, keys, slot, pageSize, slot, pageSize, key, offset);
    put(page, values, slot * headDim, 1, slot * blocks(headDim), 1, value, offset);
  }

  /** Reads back what {@link #put} stored, as rounded there. */
  public void get(MemorySegment page, int slot, float[] key, float[] value, int offset) {
    for (int d = 0; d < headDim; d++) {
      int block = d / BLOCK;
      key[offset + d] = element(page, keys, d * pageSize + slot, block * pageSize + slot);
      value[offset + d] = element(page, values, slot * headDim + d, slot * blocks(headDim) + block);
    }
  }

  /** All keys of a page, [headDim][pageSize]. */
  void readKeys(MemorySegment page, float[] target) {
    if (type == Type.F32) {
      MemorySegment.copy(page, FLOAT, keys, target, 0, headDim * pageSize);
      return;
    }
    for (int d = 0; d < headDim; d++) {
      for (int p = 0; p < pageSize; p++) {
        int i = d * pageSize + p;
        target[i] = element(page, keys, i, d / BLOCK * pageSize + p);
      }
    }
  }

  /** The values of a page's first n positions, [n][headDim]. */
  void readValues(MemorySegment page, int n, float[] target) {
    if (type == Type.F32) {
      MemorySegment.copy(page, FLOAT, values, target, 0, n * headDim);
      return;
    }
    for (int p = 0; p < n; p++) {
      for (int d = 0; d < headDim; d++) {
        int i = p * headDim + d;
        target[i] = element(page, values, i, p * blocks(headDim) + d / BLOCK);
      }
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

  /** Elements and scales lie at a first index and then every {@code step}. */
  private void put(
      MemorySegment page,
      long at,
      int element,
      int step,
      int scale,
      int scaleStep,
      float[] x,
      int offset) {
    switch (type) {
      case F32 -> {
        for (int d = 0; d < headDim; d++) {
          page.set(FLOAT, at + 4L * (element + d * step), x[offset + d]);
        }
      }
      case F16 -> {
        for (int d = 0; d < headDim; d++) {
          page.set(SHORT, at + 2L * (element + d * step), Float.floatToFloat16(x[offset + d]));
        }
      }
      case Q8 -> {
        for (int b = 0; b < blocks(headDim); b++) {
          int end = Math.min(headDim, (b + 1) * BLOCK);
          float max = 0;
          for (int d = b * BLOCK; d < end; d++) {
            max = Math.max(max, Math.abs(x[offset + d]));
          }
          float unit = max / 127;
          float inverse = unit == 0 ? 0 : 1 / unit;
          page.set(FLOAT, scales(at) + 4L * (scale + b * scaleStep), unit);
          for (int d = b * BLOCK; d < end; d++) {
            byte q = (byte) Math.round(x[offset + d] * inverse);
            page.set(ValueLayout.JAVA_BYTE, at + element + (long) d * step, q);
          }
        }
      }
    }
  }

  /** The byte at which the scales of keys or values at {@code at} begin. */
  long scales(long at) {
    return at + ((long) pageSize * headDim + 3) / 4 * 4;
  }

  static int blocks(int headDim) {
    return (headDim + BLOCK - 1) / BLOCK;
  }
}
