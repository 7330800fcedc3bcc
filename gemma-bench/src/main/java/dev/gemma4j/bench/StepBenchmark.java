package dev.gemma4j.bench;

import dev.gemma4j.kernel.KernelProvider;
import dev.gemma4j.kernel.Kernels;
import dev.gemma4j.kernel.KvLayout;
import dev.gemma4j.kernel.Matrix;
import dev.gemma4j.kernel.Scratch;
import dev.gemma4j.kernel.WorkerPool;
import dev.gemma4j.loader.Checkpoint;
import dev.gemma4j.loader.GemmaConfig;
import dev.gemma4j.loader.TensorType;
import dev.gemma4j.model.Batch;
import dev.gemma4j.model.GemmaForward;
import dev.gemma4j.model.KvCache;
import dev.gemma4j.model.KvPool;
import dev.gemma4j.model.Weights;
import dev.gemma4j.model.WeightsBuilder;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.sampling.Sampler;
import dev.gemma4j.sampling.Samplers;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.LongAdder;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/**
 * What a decode step spends outside its matrix products. The kernels of a real step are timed one
 * by one; what several threads do at once counts with the mean of their times, so that waiting for
 * the slowest is in the rest. With one thread there is none.
 */
@Command(
    name = "StepBenchmark",
    mixinStandardHelpOptions = true,
    description = "Shows where the time of a decode step goes.")
final class StepBenchmark implements Callable<Integer> {
  private static final long WARM_UP_NANOS = 25_000_000_000L; // small kernels run seldom

  @Parameters(paramLabel = "MODEL")
  private Path model = Path.of("");

  @Option(names = "--positions", description = "that a step attends to (${DEFAULT-VALUE})")
  private int positions = 2048;

  @Option(names = "--steps", description = "that are measured (${DEFAULT-VALUE})")
  private int steps = 40;

  @Option(names = "--kv", description = "F32 (default), F16 or Q8")
  private KvLayout.Type kv = KvLayout.Type.F32;

  @Option(names = "--threads", description = "default: one per processor")
  private int threads = Runtime.getRuntime().availableProcessors();

  /** What is timed, in the order of the table. */
  private enum Part {
    PRODUCTS("matrix products"),
    SCORES("attention: q · k"),
    SOFTMAX("attention: softmax"),
    MIX("attention: weights · v"),
    GELU("gelu and gate"),
    NORMS("norms"),
    ADDS("residual additions"),
    EMBEDDING("embedding"),
    SAMPLING("top-p sampling");

    private static final Set<Part> SHARED = EnumSet.of(PRODUCTS, SCORES, SOFTMAX, MIX, GELU);

    private final String title;

    Part(String title) {
      this.title = title;
    }

    /** Whether all threads have a share of it. */
    boolean isShared() {
      return SHARED.contains(this);
    }
  }

  private final Map<Part, LongAdder> nanos = new EnumMap<>(Part.class);

  public static void main(String... args) {
    System.exit(
        new CommandLine(new StepBenchmark())
            .setCaseInsensitiveEnumValuesAllowed(true)
            .execute(args));
  }

  @Override
  public Integer call() throws Exception {
    for (Part part : Part.values()) {
      nanos.put(part, new LongAdder());
    }
    try (Checkpoint checkpoint = Checkpoint.open(model);
        Arena arena = Arena.ofShared();
        WorkerPool pool = WorkerPool.start(threads, "step")) {
      Kernels kernels = new Timed(KernelProvider.vector());
      Weights weights =
          new WeightsBuilder(checkpoint, null, null, false, kernels, arena, pool)
              .build((done, total) -> {});
      GemmaForward forward = new GemmaForward(weights, kernels, pool);
      try (KvCache cache = cache(weights.config())) {
        run(forward, cache, weights.config().vocabSize());
      }
    }
    return 0;
  }

  private KvCache cache(GemmaConfig config) {
    KvCache cache =
        new KvCache(new KvPool(new KvCache.Shape(config, kv), Long.MAX_VALUE, false), null);
    cache.reserve(0, positions);
    RandomWeights random = new RandomWeights(1);
    int size = config.numKvHeads() * config.headDim();
    for (int layer = 0; layer < config.numLayers(); layer++) {
      for (int position = 0; position < positions; position++) {
        cache.put(layer, position, random.floats(size, 0, 1), random.floats(size, 0, 1), 0);
      }
    }
    return cache;
  }

  private void run(GemmaForward forward, KvCache cache, int vocabSize) {
    float[] logits = new float[vocabSize];
    Sampler sampler = Samplers.topP(0.95f, 0.8f);
    SplittableRandom random = new SplittableRandom(1);
    int token = 1;
    long start = System.nanoTime();
    while (System.nanoTime() - start < WARM_UP_NANOS) {
      token = step(forward, cache, token, logits, sampler, random);
    }
    nanos.values().forEach(LongAdder::reset);
    start = System.nanoTime();
    for (int i = 0; i < steps; i++) {
      token = step(forward, cache, token, logits, sampler, random);
    }
    print((System.nanoTime() - start) / 1e6 / steps);
  }

  /** One step at the last position, again and again. */
  private int step(
      GemmaForward forward,
      KvCache cache,
      int token,
      float[] logits,
      Sampler sampler,
      SplittableRandom random) {
    Batch batch = new Batch();
    batch.add(token, positions - 1, cache, logits);
    forward.begin(batch);
    while (forward.advance()) {}
    int[] next = new int[1];
    time(Part.SAMPLING, () -> next[0] = sampler.sample(Logits.of(logits), random));
    return next[0];
  }

  private void time(Part part, Runnable work) {
    long start = System.nanoTime();
    work.run();
    nanos.get(part).add(System.nanoTime() - start);
  }

  private void print(double step) {
    System.out.printf(
        Locale.ROOT,
        "%s, %s keys and values, %d positions, %d threads: %.1f ms a step%n",
        model.getFileName(),
        kv,
        positions,
        threads,
        step);
    double rest = step;
    double products = 0;
    for (Part part : Part.values()) {
      double ms = nanos.get(part).sum() / 1e6 / steps / (part.isShared() ? threads : 1);
      rest -= ms;
      products = part == Part.PRODUCTS ? ms : products;
      print(part.title, ms, step);
    }
    print(threads == 1 ? "rope, storing" : "rope, storing, waiting", rest, step);
    print("outside the products", step - products, step);
  }

  private static void print(String title, double ms, double step) {
    System.out.printf(Locale.ROOT, "%-24s %9.3f ms %6.2f %%%n", title, ms, 100 * ms / step);
  }

  /** Kernels that add up the time they take. */
  private final class Timed implements Kernels {
    private final Kernels kernels;

    Timed(Kernels kernels) {
      this.kernels = kernels;
    }

    @Override
    public String name() {
      return kernels.name();
    }

    @Override
    public boolean packs(TensorType type) {
      return kernels.packs(type);
    }

    @Override
    public Matrix pack(Matrix w, Arena arena, WorkerPool pool) {
      return kernels.pack(w, arena, pool);
    }

    @Override
    public void matmul(
        Matrix w,
        int from,
        int to,
        float[] x,
        int xStride,
        int batch,
        float[] y,
        int yStride,
        Scratch scratch) {
      time(
          Part.PRODUCTS, () -> kernels.matmul(w, from, to, x, xStride, batch, y, yStride, scratch));
    }

    @Override
    public void embed(Matrix w, int row, float scale, float[] out, int outOffset) {
      time(Part.EMBEDDING, () -> kernels.embed(w, row, scale, out, outOffset));
    }

    @Override
    public void rmsNorm(
        float[] x, int xOffset, float[] scale, float eps, float[] out, int outOffset) {
      time(Part.NORMS, () -> kernels.rmsNorm(x, xOffset, scale, eps, out, outOffset));
    }

    @Override
    public void add(float[] x, float[] y, int offset, int n) {
      time(Part.ADDS, () -> kernels.add(x, y, offset, n));
    }

    @Override
    public void geglu(float[] gate, float[] up, int offset, int n) {
      time(Part.GELU, () -> kernels.geglu(gate, up, offset, n));
    }

    @Override
    public void scores(
        float[] q,
        int qOffset,
        int heads,
        MemorySegment[] pages,
        KvLayout layout,
        int from,
        int to,
        float[] scores,
        int stride,
        Scratch scratch) {
      time(
          Part.SCORES,
          () ->
              kernels.scores(q, qOffset, heads, pages, layout, from, to, scores, stride, scratch));
    }

    @Override
    public void softmax(float[] x, int offset, int n, float scale) {
      time(Part.SOFTMAX, () -> kernels.softmax(x, offset, n, scale));
    }

    @Override
    public void mixValues(
        float[] weights,
        int stride,
        int heads,
        MemorySegment[] pages,
        KvLayout layout,
        int length,
        int from,
        int to,
        float[] out,
        int outOffset,
        Scratch scratch) {
      time(
          Part.MIX,
          () ->
              kernels.mixValues(
                  weights, stride, heads, pages, layout, length, from, to, out, outOffset,
                  scratch));
    }
  }
}
