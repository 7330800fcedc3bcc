package dev.gemma4j.bench;

import dev.gemma4j.io.HugePages;
import dev.gemma4j.kernel.Kernels;
import dev.gemma4j.kernel.Matrix;
import dev.gemma4j.loader.TensorType;
import dev.gemma4j.model.GemmaForward;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.TimeUnit;
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
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Matrix products whose weights come from memory, not from a cache, as in a model: with one row,
 * which a decode step is made of, bound by the read bandwidth; with many, as a prefill chunk has
 * them, bound by multiply-adds.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class MatmulBenchmark {
  @Param({"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"})
  public TensorType type = TensorType.F32;

  /** Rows of x: 1 to decode. */
  @Param({"1", "256"})
  public int batch;

  /**
   * The matrices of 2B, then those of 7B, rows x columns; the output matrix is the last of each.
   */
  @Param({
    "2048x2048",
    "256x2048",
    "16384x2048",
    "2048x16384",
    "256000x2048",
    "4096x3072",
    "3072x4096",
    "24576x3072",
    "3072x24576",
    "256000x3072"
  })
  public String shape = "";

  /** Of weights, each product with the next matrix of them; so many are beyond any cache. */
  @Param("512")
  public int mebibytes;

  private final Arena arena = Arena.ofShared();
  private Matrix[] copies = {};
  private float[] x = {}; // [batch, stride of cols]
  private float[] y = {}; // [batch, rows]
  private int next;

  @Setup
  public void allocate(BenchmarkPool threads) {
    String[] sides = shape.split("x", 2);
    int rows = Integer.parseInt(sides[0]);
    int cols = Integer.parseInt(sides[1]);
    RandomWeights weights = new RandomWeights(1);
    long bytes = type.byteSize((long) rows * cols);
    copies = new Matrix[(int) Math.ceilDiv((long) mebibytes << 20, bytes)];
    for (int i = 0; i < copies.length; i++) {
      try (Arena temporary = Arena.ofShared()) {
        Arena owner = threads.kernel.packs(type) ? temporary : arena;
        MemorySegment data = HugePages.allocate(owner, bytes);
        weights.fill(data, type, RandomWeights.std(cols));
        copies[i] = threads.kernel.pack(new Matrix(type, rows, cols, data), arena, threads.pool);
      }
    }
    x = weights.floats(batch * GemmaForward.stride(cols), 0, 1);
    y = new float[batch * rows];
  }

  @TearDown
  public void free() {
    arena.close();
  }

  @Benchmark
  public float[] matmul(BenchmarkPool threads, Rates rates) {
    Matrix w = copies[next];
    next = (next + 1) % copies.length;
    threads.pool.run(
        (part, parts) ->
            threads.kernel.matmul(
                w,
                GemmaForward.split(w.rows(), part, parts, Kernels.ROW_GROUP),
                GemmaForward.split(w.rows(), part + 1, parts, Kernels.ROW_GROUP),
                x,
                GemmaForward.stride(w.cols()),
                batch,
                y,
                w.rows(),
                threads.scratch[part]));
    rates.add(w.data().byteSize(), 2.0 * w.rows() * w.cols() * batch);
    return y;
  }
}
