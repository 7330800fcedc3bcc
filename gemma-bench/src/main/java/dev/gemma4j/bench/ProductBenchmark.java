package dev.gemma4j.bench;

import dev.gemma4j.kernel.KernelProvider;
import dev.gemma4j.kernel.Kernels;
import dev.gemma4j.kernel.Matrix;
import dev.gemma4j.kernel.ReadBandwidth;
import dev.gemma4j.kernel.Scratch;
import dev.gemma4j.kernel.WorkerPool;
import dev.gemma4j.loader.Checkpoint;
import dev.gemma4j.model.GemmaForward;
import dev.gemma4j.model.Weights;
import dev.gemma4j.model.WeightsBuilder;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/**
 * The matrix products of a decode step, of one text or a few, one matrix of a real model after the
 * other, next to a plain read of the same weights. Nothing that was just read is read again, which
 * would come from a cache: a step's weights are larger than any.
 */
@Command(
    name = "ProductBenchmark",
    mixinStandardHelpOptions = true,
    description = "Times a model's matrix products with a few vectors, and reading its weights.")
final class ProductBenchmark implements Callable<Integer> {
  private static final int WARM_UP = 4;
  private static final long MIB = 1 << 20; // the bandwidth is measured in whole ones

  @Parameters(paramLabel = "MODEL")
  private Path model = Path.of("");

  @Option(names = "--rounds", description = "over all weights (${DEFAULT-VALUE})")
  private int rounds = 20;

  @Option(names = "--batch", description = "vectors: how many decode (${DEFAULT-VALUE})")
  private int batch = 1;

  @Option(names = "--threads", description = "default: one per processor")
  private int threads = Runtime.getRuntime().availableProcessors();

  public static void main(String... args) {
    System.exit(new CommandLine(new ProductBenchmark()).execute(args));
  }

  @Override
  public Integer call() throws Exception {
    try (Checkpoint checkpoint = Checkpoint.open(model);
        Arena arena = Arena.ofShared();
        WorkerPool pool = WorkerPool.start(threads, "product")) {
      Kernels kernels = KernelProvider.vector();
      Weights weights =
          new WeightsBuilder(checkpoint, null, null, false, kernels, arena, pool)
              .build((done, total) -> {});
      measure(weights, kernels, pool);
    }
    return 0;
  }

  private void measure(Weights weights, Kernels kernels, WorkerPool pool) {
    List<Matrix> matrices = new ArrayList<>();
    weights.layers().forEach(layer -> matrices.addAll(layer.matrices()));
    matrices.add(weights.embedding());
    Scratch[] scratch = new Scratch[threads];
    for (int i = 0; i < threads; i++) {
      scratch[i] = new Scratch();
    }
    int cols = matrices.stream().mapToInt(Matrix::cols).max().orElseThrow();
    float[] x = new RandomWeights(1).floats(batch * GemmaForward.stride(cols), 0, 1);
    float[] y = new float[batch * matrices.stream().mapToInt(Matrix::rows).max().orElseThrow()];
    Map<String, List<Double>> products = new TreeMap<>();
    List<Double> all = new ArrayList<>();
    List<Double> reads = new ArrayList<>();
    for (int round = -WARM_UP; round < rounds; round++) {
      long bytes = 0;
      long start = System.nanoTime();
      for (Matrix w : matrices) {
        ReadBandwidth.read(pool, w.data());
        bytes += w.data().byteSize() / MIB * MIB;
      }
      double read = (double) bytes / (System.nanoTime() - start);
      bytes = 0;
      start = System.nanoTime();
      for (Matrix w : matrices) {
        long begun = System.nanoTime();
        pool.turns(
            GemmaForward.halvings(batch),
            (part, parts, member) -> share(kernels, w, x, y, part, parts, scratch[member]));
        double rate = (double) w.data().byteSize() / (System.nanoTime() - begun);
        bytes += w.data().byteSize();
        if (round >= 0) {
          products
              .computeIfAbsent(w.rows() + " x " + w.cols(), shape -> new ArrayList<>())
              .add(rate);
        }
      }
      if (round >= 0) {
        reads.add(read);
        all.add((double) bytes / (System.nanoTime() - start));
      }
    }
    System.out.printf(
        Locale.ROOT, "%s, %d threads, %d vectors, GB/s%n", model.getFileName(), threads, batch);
    products.forEach(ProductBenchmark::print);
    print("all products", all);
    print("plain read", reads);
  }

  private void share(
      Kernels kernels, Matrix w, float[] x, float[] y, int part, int parts, Scratch scratch) {
    int from = GemmaForward.split(w.rows(), part, parts, Kernels.ROW_GROUP);
    int to = GemmaForward.split(w.rows(), part + 1, parts, Kernels.ROW_GROUP);
    if (from < to) {
      int stride = GemmaForward.stride(w.cols());
      kernels.matmul(w, from, to, x, stride, batch, y, w.rows(), scratch);
    }
  }

  private static void print(String name, List<Double> rates) {
    double[] sorted = rates.stream().mapToDouble(r -> r).sorted().toArray();
    System.out.printf(
        Locale.ROOT,
        "%-16s median %5.1f   %5.1f to %5.1f for the middle 80 %%%n",
        name,
        sorted[sorted.length / 2],
        sorted[sorted.length / 10],
        sorted[sorted.length * 9 / 10]);
  }
}
