package dev.gemma4j.bench;

import dev.gemma4j.sampling.Logits;
import dev.gemma4j.sampling.LogitsProcessor;
import dev.gemma4j.sampling.LogitsProcessors;
import dev.gemma4j.sampling.Sampler;
import dev.gemma4j.sampling.Samplers;
import dev.gemma4j.sampling.TokenHistory;
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

/** One token drawn from the logits of Gemma's vocabulary, in one thread. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class SamplerBenchmark {
  private static final int VOCAB_SIZE = 256_000;

  private static final TokenHistory NO_HISTORY =
      new TokenHistory() {
        @Override
        public int size() {
          return 0;
        }

        @Override
        public int get(int index) {
          throw new IndexOutOfBoundsException(index);
        }
      };

  /** How much the logits differ; standard deviations of what a trained model and noise give. */
  public enum Shape {
    /** A few tokens have nearly all. */
    PEAKED(4),
    /** What random weights give: nine tenths of the mass are most of the tokens. */
    FLAT(0.3),
    /** Nothing but ties. */
    EQUAL(0);

    private final double deviation;

    Shape(double deviation) {
      this.deviation = deviation;
    }
  }

  /** What is timed. */
  public enum Way {
    /** The best token. */
    GREEDY(Samplers.greedy()),
    /** The 40 best. */
    TOP_K(Samplers.topK(40, 1)),
    /** Nine tenths of the mass. */
    TOP_P(Samplers.topP(0.9f, 1)),
    /** At least a twentieth of the best. */
    MIN_P(Samplers.minP(0.05f, 1)),
    /** Nine tenths of the mass around the entropy, then a draw from what is left. */
    TYPICAL(Samplers.temperature(1));

    private final Sampler sampler;

    Way(Sampler sampler) {
      this.sampler = sampler;
    }
  }

  @Param public Way way = Way.GREEDY;

  @Param public Shape shape = Shape.PEAKED;

  private final SplittableRandom random = new SplittableRandom(1);
  private Sampler sampler = Samplers.greedy();
  private final LogitsProcessor typical = LogitsProcessors.typical(0.9f).newText();
  private float[] row = {};
  private float[] copy = {};

  @Setup
  public void fill() {
    SplittableRandom source = new SplittableRandom(7);
    row = new float[VOCAB_SIZE];
    for (int i = 0; i < row.length; i++) {
      row[i] = (float) (source.nextGaussian() * shape.deviation);
    }
    if (shape == Shape.PEAKED) {
      row[VOCAB_SIZE / 2] = 22; // a model that knows what follows
    }
    copy = row.clone();
    sampler = way.sampler.newText();
  }

  @Benchmark
  public int sample() {
    if (way == Way.TYPICAL) {
      System.arraycopy(row, 0, copy, 0, row.length);
      typical.process(Logits.of(copy), NO_HISTORY);
    }
    return sampler.sample(Logits.of(copy), random);
  }
}
