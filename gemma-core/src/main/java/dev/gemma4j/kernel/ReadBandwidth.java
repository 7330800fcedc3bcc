package dev.gemma4j.kernel;

import dev.gemma4j.io.HugePages;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * How fast this machine reads memory, by the same means that the kernels have: what bounds the
 * decoding of one sequence. Each thread reads in four places, which is faster than in one.
 */
public final class ReadBandwidth {
  private static final long BYTES = 1L << 30; // beyond any last-level cache
  private static final int CHUNK = 1 << 20;

  private ReadBandwidth() {}

  /** The median of passes over a gigabyte, each thread reading its own part; in GB/s. */
  public static double measure(int threads, int passes) {
    double[] rates = new double[passes];
    try (Arena arena = Arena.ofShared();
        WorkerPool pool = WorkerPool.start(threads, "bandwidth")) {
      MemorySegment buffer = HugePages.allocate(arena, BYTES).fill((byte) 1);
      read(pool, buffer); // the JIT's turn
      for (int pass = 0; pass < passes; pass++) {
        long start = System.nanoTime();
        read(pool, buffer);
        rates[pass] = (double) BYTES / (System.nanoTime() - start);
      }
    }
    Arrays.sort(rates);
    return rates[passes / 2];
  }

  /**
   * Reads a buffer once, each member of the pool its own run of whole MiB.
   *
   * @return a sum of all that was read, so that nothing of it can be left out
   */
  public static long read(WorkerPool pool, MemorySegment buffer) {
    boolean vectors = KernelProvider.vectorAvailable() && KernelProvider.vectorCompiled();
    long[] sums = new long[pool.size() * 16]; // a cache line or two for each
    pool.run(
        (part, parts) -> {
          long chunks = buffer.byteSize() / CHUNK;
          long from = chunks * part / parts;
          long n = chunks * (part + 1) / parts - from;
          long sum = 0;
          for (long c = 0; c < n; c++) {
            long at = (from + c) * CHUNK;
            if (vectors && c < n / 4) {
              sum += Vectors.sum(buffer, at, n / 4 * CHUNK);
            } else if (!vectors || c >= n / 4 * 4) {
              sum += sum(buffer.asSlice(at, CHUNK));
            }
          }
          sums[part * 16] = sum;
        });
    return Arrays.stream(sums).sum();
  }

  /** One sum and nothing else in the loop, so that the JIT vectorises it. */
  private static long sum(MemorySegment chunk) {
    long sum = 0;
    for (int i = 0; i < CHUNK / Long.BYTES; i++) {
      sum += chunk.get(ValueLayout.JAVA_LONG_UNALIGNED, (long) i * Long.BYTES);
    }
    return sum;
  }

  /** Apart, so that a JVM without the module does not touch it. */
  private static final class Vectors {
    private static final VectorSpecies<Long> L = LongVector.SPECIES_PREFERRED;

    /** A chunk in each of four places. */
    static long sum(MemorySegment buffer, long at, long step) {
      buffer = NativeMemory.known(buffer);
      LongVector a = LongVector.zero(L), b = a, c = a, d = a;
      for (long end = at + CHUNK; at != end; at += L.vectorByteSize()) {
        a = a.add(load(buffer, at));
        b = b.add(load(buffer, at + step));
        c = c.add(load(buffer, at + 2 * step));
        d = d.add(load(buffer, at + 3 * step));
      }
      return a.add(b).add(c.add(d)).reduceLanes(VectorOperators.ADD);
    }

    private static LongVector load(MemorySegment buffer, long at) {
      return LongVector.fromMemorySegment(L, buffer, at, ByteOrder.LITTLE_ENDIAN);
    }
  }
}
