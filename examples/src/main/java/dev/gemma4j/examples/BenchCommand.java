package dev.gemma4j.examples;

import dev.gemma4j.Gemma;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Session;
import dev.gemma4j.kernel.ReadBandwidth;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.function.DoubleSupplier;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@CommandLine.Command(
    name = "bench",
    description = "Measure speed against the memory bandwidth of this machine; medians.")
final class BenchCommand extends Command {
  private static final int DECODE_CONTEXT = 128;
  private static final int MOST = 1_000_000;

  @Mixin ModelOptions model = new ModelOptions();

  @Option(names = "-p", split = ",", paramLabel = "N", description = "Prompt lengths (128,512).")
  List<Integer> prompts = new ArrayList<>(List.of(128, 512));

  @Option(names = "-n", paramLabel = "N", description = "Tokens to decode (64).")
  int tokens = 64;

  @Option(names = "-r", paramLabel = "N", description = "Repetitions (3).")
  int repetitions = 3;

  @Option(
      names = "--warm-up",
      paramLabel = "SECONDS",
      description = "Runs before each measurement, in which the JIT compiles; at least one (2).")
  double warmUp = 2; // one run of a small model is too short

  @Option(names = "--json", description = "Print one JSON object.")
  boolean json;

  BenchCommand(Io io) {
    super(io);
  }

  @Override
  public Integer call() throws IOException {
    if (Stream.concat(prompts.stream(), Stream.of(tokens, repetitions))
        .anyMatch(count -> count < 1 || count > MOST)) {
      throw usage("-p, -n and -r must be in [1, " + MOST + "]");
    }
    long start = System.nanoTime();
    try (Gemma gemma = model.load()) {
      LoraAdapter adapter = model.adapter(gemma);
      double loadMs = (System.nanoTime() - start) / 1e6;
      int longest = prompts.stream().mapToInt(p -> p).max().orElse(0);
      int needed = Math.max(longest, DECODE_CONTEXT + tokens);
      if (needed > gemma.contextLength()) {
        throw new IllegalArgumentException(
            "-p and -n need " + needed + " positions, the context has " + gemma.contextLength());
      }
      List<Map<String, Object>> prefill = new ArrayList<>();
      for (int length : prompts) {
        prefill.add(speed(length, median(() -> prefill(gemma, adapter, length))));
      }
      double decode = median(() -> decode(gemma, adapter));
      long peakRss = peakRss(); // before the bandwidth's buffer adds to it
      double bandwidth = ReadBandwidth.measure(gemma.threads(), 3 * repetitions);
      Map<String, Object> report = new LinkedHashMap<>();
      report.put("model", model.name());
      report.put("weights", gemma.weights());
      report.put("kernels", gemma.kernels());
      report.put("threads", gemma.threads());
      report.put("loadMs", loadMs);
      report.put("prefill", prefill);
      report.put("decode", speed(tokens, decode));
      report.put("peakRssBytes", peakRss);
      report.put("readBandwidthGBps", bandwidth);
      report.put("decodeBandwidthShare", gemma.weightBytesPerToken() * decode / 1e9 / bandwidth);
      if (json) {
        io.json(report);
      } else {
        print(report, prefill);
      }
      return 0;
    }
  }

  private static Map<String, Object> speed(int tokens, double tokensPerSecond) {
    Map<String, Object> speed = new LinkedHashMap<>();
    speed.put("tokens", tokens);
    speed.put("tokensPerSecond", tokensPerSecond);
    return speed;
  }

  /** The median after runs that do not count, in which the JIT compiles. */
  private double median(DoubleSupplier run) {
    long start = System.nanoTime();
    do {
      run.getAsDouble();
    } while (System.nanoTime() - start < warmUp * 1e9);
    double[] values = new double[repetitions];
    for (int i = 0; i < repetitions; i++) {
      values[i] = run.getAsDouble();
    }
    Arrays.sort(values);
    return (values[(repetitions - 1) / 2] + values[repetitions / 2]) / 2;
  }

  private static int[] ids(Gemma gemma, int count) {
    return new Random(1).ints(count, 0, gemma.config().vocabSize()).toArray();
  }

  private static double prefill(Gemma gemma, @Nullable LoraAdapter adapter, int length) {
    try (Session session = gemma.newSession(adapter)) {
      long start = System.nanoTime();
      session.append(ids(gemma, length));
      return length * 1e9 / (System.nanoTime() - start);
    }
  }

  private double decode(Gemma gemma, @Nullable LoraAdapter adapter) {
    try (Session session = gemma.newSession(adapter)) {
      int next = session.append(ids(gemma, DECODE_CONTEXT)).argmax();
      long start = System.nanoTime();
      for (int i = 0; i < tokens; i++) {
        next = session.append(next).argmax();
      }
      return tokens * 1e9 / (System.nanoTime() - start);
    }
  }

  /** The most memory this process ever held, files it mapped included; 0 where unknown. */
  private static long peakRss() throws IOException {
    Path status = Path.of("/proc/self/status");
    if (!Files.exists(status)) {
      return 0;
    }
    for (String line : Files.readAllLines(status)) {
      if (line.startsWith("VmHWM:")) {
        return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024;
      }
    }
    return 0;
  }

  private void print(Map<String, Object> report, List<Map<String, Object>> prefill) {
    io.out()
        .printf(
            Locale.ROOT,
            "%s, %s weights, %s kernels, %s threads%n",
            report.get("model"),
            report.get("weights"),
            report.get("kernels"),
            report.get("threads"));
    io.out().printf(Locale.ROOT, "load            %10.0f ms%n", report.get("loadMs"));
    for (Map<String, Object> p : prefill) {
      io.out()
          .printf(
              Locale.ROOT,
              "prefill %-7s %10.2f tokens/s%n",
              p.get("tokens"),
              p.get("tokensPerSecond"));
    }
    Map<?, ?> decode = (Map<?, ?>) report.get("decode");
    io.out()
        .printf(
            Locale.ROOT,
            "decode %-8s %10.2f tokens/s, %.0f %% of the read bandwidth of %.1f GB/s%n",
            decode.get("tokens"),
            decode.get("tokensPerSecond"),
            100 * (Double) report.get("decodeBandwidthShare"),
            report.get("readBandwidthGBps"));
    io.out()
        .printf(
            Locale.ROOT, "peak memory     %10.0f MB%n", (Long) report.get("peakRssBytes") / 1e6);
  }
}
