package dev.gemma4j.bench;

import dev.gemma4j.kernel.WorkerPool;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/** What the machine can do at most, by the same means that the kernels have. */
final class MachineLimit {
  private static final VectorSpecies<Long> L = LongVector.SPECIES_PREFERRED;
  private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
  private static final int CHUNK = 1 << 20;
  private static final int FMA_STEPS = 1 << 20;
  private static final int CHAINS = 12;

  private MachineLimit() {}

  /** Reads the buffer once, each member of the pool its own run of whole MiB. */
  static long read(WorkerPool pool, MemorySegment buffer) {
    long[] sums = new long[pool.size() * 16];
    long chunks = buffer.byteSize() / CHUNK;
    pool.run(
        (part, parts) -> {
          long sum = 0;
          for (long c = chunks * part / parts; c < chunks * (part + 1) / parts; c++) {
            sum += read(buffer, c * CHUNK);
          }
          sums[part * 16] = sum;
        });
    long sum = 0;
    for (long s : sums) {
      sum += s;
    }
    return sum;
  }

  private static long read(MemorySegment buffer, long at) {
    LongVector a = LongVector.zero(L), b = a, c = a, d = a;
    int step = L.vectorByteSize();
    for (int i = 0; i < CHUNK; i += 4 * step) {
      a = a.add(load(buffer, at + i));
      b = b.add(load(buffer, at + i + step));
      c = c.add(load(buffer, at + i + 2 * step));
      d = d.add(load(buffer, at + i + 3 * step));
    }
    return a.add(b).add(c.add(d)).reduceLanes(VectorOperators.ADD);
  }

  private static LongVector load(MemorySegment buffer, long at) {
    return LongVector.fromMemorySegment(L, buffer, at, ByteOrder.LITTLE_ENDIAN);
  }

  /** Multiply-adds on registers alone; returns the floating-point operations done. */
  static double fma(WorkerPool pool, float factor) {
    float[] sums = new float[pool.size() * 16];
    pool.run((part, parts) -> sums[part * 16] = fma(factor));
    // The sum depends on all the work, so nothing of it can be left out.
    return 2.0 * CHAINS * F.length() * FMA_STEPS * pool.size() + Math.min(0, sums[0]);
  }

  private static float fma(float factor) {
    FloatVector x = FloatVector.broadcast(F, factor);
    FloatVector y = FloatVector.broadcast(F, 1 - factor);
    FloatVector a = x, b = x, c = x, d = x, e = x, f = x;
    FloatVector g = x, h = x, i = x, j = x, k = x, l = x;
    for (int n = 0; n < FMA_STEPS; n++) {
      a = a.fma(x, y);
      b = b.fma(x, y);
      c = c.fma(x, y);
      d = d.fma(x, y);
      e = e.fma(x, y);
      f = f.fma(x, y);
      g = g.fma(x, y);
      h = h.fma(x, y);
      i = i.fma(x, y);
      j = j.fma(x, y);
      k = k.fma(x, y);
      l = l.fma(x, y);
    }
    return a.add(b).add(c).add(d).add(e).add(f).reduceLanes(VectorOperators.ADD)
        + g.add(h).add(i).add(j).add(k).add(l).reduceLanes(VectorOperators.ADD);
  }
}
