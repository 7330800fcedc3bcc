package dev.gemma4j.bench;

import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.Prompt;
import dev.gemma4j.TokenStream;
import java.io.BufferedReader;
import java.io.IOException;
import java.lang.ProcessBuilder.Redirect;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/**
 * From the start of a process to its first token, and the most memory that it held: a JVM of its
 * own for each model and run. Reads {@code /proc}, so it needs Linux.
 */
@Command(
    name = "StartBenchmark",
    mixinStandardHelpOptions = true,
    description = "Times process start to first token, and peak memory.")
final class StartBenchmark implements Callable<Integer> {
  @Parameters(arity = "1..*", description = "models, as Gemma.load takes them")
  private List<Path> models = List.of();

  @Option(names = "--runs", description = "processes for each model; medians (default 3)")
  private int runs = 3;

  @Option(names = "--jvm", description = "an option for the measured JVM; may be repeated")
  private List<String> jvm = List.of();

  private record Start(double seconds, double loaded, long peakKb, long anonymousKb) {}

  public static void main(String... args) {
    System.exit(new CommandLine(new StartBenchmark()).execute(args));
  }

  @Override
  public Integer call() throws IOException, InterruptedException {
    System.out.printf(
        "%-24s %9s %12s %10s %12s%n", "model", "loaded", "first token", "peak RSS", "not mapped");
    for (Path model : models) {
      List<Start> starts = new ArrayList<>();
      for (int i = 0; i < runs; i++) {
        starts.add(start(model));
      }
      System.out.printf(
          Locale.ROOT,
          "%-24s %7.2f s %10.2f s %7.0f MB %9.0f MB%n",
          model.getFileName(),
          median(starts.stream().mapToDouble(Start::loaded).toArray()),
          median(starts.stream().mapToDouble(Start::seconds).toArray()),
          median(starts.stream().mapToDouble(Start::peakKb).toArray()) * 1024 / 1e6,
          median(starts.stream().mapToDouble(Start::anonymousKb).toArray()) * 1024 / 1e6);
    }
    return 0;
  }

  private static double median(double[] values) {
    Arrays.sort(values);
    return values[values.length / 2];
  }

  private Start start(Path model) throws IOException, InterruptedException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(
        List.of("--add-modules", "jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"));
    command.addAll(List.of("-XX:+UseSerialGC", "-Xmn16m")); // as the gemma command has them
    command.addAll(jvm);
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), Child.class.getName()));
    command.add(model.toString());
    long begin = System.nanoTime();
    Process process = new ProcessBuilder(command).redirectError(Redirect.DISCARD).start();
    Anonymous anonymous = new Anonymous(process.pid());
    anonymous.start();
    double loaded = 0;
    double first = 0;
    long peak = 0;
    try (BufferedReader lines = process.inputReader()) {
      for (String line; (line = lines.readLine()) != null; ) {
        double now = (System.nanoTime() - begin) / 1e9;
        if (line.equals("loaded")) {
          loaded = now;
        } else if (line.equals("token")) {
          first = now;
        } else {
          peak = Long.parseLong(line);
        }
      }
    }
    if (process.waitFor() != 0 || peak == 0) {
      throw new IOException(model + ": the process failed: " + String.join(" ", command));
    }
    anonymous.join();
    return new Start(first, loaded, peak, anonymous.peakKb);
  }

  /** Watches the memory of a process that no file backs; the kernel keeps no peak of that. */
  private static final class Anonymous extends Thread {
    private final long pid;
    private volatile long peakKb;

    Anonymous(long pid) {
      this.pid = pid;
    }

    @Override
    public void run() {
      try {
        while (true) {
          peakKb = Math.max(peakKb, kb(pid, "RssAnon:"));
          Thread.sleep(5);
        }
      } catch (IOException | IllegalStateException | InterruptedException e) {
        // it has ended
      }
    }
  }

  private static long kb(long pid, String field) throws IOException {
    for (String line : Files.readAllLines(Path.of("/proc", Long.toString(pid), "status"))) {
      if (line.startsWith(field)) {
        return Long.parseLong(line.replaceAll("\\D", ""));
      }
    }
    throw new IllegalStateException("no " + field);
  }

  /** What is measured: prints when it has loaded, when it has a token, and its peak of memory. */
  static final class Child {
    private Child() {}

    public static void main(String... args) throws IOException {
      try (Gemma gemma = Gemma.load(Path.of(args[0]))) {
        System.out.println("loaded");
        GenerationOptions options = GenerationOptions.builder().temperature(0).maxTokens(1).build();
        try (TokenStream stream = gemma.stream(Prompt.of("Once upon a time"), options)) {
          stream.next();
          System.out.println("token");
        }
        System.out.println(kb(ProcessHandle.current().pid(), "VmHWM:"));
      }
    }
  }
}
