package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.VectorKernels.F;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;

/**
 * The keys of a page, or a block of its values, as f32: in place where they are stored so, else
 * decoded to scratch. Vectors of 128 bits load twice as many bytes as they convert; those behind
 * the last ones are scales.
 */
final class KvVectors {
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final int LANES = F.length();

  private KvVectors() {}

  /** Where the keys begin in what {@link #keys} returns. */
  static long keysAt(KvLayout layout) {
    return layout.type() == KvLayout.Type.F32 ? layout.keys() : 0;
  }

  /** Where the values begin in what {@link #values} returns. */
  static long valuesAt(KvLayout layout, int block) {
    return layout.type() == KvLayout.Type.F32 ? layout.values() + 4 * first(layout, block) : 0;
  }

  /** The index of a block's first element among the values. */
  private static long first(KvLayout layout, int block) {
    return (long) block * layout.pageSize() * KvLayout.BLOCK;
  }

  /** The keys [headDim][pageSize]. */
  static MemorySegment keys(MemorySegment page, KvLayout layout, Scratch scratch) {
    page = NativeMemory.known(page);
    int pageSize = layout.pageSize();
    int rows = layout.headDim();
    return switch (layout.type()) {
      case F32 -> page;
      case F16 -> halves(page, layout.keys(), rows * pageSize, scratch);
      case Q8 -> {
        MemorySegment target = NativeMemory.known(scratch.aligned(4L * rows * pageSize));
        long scales = layout.scales(layout.keys());
        for (int b = 0; b < KvLayout.blocks(rows); b++) {
          int end = Math.min(rows, (b + 1) * KvLayout.BLOCK);
          for (int p = 0; p < pageSize; p += LANES) {
            long at = scales + 4L * (b * pageSize + p);
            FloatVector scale = FloatVector.fromMemorySegment(F, page, at, LE);
            for (int d = b * KvLayout.BLOCK; d < end; d++) {
              long i = (long) d * pageSize + p;
              VectorDot.floats(page, layout.keys() + i)
                  .mul(scale)
                  .intoMemorySegment(target, 4 * i, LE);
            }
          }
        }
        yield target;
      }
    };
  }

  /** A block of the values, [n][BLOCK]. */
  static MemorySegment values(
      MemorySegment page, KvLayout layout, int block, int n, Scratch scratch) {
    page = NativeMemory.known(page);
    long first = first(layout, block);
    return switch (layout.type()) {
      case F32 -> page;
      case F16 -> halves(page, layout.values() + 2 * first, n * KvLayout.BLOCK, scratch);
      case Q8 -> {
        MemorySegment target = NativeMemory.known(scratch.aligned(4L * n * KvLayout.BLOCK));
        long scales = layout.scales(layout.values()) + 4L * block * layout.pageSize();
        for (int p = 0; p < n; p++) {
          float scale = page.get(KvLayout.FLOAT, scales + 4L * p);
          for (int i = p * KvLayout.BLOCK; i < (p + 1) * KvLayout.BLOCK; i += LANES) {
            VectorDot.floats(page, layout.values() + first + i)
                .mul(scale)
                .intoMemorySegment(target, 4L * i, LE);
          }
        }
        yield target;
      }
    };
  }

  private static MemorySegment halves(MemorySegment page, long at, int n, Scratch scratch) {
    MemorySegment target = NativeMemory.known(scratch.aligned(4L * n));
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
      VectorDot.halves(page, at + 2L * i).intoMemorySegment(target, 4L * i, LE);
    }
    for (; i < n; i++) {
      float value = Float.float16ToFloat(page.get(KvLayout.SHORT, at + 2L * i));
      target.set(KvLayout.FLOAT, 4L * i, value);
    }
    return target;
  }
}
