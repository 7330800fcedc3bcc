package dev.gemma4j.bench;

import dev.gemma4j.Gemma;
import dev.gemma4j.KernelType;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.Session;
import dev.gemma4j.kernel.WorkerPool;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Times a whole model next to the read bandwidth; the best of several runs counts. */
@Command(
    name = "ModelBenchmark",
    mixinStandardHelpOptions = true,
    description = "Times prefill and decode of a checkpoint next to the machine's bandwidth.")
final class ModelBenchmark implements Callable<Integer> {
  @Parameters(paramLabel = "MODEL")
  private Path model = Path.of("");

  @Option(names = "--threads", description = "default: one per processor")
  private int threads = Runtime.getRuntime().availableProcessors();

  @Option(names = "--prefill", description = "tokens of the prompt (default 512)")
  private int prefill = 512;

  @Option(names = "--decode", description = "tokens after it (default 32)")
  private int decode = 32;

  @Option(names = "--repeat", description = "runs (default 3)")
  private int repeat = 3;

  @Option(names = "--kernels", description = "AUTO (default), VECTOR or SCALAR")
  private KernelType kernels = KernelType.AUTO;

  public static void main(String... args) {
    System.exit(
        new CommandLine(new ModelBenchmark())
            .setCaseInsensitiveEnumValuesAllowed(true)
            .execute(args));
  }

  @Override
  public Integer call() throws Exception {
    long start = System.nanoTime();
    try (Gemma gemma =
            Gemma.load(model, LoadOptions.defaults().withThreads(threads).withKernels(kernels));
        WorkerPool pool = WorkerPool.start(threads, "limit");
        Arena arena = Arena.ofShared()) {
      double load = seconds(start);
      MemorySegment buffer = arena.allocate(512 << 20, 64).fill((byte) 1);
      double bandwidth = 0;
      double bestPrefill = Double.MAX_VALUE;
      double bestDecode = Double.MAX_VALUE;
      double first = 0;
      for (int r = 0; r < repeat; r++) {
        for (int i = 0; i < 5; i++) {
          start = System.nanoTime();
          MachineLimit.read(pool, buffer);
          bandwidth = Math.max(bandwidth, buffer.byteSize() / seconds(start));
        }
        try (Session session = gemma.newSession()) {
          start = System.nanoTime();
          session.append(prompt(gemma));
          double time = seconds(start);
          first = r == 0 ? time : first;
          bestPrefill = Math.min(bestPrefill, time);
          for (int i = 0; i < decode; i++) {
            start = System.nanoTime();
            session.append(1000 % gemma.config().vocabSize());
            bestDecode = Math.min(bestDecode, seconds(start));
          }
        }
      }
      System.out.printf(
          Locale.ROOT,
          "%s: %s, %s kernels, %d threads; load %.2f s; prefill(%d) first %.1f, best %.1f tok/s;"
              + " decode best %.2f tok/s, %.1f GB/s of %.1f GB/s (%.0f%%)%n",
          model,
          gemma.weights(),
          gemma.kernels(),
          threads,
          load,
          prefill,
          prefill / first,
          prefill / bestPrefill,
          1 / bestDecode,
          gemma.weightBytesPerToken() / bestDecode / 1e9,
          bandwidth / 1e9,
          100 * gemma.weightBytesPerToken() / bestDecode / bandwidth);
    }
    return 0;
  }

  private int[] prompt(Gemma gemma) {
    return new SplittableRandom(1).ints(prefill, 0, gemma.config().vocabSize()).toArray();
  }

  private static double seconds(long start) {
    return (System.nanoTime() - start) / 1e9;
  }
}
