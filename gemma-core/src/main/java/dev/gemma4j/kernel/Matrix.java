package dev.gemma4j.kernel;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.MemorySegment;

/**
 * A weight matrix [rows, cols] in one of the stored types, row after row, off-heap and immutable.
 *
 * @param data rows * rowBytes bytes, little-endian
 */
public record Matrix(TensorType type, int rows, int cols, MemorySegment data) {
  public Matrix {
    if (cols % type.blockSize() != 0) {
      throw new IllegalArgumentException(
          cols + " columns are no multiple of the " + type + " block of " + type.blockSize());
    }
    if (data.byteSize() != type.byteSize((long) rows * cols)) {
      throw new IllegalArgumentException(
          data.byteSize() + " bytes for a " + type + " matrix of " + rows + " x " + cols);
    }
  }

  /** Bytes of one row. */
  public long rowBytes() {
    return type.byteSize(cols);
  }
}
