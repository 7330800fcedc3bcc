package dev.gemma4j.bench;

import dev.gemma4j.kernel.ReadBandwidth;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/** The limits that the other benchmarks of the same run are read against. */
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class MachineLimitBenchmark {
  private static final float FACTOR = 0.5f;

  /** A buffer far beyond the last cache, in its own state so that the FMA benchmark needs none. */
  @State(Scope.Benchmark)
  public static class Buffer {
    private final Arena arena = Arena.ofShared();
    final MemorySegment data = arena.allocate(1L << 30, 64).fill((byte) 1);

    @TearDown
    public void free() {
      arena.close();
    }
  }

  @Benchmark
  public long readBandwidth(BenchmarkPool threads, Buffer buffer, Rates rates) {
    rates.add(buffer.data.byteSize(), 0);
    return ReadBandwidth.read(threads.pool, buffer.data);
  }

  @Benchmark
  public double fmaPeak(BenchmarkPool threads, Rates rates) {
    double flops = MachineLimit.fma(threads.pool, FACTOR);
    rates.add(0, flops);
    return flops;
  }
}
