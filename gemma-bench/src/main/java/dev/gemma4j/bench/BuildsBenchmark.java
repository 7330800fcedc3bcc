package dev.gemma4j.bench;

import dev.gemma4j.loader.TensorType;
import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.lang.reflect.Constructor;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.function.LongSupplier;
import java.util.function.ToDoubleFunction;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/**
 * One matrix product as several builds of this project compute it, in one process by turns, so that
 * a machine whose speed changes from second to second slows all alike. Each build has a class
 * loader of its own, so that the JIT compiles each apart.
 */
@Command(
    name = "BuildsBenchmark",
    mixinStandardHelpOptions = true,
    description = "Times a matrix product of several builds by turns, in one process.")
final class BuildsBenchmark implements Callable<Integer> {
  private static final int TURNS = 3; // products of a build before the next one's
  private static final int WARM_UP = 20;

  @Spec private CommandSpec spec = CommandSpec.create();

  @Parameters(
      paramLabel = "BUILD",
      arity = "1..*",
      description = "directories of built checkouts; ratios are to the first")
  private List<Path> builds = List.of();

  @Option(names = "--type", description = "of the weights (${DEFAULT-VALUE})")
  private TensorType type = TensorType.Q4_0;

  @Option(names = "--shape", description = "rows x columns (${DEFAULT-VALUE})")
  private String shape = "16384x2048";

  @Option(names = "--batch", description = "vectors (${DEFAULT-VALUE})")
  private int batch = 1;

  @Option(
      names = "--mebibytes",
      description = "of matrices that take turns; 1 stays in the caches (${DEFAULT-VALUE})")
  private int mebibytes = 200;

  @Option(names = "--threads", description = "default: one per processor")
  private int threads = Runtime.getRuntime().availableProcessors();

  @Option(names = "--seconds", description = "for all builds together (${DEFAULT-VALUE})")
  private int seconds = 20;

  @Option(
      names = "--crowded",
      description = "after the process has read vectors from arrays and mapped files, too")
  private boolean crowded;

  public static void main(String... args) {
    System.exit(new CommandLine(new BuildsBenchmark()).execute(args));
  }

  @Override
  public Integer call() throws ReflectiveOperationException, IOException {
    if (!shape.matches("[1-9][0-9]{0,6}x[1-9][0-9]{0,6}")
        || Integer.parseInt(shape.split("x")[1]) % 256 != 0) {
      throw wrong("--shape: found " + shape + ", expected rows x columns, those a multiple of 256");
    }
    if (Math.min(Math.min(batch, threads), Math.min(mebibytes, seconds)) < 1) {
      throw wrong("--batch, --threads, --mebibytes and --seconds are 1 at least");
    }
    if (crowded) {
      OtherVectors.read();
    }
    List<LongSupplier> probes = new ArrayList<>();
    for (Path build : builds) {
      probes.add(probe(build));
    }
    List<double[]> rounds = measure(probes);
    PrintWriter out = spec.commandLine().getOut();
    String[] sides = shape.split("x", 2);
    double flops = 2.0 * batch * Integer.parseInt(sides[0]) * Integer.parseInt(sides[1]);
    out.printf(Locale.ROOT, "%s %s, %d vectors, %d threads%n", type, shape, batch, threads);
    for (int i = 0; i < probes.size(); i++) {
      int build = i;
      double[] own = sorted(rounds, nanos -> nanos[build]);
      double[] ratios = sorted(rounds, nanos -> nanos[0] / nanos[build]);
      out.printf(
          Locale.ROOT,
          "%-30s median %8.3f ms %6.1f GFLOP/s, %.3f times as fast as the first (%.3f to %.3f)%n",
          builds.get(i),
          quantile(own, 0.5) / 1e6,
          flops / quantile(own, 0.5),
          quantile(ratios, 0.5),
          quantile(ratios, 0.25),
          quantile(ratios, 0.75));
    }
    out.flush();
    return 0;
  }

  /** Nanoseconds of a product, of each build in each round. */
  private List<double[]> measure(List<LongSupplier> probes) {
    List<double[]> rounds = new ArrayList<>();
    long end = System.nanoTime() + seconds * 1_000_000_000L;
    for (int round = 0; round <= WARM_UP || System.nanoTime() - end < 0; round++) {
      double[] nanos = new double[probes.size()];
      for (int i = 0; i < nanos.length; i++) {
        for (int turn = 0; turn < TURNS; turn++) {
          nanos[i] += probes.get(i).getAsLong() / (double) TURNS;
        }
      }
      if (round >= WARM_UP) {
        rounds.add(nanos);
      }
    }
    return rounds;
  }

  private static double[] sorted(List<double[]> rounds, ToDoubleFunction<double[]> value) {
    return rounds.stream().mapToDouble(value).sorted().toArray();
  }

  private static double quantile(double[] sorted, double share) {
    return sorted[(int) (sorted.length * share)];
  }

  private LongSupplier probe(Path build)
      throws ReflectiveOperationException, MalformedURLException {
    List<URL> path = new ArrayList<>();
    for (String module : List.of("bench", "core", "loader", "tokenizer")) {
      Path classes = build.resolve("gemma-" + module).resolve("target/classes");
      if (!Files.isDirectory(classes)) {
        throw wrong(classes + " is no directory: build that checkout first");
      }
      path.add(classes.toUri().toURL());
    }
    for (String entry : System.getProperty("java.class.path").split(File.pathSeparator)) {
      if (entry.endsWith(".jar")) {
        path.add(Path.of(entry).toUri().toURL());
      }
    }
    // Open as long as the process: the product's classes come from it.
    ClassLoader loader =
        new URLClassLoader(path.toArray(URL[]::new), ClassLoader.getPlatformClassLoader());
    Class<?> probe;
    try {
      probe = Class.forName(ProductProbe.class.getName(), true, loader);
    } catch (ClassNotFoundException e) {
      throw wrong(build + " has no ProductProbe: it is older than this benchmark");
    }
    Constructor<?> constructor =
        probe.getDeclaredConstructor(String.class, String.class, int.class, int.class, int.class);
    constructor.setAccessible(true);
    return (LongSupplier) constructor.newInstance(type.name(), shape, batch, mebibytes, threads);
  }

  private ParameterException wrong(String message) {
    return new ParameterException(spec.commandLine(), message);
  }
}
