package dev.gemma4j.bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/**
 * Runs this library and others on the same weights, in turns, each run a process of its own that
 * loads, warms up and measures; prints the medians as one table in Markdown. A peer prints one JSON
 * object with the keys of {@code gemma bench --json}.
 */
@Command(
    name = "compare",
    mixinStandardHelpOptions = true,
    description = "Times this library and others on the same weights, side by side.")
final class Compare implements Callable<Integer> {
  // picocli sets it before it calls.
  @Spec private CommandSpec spec = CommandSpec.create();

  @Parameters(
      arity = "1..*",
      paramLabel = "MODEL",
      description =
          "NAME=FILE.gguf[,DIRECTORY]: the same weights in the forms that the programs read; each"
              + " takes the first that it can")
  private List<String> models = new ArrayList<>();

  @Option(names = "--peers", split = ",", description = "of ${COMPLETION-CANDIDATES} (all)")
  private Set<Program> programs = EnumSet.allOf(Program.class);

  @Option(names = "--threads", description = "default: one per processor")
  private int threads = Runtime.getRuntime().availableProcessors();

  @Option(names = "--prefill", description = "tokens of the prompt (${DEFAULT-VALUE})")
  private int prefill = 512;

  @Option(
      names = "--decode",
      description = "tokens decoded after a prompt of 128 (${DEFAULT-VALUE})")
  private int decode = 16;

  @Option(names = "--repeat", description = "rounds, of which the median counts (${DEFAULT-VALUE})")
  private int repeat = 3;

  @Option(
      names = "--packages",
      description = "where npm installed node-llama-cpp (${DEFAULT-VALUE})")
  private Path packages = Path.of("packages");

  @Option(names = "--python", description = "a Python that has torch (${DEFAULT-VALUE})")
  private String python = "python3";

  @Option(
      names = "--before",
      description = "a command in front of each run, such as \"taskset -c 0,1\"")
  private String before = "";

  private final Path here = Path.of(System.getProperty("gemma.bench", "gemma-bench"));
  private final List<Double> read = new ArrayList<>(); // GB/s
  private final List<Double> fma = new ArrayList<>(); // GFLOP/s

  /** What can be compared, in the order of the table. */
  enum Program {
    GEMMA4J("gemma4j"),
    LLAMA("llama.cpp"),
    JLAMA("Jlama"),
    TORCH("PyTorch");

    private final String title;

    Program(String title) {
      this.title = title;
    }

    @Override
    public String toString() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  /** The same weights in one or more forms. */
  private record Model(String name, List<Path> forms) {}

  /** What one program did with one model: a row of the table. */
  private static final class Entry {
    final Program program;
    final Model model;
    String version = "";
    String threads = "";
    String problem = "";
    long bytes; // of the weights
    final Map<String, List<Double>> values = new HashMap<>();

    Entry(Program program, Model model) {
      this.program = program;
      this.model = model;
    }

    double median(String key) {
      return Compare.median(values.getOrDefault(key, List.of()));
    }
  }

  /** A process that ended badly, with the last line it wrote. */
  private static final class FailedException extends Exception {
    private static final long serialVersionUID = 1L;

    FailedException(String message) {
      super(message);
    }
  }

  public static void main(String... args) {
    System.exit(
        new CommandLine(new Compare()).setCaseInsensitiveEnumValuesAllowed(true).execute(args));
  }

  @Override
  public Integer call() throws IOException, InterruptedException {
    if (threads < 1 || prefill < 1 || decode < 1 || repeat < 1) {
      throw usage("--threads, --prefill, --decode and --repeat must be at least 1");
    }
    List<Entry> entries = new ArrayList<>();
    for (String text : models) {
      Model model = model(text);
      programs.stream().sorted().forEach(program -> entries.add(new Entry(program, model)));
    }
    for (int round = 1; round <= repeat; round++) {
      limits();
      for (Entry entry : entries) {
        if (entry.problem.isEmpty()) {
          log("round %d: %s, %s", round, entry.model.name(), entry.program.title);
          run(entry);
        }
      }
    }
    limits();
    print(entries);
    return 0;
  }

  private Model model(String text) {
    String[] parts = text.split("=", 2);
    if (parts.length < 2) {
      throw usage("expected NAME=PATH, but was " + text);
    }
    List<Path> forms = Arrays.stream(parts[1].split(",")).map(Path::of).toList();
    for (Path form : forms) {
      if (!Files.exists(form)) {
        throw usage(form + " does not exist");
      }
    }
    return new Model(parts[0], forms);
  }

  private ParameterException usage(String message) {
    return new ParameterException(spec.commandLine(), message);
  }

  private void limits() throws InterruptedException, IOException {
    log("the machine's limits");
    try {
      String out = output(run("run"), "MachineLimit", "--threads", String.valueOf(threads));
      for (String line : out.lines().toList()) {
        String[] parts = line.split("[= ]");
        (parts[0].equals("read") ? read : fma).add(Double.valueOf(parts[1]));
      }
    } catch (FailedException e) {
      throw usage("the machine's limits: " + e.getMessage());
    }
  }

  private String run(String name) {
    return here.resolve(name).toString();
  }

  private void run(Entry entry) throws IOException, InterruptedException {
    try {
      Path form = form(entry);
      entry.bytes = bytes(form);
      Map<String, String> result = json(output(command(entry.program, form)));
      String version = entry.program == Program.GEMMA4J ? revision() : result.get("/version");
      entry.version = version == null ? "" : version;
      entry.threads = result.getOrDefault("/threads", "");
      for (String key :
          List.of(
              "/loadMs",
              "/prefill/0/tokensPerSecond",
              "/decode/tokensPerSecond",
              "/peakRssBytes")) {
        String value = result.get(key);
        if (value == null) {
          throw new FailedException("printed no " + key);
        }
        entry.values.computeIfAbsent(key, k -> new ArrayList<>()).add(Double.valueOf(value));
      }
    } catch (FailedException e) {
      entry.problem = e.getMessage();
      log("  %s", entry.problem);
    }
  }

  /** The first form that the program reads. */
  private static Path form(Entry entry) throws FailedException {
    for (Path form : entry.model.forms()) {
      boolean fits =
          switch (entry.program) {
            case GEMMA4J -> true;
            case LLAMA -> form.toString().endsWith(".gguf");
            case JLAMA, TORCH -> Files.isDirectory(form);
          };
      if (fits) {
        return form;
      }
    }
    throw new FailedException(
        entry.program == Program.LLAMA
            ? "reads .gguf files only, none was given"
            : "reads directories of safetensors only, none was given");
  }

  private String[] command(Program program, Path form) throws IOException, FailedException {
    String model = form.toString();
    String t = String.valueOf(threads);
    String p = String.valueOf(prefill);
    String d = String.valueOf(decode);
    return switch (program) {
      case GEMMA4J ->
          new String[] {
            run("../gemma"),
            "bench",
            "--json",
            "--model",
            model,
            "--threads",
            t,
            "-p",
            p,
            "-n",
            d,
            "-r",
            "1"
          };
      case LLAMA -> {
        if (!Files.exists(packages.resolve("node_modules/node-llama-cpp"))) {
          throw new FailedException("no node-llama-cpp in " + packages + " (--packages)");
        }
        String packagesPath = packages.toAbsolutePath().toString();
        yield new String[] {"node", run("peers/llama.mjs"), packagesPath, model, t, p, d, "1"};
      }
      case JLAMA -> {
        Path target = here.resolve("peers/jlama/target");
        Path classPath = target.resolve("class-path.txt");
        if (!Files.exists(classPath)) {
          throw new FailedException("not built: ./mvnw -f gemma-bench/peers/jlama process-classes");
        }
        yield new String[] {
          Path.of(System.getProperty("java.home"), "bin", "java").toString(),
          "--add-modules",
          "jdk.incubator.vector",
          "--enable-native-access=ALL-UNNAMED",
          "-cp",
          target.resolve("classes") + ":" + Files.readString(classPath),
          "peer.Jlama",
          model,
          t,
          p,
          d,
          "1"
        };
      }
      case TORCH -> new String[] {python, run("peers/torch_reference.py"), model, t, p, d, "1"};
    };
  }

  /** What a process prints, once it has ended well. */
  private String output(String... command)
      throws IOException, InterruptedException, FailedException {
    List<String> all = new ArrayList<>();
    if (!before.isBlank()) {
      all.addAll(Arrays.asList(before.trim().split("\\s+")));
    }
    all.addAll(Arrays.asList(command));
    Path errors = Files.createTempFile("compare", ".txt");
    try {
      Process process;
      try {
        process = new ProcessBuilder(all).redirectError(errors.toFile()).start();
      } catch (IOException e) {
        throw new FailedException(String.valueOf(e.getMessage()));
      }
      process.getOutputStream().close();
      String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      int status = process.waitFor();
      if (status != 0) {
        String last = Files.readString(errors).strip().lines().reduce("", (a, line) -> line);
        throw new FailedException("exit status " + status + ": " + last);
      }
      return out;
    } finally {
      Files.delete(errors);
    }
  }

  /** The values of the last line, an object, by their JSON pointers. */
  private static Map<String, String> json(String out) throws FailedException {
    String line = out.strip().lines().reduce("", (a, b) -> b);
    Map<String, String> values = new LinkedHashMap<>();
    try (JsonParser parser = new JsonFactory().createParser(line)) {
      for (JsonToken token = parser.nextToken(); token != null; token = parser.nextToken()) {
        if (token.isScalarValue()) {
          values.put(parser.getParsingContext().pathAsPointer().toString(), parser.getText());
        }
      }
    } catch (IOException e) {
      throw new FailedException("printed no JSON: " + line);
    }
    return values;
  }

  private String revision() throws IOException, InterruptedException {
    try {
      Process git =
          new ProcessBuilder("git", "-C", here.toString(), "rev-parse", "--short", "HEAD").start();
      return new String(git.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
    } catch (IOException e) {
      return ""; // no git
    }
  }

  private static long bytes(Path form) throws IOException {
    if (!Files.isDirectory(form)) {
      return Files.size(form);
    }
    long sum = 0;
    try (Stream<Path> files = Files.list(form)) {
      for (Path file : files.filter(f -> f.toString().endsWith(".safetensors")).toList()) {
        sum += Files.size(file);
      }
    }
    return sum;
  }

  private static double median(List<Double> values) {
    double[] sorted = values.stream().mapToDouble(v -> v).sorted().toArray();
    int n = sorted.length;
    return n == 0 ? Double.NaN : (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
  }

  private void print(List<Entry> entries) {
    System.out.printf(
        Locale.ROOT,
        "%d threads, prefill(%d), decode of %d after 128, medians of %d rounds;"
            + " read bandwidth %s GB/s, FMA peak %s GFLOP/s%n%n",
        threads,
        prefill,
        decode,
        repeat,
        range(read),
        range(fma));
    System.out.println(
        "| weights | program | version | threads | load | prefill | of gemma4j's | decode"
            + " | of gemma4j's | of the read bandwidth | peak memory |");
    System.out.println("|---|---|---|---|---|---|---|---|---|---|---|");
    for (Entry entry : entries) {
      String begin = "| %s | %s |".formatted(entry.model.name(), entry.program.title);
      if (!entry.problem.isEmpty()) {
        System.out.println(begin + " not measured: " + entry.problem + " | | | | | | | | |");
        continue;
      }
      double prefillRate = entry.median("/prefill/0/tokensPerSecond");
      double decodeRate = entry.median("/decode/tokensPerSecond");
      System.out.printf(
          Locale.ROOT,
          "%s %s | %s | %.2f s | %.1f tok/s | %s | %.2f tok/s | %s | %.0f %% | %.1f GB |%n",
          begin,
          entry.version,
          entry.threads,
          entry.median("/loadMs") / 1e3,
          prefillRate,
          ratio(prefillRate, entry, entries, "/prefill/0/tokensPerSecond"),
          decodeRate,
          ratio(decodeRate, entry, entries, "/decode/tokensPerSecond"),
          100 * entry.bytes * decodeRate / 1e9 / median(read),
          entry.median("/peakRssBytes") / 1e9);
    }
  }

  private static String range(List<Double> values) {
    return String.format(
        Locale.ROOT,
        "%.1f (%.1f to %.1f)",
        median(values),
        values.stream().mapToDouble(v -> v).min().orElse(Double.NaN),
        values.stream().mapToDouble(v -> v).max().orElse(Double.NaN));
  }

  private static String ratio(double rate, Entry entry, List<Entry> entries, String key) {
    return entries.stream()
        .filter(e -> e.program == Program.GEMMA4J && e.model == entry.model && e.problem.isEmpty())
        .findFirst()
        .map(ours -> String.format(Locale.ROOT, "%.2f", rate / ours.median(key)))
        .orElse("");
  }

  private void log(String format, Object... arguments) {
    spec.commandLine().getErr().printf(format + "%n", arguments);
    spec.commandLine().getErr().flush();
  }
}
