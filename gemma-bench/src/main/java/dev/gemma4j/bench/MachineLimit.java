package dev.gemma4j.bench;

import dev.gemma4j.kernel.ReadBandwidth;
import dev.gemma4j.kernel.WorkerPool;
import java.util.Arrays;
import java.util.Locale;
import java.util.concurrent.Callable;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** What the machine can do at most, by the same means that the kernels have. */
@Command(
    name = "MachineLimit",
    mixinStandardHelpOptions = true,
    description = "Prints the read bandwidth and the FMA peak of this machine.")
final class MachineLimit implements Callable<Integer> {
  private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
  private static final int FMA_STEPS = 1 << 17;
  private static final int CHAINS = 12;
  private static final int PASSES = 1000; // 2 to 4 s

  @Option(names = "--threads", description = "default: one per processor")
  private int threads = Runtime.getRuntime().availableProcessors();

  public static void main(String... args) {
    System.exit(new CommandLine(new MachineLimit()).execute(args));
  }

  @Override
  public Integer call() {
    System.out.printf(Locale.ROOT, "read=%.2f GB/s%n", ReadBandwidth.measure(threads, 9));
    System.out.printf(Locale.ROOT, "fma=%.2f GFLOP/s%n", fmaPeak(threads));
    return 0;
  }

  /** The median of some passes, in GFLOP/s. */
  private static double fmaPeak(int threads) {
    double[] rates = new double[PASSES];
    try (WorkerPool pool = WorkerPool.start(threads, "fma")) {
      for (int pass = 0; pass < PASSES; pass++) {
        long start = System.nanoTime();
        double flops = fma(pool, 0.5f);
        rates[pass] = flops / (System.nanoTime() - start);
      }
    }
    Arrays.sort(rates);
    return rates[PASSES / 2];
  }

  /** Multiply-adds on registers alone; returns the floating-point operations done. */
  static double fma(WorkerPool pool, float factor) {
    float[] sums = new float[pool.size() * 16];
    pool.run((part, parts) -> sums[part * 16] = fma(factor));
    // The sum depends on all the work, so nothing of it can be left out.
    return 2.0 * CHAINS * F.length() * FMA_STEPS * pool.size() + Math.min(0, sums[0]);
  }

  private static float fma(float factor) {
    FloatVector x = FloatVector.broadcast(F, factor);
    FloatVector y = FloatVector.broadcast(F, 1 - factor);
    FloatVector a = x, b = x, c = x, d = x, e = x, f = x;
    FloatVector g = x, h = x, i = x, j = x, k = x, l = x;
    for (int n = 0; n < FMA_STEPS; n++) {
      a = a.fma(x, y);
      b = b.fma(x, y);
      c = c.fma(x, y);
      d = d.fma(x, y);
      e = e.fma(x, y);
      f = f.fma(x, y);
      g = g.fma(x, y);
      h = h.fma(x, y);
      i = i.fma(x, y);
      j = j.fma(x, y);
      k = k.fma(x, y);
      l = l.fma(x, y);
    }
    return a.add(b).add(c).add(d).add(e).add(f).reduceLanes(VectorOperators.ADD)
        + g.add(h).add(i).add(j).add(k).add(l).reduceLanes(VectorOperators.ADD);
  }
}
