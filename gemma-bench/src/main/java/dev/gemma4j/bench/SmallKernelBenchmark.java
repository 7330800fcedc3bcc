package dev.gemma4j.bench;

import dev.gemma4j.kernel.Kernels;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.sampling.Samplers;
import java.util.SplittableRandom;
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

/**
 * What a decode step does once for each layer beside its matrix products, and sampling, which it
 * does once: by one thread, in microseconds.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class SmallKernelBenchmark {
  private static final int HEAD_DIM = 256;
  private static final int VOCABULARY = 256000;

  @Param({"2b", "7b"})
  public String model = "";

  private final RandomWeights random = new RandomWeights(1);
  private final SplittableRandom draws = new SplittableRandom(1);
  private final Logits logits = Logits.of(random.floats(VOCABULARY, 0, 3));
  private float[] x = {};
  private float[] scale = {};
  private float[] out = {};
  private float[] gate = {};
  private float[] gateSource = {};
  private float[] up = {};
  private float[] q = {};
  private final float[] cos = new float[HEAD_DIM / 2];
  private final float[] sin = new float[HEAD_DIM / 2];
  private int heads;

  @Setup
  public void allocate() {
    boolean small = model.equals("2b");
    int hidden = small ? 2048 : 3072;
    heads = small ? 8 : 16;
    for (int i = 0; i < cos.length; i++) {
      cos[i] = (float) Math.cos(i);
      sin[i] = (float) Math.sin(i);
    }
    x = random.floats(hidden, 0, 1);
    scale = random.floats(hidden, 1, 0.1);
    out = new float[hidden];
    gateSource = random.floats(hidden * 8, 0, 1);
    gate = gateSource.clone();
    up = random.floats(hidden * 8, 0, 1);
    q = random.floats(heads * HEAD_DIM, 0, 1);
  }

  @Benchmark
  public float[] rmsNorm(BenchmarkPool threads) {
    threads.kernel.rmsNorm(x, 0, scale, 1e-6f, out, 0);
    return out;
  }

  /** A copy is part of the time: the kernel works in place. */
  @Benchmark
  public float[] geglu(BenchmarkPool threads) {
    System.arraycopy(gateSource, 0, gate, 0, gate.length);
    threads.kernel.geglu(gate, up, 0, gate.length);
    return gate;
  }

  @Benchmark
  public float[] rope() {
    for (int h = 0; h < heads; h++) {
      Kernels.rope(q, h * HEAD_DIM, HEAD_DIM, cos, sin, 0);
    }
    return q;
  }

  @Benchmark
  public int sampleGreedy() {
    return logits.argmax();
  }

  @Benchmark
  public int sampleTopP() {
    return Samplers.topP(0.95f, 0.8f).sample(logits, draws);
  }

  @Benchmark
  public int sampleTopK() {
    return Samplers.topK(40, 0.8f).sample(logits, draws);
  }
}
