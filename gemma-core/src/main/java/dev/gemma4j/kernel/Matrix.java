package dev.gemma4j.kernel;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.MemorySegment;

/**
 * A weight matrix [rows, cols] in one of the stored types, off-heap and immutable.
 *
 * @param data little-endian; row after row, unless packed
 * @param packed whether data are in the layout that {@link Kernels#pack} made for its own use
 */
public record Matrix(TensorType type, int rows, int cols, MemorySegment data, boolean packed) {
  public Matrix {
    if (cols % type.blockSize() != 0) {
      throw new IllegalArgumentException(
          cols + " columns are no multiple of the " + type + " block of " + type.blockSize());
    }
    long expected = type.byteSize((long) rows * cols);
    // A packed matrix may be padded.
    if (packed ? data.byteSize() < expected : data.byteSize() != expected) {
      throw new IllegalArgumentException(
          data.byteSize() + " bytes for a " + type + " matrix of " + rows + " x " + cols);
    }
    data = NativeMemory.of(data);
  }

  /** A matrix as checkpoints store it, row after row. */
  public Matrix(TensorType type, int rows, int cols, MemorySegment data) {
    this(type, rows, cols, data, false);
  }

  /** Bytes of one row. */
  public long rowBytes() {
    return type.byteSize(cols);
  }
}
