package dev.gemma4j.bench;

import dev.gemma4j.loader.TensorType;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/** Products with a whole prefill chunk: bound by multiply-adds. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(value = 1, jvmArgsAppend = "-XX:MaxDirectMemorySize=8g")
public class PrefillBenchmark {
  private static final int BATCH = 256;

  @Param({"F32", "F16", "BF16", "Q8_0", "Q4_0"})
  public TensorType type = TensorType.F32;

  /** The matrices of 2B, then those of 7B. */
  @Param({
    "2048x2048",
    "256x2048",
    "16384x2048",
    "2048x16384",
    "4096x3072",
    "3072x4096",
    "24576x3072",
    "3072x24576"
  })
  public String shape = "";

  private @Nullable Matmul matmul;

  @Setup
  public void allocate(BenchmarkPool threads) {
    matmul = new Matmul(type, shape, BATCH, threads);
  }

  @Benchmark
  public float @Nullable [] matmul(BenchmarkPool threads, Rates rates) {
    Matmul m = matmul;
    return m == null ? null : m.run(threads, rates);
  }
}
