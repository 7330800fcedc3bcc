package dev.gemma4j.bench;

import dev.gemma4j.kernel.Kernels;
import dev.gemma4j.kernel.KvLayout;
import dev.gemma4j.kernel.Scratch;
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
import org.openjdk.jmh.annotations.Warmup;

/** One layer's attention of one decode step, in one thread. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class AttentionBenchmark {
  private static final int HEAD_DIM = 256;
  private static final int PAGE_SIZE = 32;

  @Param({"2b", "7b"})
  public String model = "2b";

  @Param({"F32", "F16", "Q8"})
  public KvLayout.Type kv = KvLayout.Type.F32;

  @Param("2048")
  public int positions = 2048;

  private int group;
  private KvLayout[] layouts = {};
  private MemorySegment[] pages = {};
  private float[] q = {};
  private float[] weights = {};
  private float[] out = {};

  @Setup
  public void allocate() {
    RandomWeights random = new RandomWeights(1);
    int heads = model.equals("2b") ? 8 : 16;
    int kvHeads = model.equals("2b") ? 1 : 16;
    group = heads / kvHeads;
    q = random.floats(heads * HEAD_DIM, 0, 1);
    weights = new float[group * positions];
    out = new float[q.length];
    long bytes = KvLayout.bytes(kv, PAGE_SIZE, HEAD_DIM);
    layouts = new KvLayout[kvHeads];
    for (int h = 0; h < kvHeads; h++) {
      layouts[h] = new KvLayout(kv, PAGE_SIZE, HEAD_DIM, 2 * h * bytes, (2 * h + 1) * bytes);
    }
    pages = new MemorySegment[positions / PAGE_SIZE];
    for (int i = 0; i < pages.length; i++) {
      pages[i] = Arena.ofAuto().allocate(2 * kvHeads * bytes, 64);
      for (int p = 0; p < PAGE_SIZE; p++) {
        for (KvLayout layout : layouts) {
          layout.put(pages[i], p, random.floats(HEAD_DIM, 0, 1), random.floats(HEAD_DIM, 0, 1), 0);
        }
      }
    }
  }

  @Benchmark
  public float[] attend(BenchmarkPool threads) {
    Kernels kernels = threads.kernel;
    Scratch scratch = threads.scratch[0];
    for (int h = 0; h < layouts.length; h++) {
      KvLayout layout = layouts[h];
      int at = h * group * HEAD_DIM;
      kernels.scores(q, at, group, pages, layout, 0, pages.length, weights, positions, scratch);
      for (int i = 0; i < group; i++) {
        kernels.softmax(weights, i * positions, positions, 1f / 16);
      }
      kernels.mixValues(
          weights, positions, group, pages, layout, positions, 0, HEAD_DIM, out, at, scratch);
    }
    return out;
  }
}
