package dev.gemma4j.bench;

import dev.gemma4j.io.HugePages;
import dev.gemma4j.kernel.KernelProvider;
import dev.gemma4j.kernel.Kernels;
import dev.gemma4j.kernel.Matrix;
import dev.gemma4j.kernel.ReadBandwidth;
import dev.gemma4j.kernel.Scratch;
import dev.gemma4j.kernel.WorkerPool;
import dev.gemma4j.loader.TensorType;
import dev.gemma4j.model.GemmaForward;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Properties;
import java.util.concurrent.Callable;
import jdk.incubator.vector.FloatVector;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/**
 * Fails when a matrix product falls below the stored fraction of what the machine can do. Type by
 * type, kernels and limits take turns in samples of about a millisecond and the best of each
 * counts, so other work on the machine disturbs the ratio little. Where a neighbour on the same
 * core, whom a virtual machine does not see, takes caches and not only time, a prefill product
 * falls further than the limit, for seconds: so what is below its floor is measured again.
 */
@Command(
    name = "KernelGuard",
    mixinStandardHelpOptions = true,
    description = "Fails (exit 1) when a kernel falls below its stored fraction of the limit.")
final class KernelGuard implements Callable<Integer> {
  private static final String FLOORS = "kernel-floors.properties";
  private static final List<TensorType> TYPES =
      List.of(
          TensorType.F32,
          TensorType.F16,
          TensorType.BF16,
          TensorType.Q8_0,
          TensorType.Q4_0,
          TensorType.Q4_K,
          TensorType.Q6_K);
  private static final int COLS = 2048;
  private static final long BUFFER = 256L << 20; // beyond the caches
  private static final int SAMPLE = 8 << 20; // bytes read in one sample
  private static final int BATCH = 256;
  private static final int BATCH_ROWS = 256; // of weights in one sample with a batch
  private static final int TURNS = 8; // of so many rounds each, at most

  @Option(
      names = "--rounds",
      description = "samples of each (default 600); up to 8 times as many of what is too slow")
  private int rounds = 600;

  @Option(names = "--kernels", description = "vector (default) or scalar")
  private String kernelsName = "vector";

  @Option(names = "--write", description = "store 0.8 of what is measured as the new floors")
  private Path write = Path.of("");

  private final Scratch scratch = new Scratch();
  private Properties floors = new Properties();

  /** Something to time, and the best it has done. */
  private static final class Probe {
    final String name;
    final String unit;
    final double work; // in one sample: bytes or floating-point operations
    final Runnable sample;
    double best;

    Probe(String name, String unit, double work, Runnable sample) {
      this.name = name;
      this.unit = unit;
      this.work = work;
      this.sample = sample;
    }

    void run() {
      long start = System.nanoTime();
      sample.run();
      best = Math.max(best, work / (System.nanoTime() - start));
    }
  }

  public static void main(String... args) {
    System.exit(new CommandLine(new KernelGuard()).execute(args));
  }

  @Override
  public Integer call() throws IOException {
    Kernels kernels =
        kernelsName.equals("scalar") ? KernelProvider.scalar() : KernelProvider.vector();
    floors = floors();
    List<Measured> all = new ArrayList<>();
    try (WorkerPool one = WorkerPool.start(1, "guard")) {
      for (TensorType type : TYPES) {
        try (Arena arena = Arena.ofShared()) {
          all.addAll(measure(kernels, type, one, arena));
        }
      }
    }
    return report(all);
  }

  /** A product, its rate and that of what limits it. */
  private record Measured(Probe kernel, Probe limit) {
    double share() {
      return kernel.best / limit.best;
    }
  }

  private List<Measured> measure(Kernels kernels, TensorType type, WorkerPool one, Arena arena) {
    MemorySegment buffer = HugePages.allocate(arena, BUFFER).fill((byte) 1);
    Walk walk = new Walk(BUFFER / SAMPLE);
    Probe read =
        new Probe(
            "read",
            "GB/s",
            SAMPLE,
            () -> ReadBandwidth.read(one, buffer.asSlice(walk.next() * SAMPLE, SAMPLE)));
    Probe fma =
        new Probe("fma", "GFLOP/s", MachineLimit.fma(one, 0.5f), () -> MachineLimit.fma(one, 0.5f));
    int rows = (int) (BUFFER / type.byteSize(COLS));
    // One large matrix, of whose first rows prefill is: kernels of a small one are compiled late.
    Matrix w = kernels.pack(matrix(type, rows, arena), arena, one);
    Probe decode = decode(kernels, w);
    Probe prefill = prefill(kernels, w);
    List<Measured> both = List.of(new Measured(decode, read), new Measured(prefill, fma));
    boolean again = true;
    for (int turn = 0; turn < TURNS && again; turn++) {
      for (int i = 0; i < rounds; i++) {
        List.of(read, fma, decode, prefill).forEach(Probe::run);
      }
      // New floors are worth all the time.
      again = writes() || both.stream().anyMatch(each -> each.share() < floor(each));
    }
    return both;
  }

  private boolean writes() {
    return !write.toString().isEmpty();
  }

  private String key(Measured each) {
    // A share is one of kernels of vectors of one length.
    String kind =
        kernelsName.equals("scalar")
            ? "scalar"
            : "vector" + FloatVector.SPECIES_PREFERRED.vectorBitSize();
    return kind + "." + each.kernel().name;
  }

  private double floor(Measured each) {
    return Double.parseDouble(floors.getProperty(key(each), "0"));
  }

  private static Matrix matrix(TensorType type, int rows, Arena arena) {
    MemorySegment data = HugePages.allocate(arena, type.byteSize((long) rows * COLS));
    new RandomWeights(1).fill(data, type, RandomWeights.std(COLS));
    return new Matrix(type, rows, COLS, data);
  }

  private Probe decode(Kernels kernels, Matrix w) {
    int rows = (int) (SAMPLE / w.rowBytes()) / Kernels.ROW_GROUP * Kernels.ROW_GROUP;
    float[] x = new RandomWeights(1).floats(COLS, 0, 1);
    float[] y = new float[w.rows()];
    Walk walk = new Walk(w.rows() / rows);
    return new Probe(
        "decode." + w.type(),
        "GB/s",
        rows * w.rowBytes(),
        () -> {
          int from = (int) walk.next() * rows;
          kernels.matmul(w, from, from + rows, x, COLS, 1, y, w.rows(), scratch);
        });
  }

  private Probe prefill(Kernels kernels, Matrix w) {
    int stride = GemmaForward.stride(COLS);
    float[] x = new RandomWeights(1).floats(stride * BATCH, 0, 1);
    float[] y = new float[BATCH_ROWS * BATCH];
    return new Probe(
        "prefill." + w.type(),
        "GFLOP/s",
        2.0 * BATCH_ROWS * COLS * BATCH,
        () -> kernels.matmul(w, 0, BATCH_ROWS, x, stride, BATCH, y, BATCH_ROWS, scratch));
  }

  /** The numbers from 0 in a circle. */
  private static final class Walk {
    private final long count;
    private long at;

    Walk(long count) {
      this.count = count;
    }

    long next() {
      at = (at + 1) % count;
      return at;
    }
  }

  private int report(List<Measured> all) throws IOException {
    Properties measured = new Properties();
    boolean low = false;
    System.out.printf(
        "%-14s %8s %8s %8s %7s %7s%n", "kernel", "rate", "limit", "", "share", "floor");
    for (Measured each : all) {
      Probe kernel = each.kernel();
      double floor = floor(each);
      low |= each.share() < floor;
      measured.setProperty(
          key(each), String.format(Locale.ROOT, "%.2f", 0.8 * Math.min(1, each.share())));
      System.out.printf(
          Locale.ROOT,
          "%-14s %8.1f %8.1f %8s %6.0f%% %6.0f%%%s%n",
          kernel.name,
          kernel.best,
          each.limit().best,
          kernel.unit,
          100 * each.share(),
          100 * floor,
          each.share() < floor ? "  TOO LOW" : "");
    }
    if (writes()) {
      floors.putAll(measured);
      Files.write(
          write,
          floors.entrySet().stream().map(e -> e.getKey() + "=" + e.getValue()).sorted().toList());
      return 0;
    }
    return low ? 1 : 0;
  }

  private static Properties floors() {
    Properties floors = new Properties();
    try (InputStream in = KernelGuard.class.getResourceAsStream(FLOORS)) {
      if (in != null) {
        floors.load(in);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return floors;
  }
}
