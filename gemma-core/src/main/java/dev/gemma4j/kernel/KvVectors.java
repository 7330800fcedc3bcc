package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.VectorKernels.F;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;

/** Keys and values of a page as f32: in place where they are stored so, else decoded to scratch. */
final class KvVectors {
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final int LANES = F.length();

  private KvVectors() {}

  /** Where keys or values begin in what {@link #keys} or {@link #values} returns. */
  static long at(KvLayout layout, long stored) {
    return layout.type() == KvLayout.Type.F32 ? stored : 0;
  }

  /** The keys [headDim][pageSize]. */
  static MemorySegment keys(MemorySegment page, KvLayout layout, Scratch scratch) {
    int pageSize = layout.pageSize();
    int rows = layout.headDim();
    return switch (layout.type()) {
      case F32 -> page;
      case F16 -> halves(page, layout.keys(), rows * pageSize, scratch);
      case Q8 -> {
        MemorySegment target = scratch.aligned(4L * rows * pageSize);
        long scales = layout.scales(layout.keys());
        for (int b = 0; b < KvLayout.blocks(rows); b++) {
          int end = Math.min(rows, (b + 1) * KvLayout.BLOCK);
          for (int p = 0; p < pageSize; p += LANES) {
            long at = scales + 4L * (b * pageSize + p);
            FloatVector scale = FloatVector.fromMemorySegment(F, page, at, LE);
            for (int d = b * KvLayout.BLOCK; d < end; d++) {
              long i = (long) d * pageSize + p;
              VectorDot.bytes(page, layout.keys() + i)
                  .mul(scale)
                  .intoMemorySegment(target, 4 * i, LE);
            }
          }
        }
        yield target;
      }
    };
  }

  /** The values [n][headDim]. */
  static MemorySegment values(MemorySegment page, KvLayout layout, int n, Scratch scratch) {
    int headDim = layout.headDim();
    return switch (layout.type()) {
      case F32 -> page;
      case F16 -> halves(page, layout.values(), n * headDim, scratch);
      case Q8 -> {
        MemorySegment target = scratch.aligned(4L * n * headDim);
        long scales = layout.scales(layout.values());
        int blocks = KvLayout.blocks(headDim);
        for (int p = 0; p < n; p++) {
          for (int d = 0; d < headDim; d += KvLayout.BLOCK) {
            float scale = page.get(KvLayout.FLOAT, scales + 4L * (p * blocks + d / KvLayout.BLOCK));
            int end = Math.min(headDim, d + KvLayout.BLOCK);
            int j = d;
            for (; j + LANES <= end; j += LANES) {
              long i = (long) p * headDim + j;
              VectorDot.bytes(page, layout.values() + i)
                  .mul(scale)
                  .intoMemorySegment(target, 4 * i, LE);
            }
            for (; j < end; j++) {
              long i = (long) p * headDim + j;
              target.set(
                  KvLayout.FLOAT,
                  4 * i,
                  page.get(ValueLayout.JAVA_BYTE, layout.values() + i) * scale);
            }
          }
        }
        yield target;
      }
    };
  }

  private static MemorySegment halves(MemorySegment page, long at, int n, Scratch scratch) {
    MemorySegment target = scratch.aligned(4L * n);
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
