package dev.gemma4j.bench;

import dev.gemma4j.kernel.KernelProvider;
import dev.gemma4j.kernel.Kernels;
import dev.gemma4j.kernel.Scratch;
import dev.gemma4j.kernel.WorkerPool;
import java.util.stream.Stream;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/** The threads and kernels of a benchmark, as a loaded model has them. */
@State(Scope.Benchmark)
public class BenchmarkPool {
  /** 0 for one per processor. */
  @Param("0")
  public int threads;

  @Param("vector")
  public String kernels = "";

  WorkerPool pool = WorkerPool.start(1, "unused");
  Kernels kernel = KernelProvider.scalar();
  Scratch[] scratch = {};

  @Setup
  public void start() {
    int count = threads == 0 ? Runtime.getRuntime().availableProcessors() : threads;
    pool = WorkerPool.start(count, "bench");
    kernel = kernels.equals("vector") ? KernelProvider.vector() : KernelProvider.scalar();
    scratch = Stream.generate(Scratch::new).limit(count).toArray(Scratch[]::new);
  }

  @TearDown
  public void stop() {
    pool.close();
  }
}
