package dev.gemma4j.loader;

import java.lang.foreign.MemorySegment;

/** Stub of the agreed API; the loader branch replaces it. */
public enum TensorType {
  F32(1, 4),
  F16(1, 2),
  BF16(1, 2),
  Q8_0(32, 34),
  Q4_0(32, 18);

  private final int blockSize;
  private final int blockBytes;

  TensorType(int blockSize, int blockBytes) {
    this.blockSize = blockSize;
    this.blockBytes = blockBytes;
  }

  public int blockSize() {
    return blockSize;
  }

  public int blockBytes() {
    return blockBytes;
  }

  public long byteSize(long elements) {
    return elements / blockSize * blockBytes;
  }

  public void dequantize(
      MemorySegment data, long firstElement, float[] target, int targetOffset, int count) {
    throw new UnsupportedOperationException();
  }
}
