package dev.gemma4j.examples.spark;

import dev.gemma4j.KernelType;
import dev.gemma4j.KvType;
import dev.gemma4j.WeightType;
import dev.gemma4j.constraint.Constraints;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.apache.spark.sql.SparkSession;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Runs a job from the command line or by spark-submit. */
@Command(
    name = "spark-batch",
    mixinStandardHelpOptions = true,
    showDefaultValues = true,
    description = "Answers every row of a data set with a Gemma model, on Apache Spark.")
final class Main implements Callable<Integer> {
  private static final int MAX_SCHEMA = 16 << 20;

  @Spec @Nullable CommandSpec spec;

  @Option(
      names = "--model",
      paramLabel = "PATH",
      description = "A model's directory or file, as executors see it; else the demo model.")
  @Nullable String model;

  @Option(
      names = "--input",
      required = true,
      paramLabel = "PATH",
      description = "A file, directory or pattern, of any file system that Spark reads.")
  String input = "";

  @Option(
      names = "--input-format",
      paramLabel = "FORMAT",
      description = "json (an object a line) or parquet; else as the name of the input ends.")
  @Nullable String inputFormat;

  @Option(
      names = "--retry-errors",
      description = "Try rows of the output again that have an error; see the README.")
  boolean retryErrors;

  @Option(names = "--id-column", defaultValue = "id", paramLabel = "NAME")
  String idColumn = "";

  @Option(names = "--prompt-column", defaultValue = "prompt", paramLabel = "NAME")
  String promptColumn = "";

  @Option(
      names = "--output",
      required = true,
      paramLabel = "PATH",
      description = "A directory; ids that it has already are skipped.")
  String output = "";

  @Option(
      names = "--output-format",
      defaultValue = "parquet",
      paramLabel = "FORMAT",
      description = "parquet or json.")
  String outputFormat = "";

  @Option(
      names = "--rows-per-part",
      defaultValue = "200",
      paramLabel = "N",
      description = "Rows of a task and of its file; a killed job loses those under way.")
  int rowsPerPart;

  @Option(
      names = "--parallel-per-executor",
      defaultValue = "16",
      paramLabel = "N",
      description = "Rows at a time in an executor, which share each pass over the weights.")
  int parallel;

  @Option(
      names = "--threads",
      defaultValue = "0",
      paramLabel = "N",
      description = "Of an executor's model; 0 for spark.executor.cores, else all processors.")
  int threads;

  @Option(
      names = "--kv-memory",
      defaultValue = "0",
      paramLabel = "BYTES",
      description = "Of the keys and values of an executor's rows; 0 for half of its heap.")
  long kvMemory;

  @Option(
      names = "--weights",
      defaultValue = "AS_STORED",
      description = "Weight type at run time: ${COMPLETION-CANDIDATES}.")
  WeightType weights = WeightType.AS_STORED;

  @Option(
      names = "--kv",
      defaultValue = "F32",
      description = "Type of the keys and values kept: ${COMPLETION-CANDIDATES}.")
  KvType kv = KvType.F32;

  @Option(
      names = "--context",
      defaultValue = "0",
      paramLabel = "N",
      description = "Positions of a row at most; 0 for the model's.")
  int context;

  @Option(
      names = "--kernels",
      defaultValue = "AUTO",
      description = "Which arithmetic: ${COMPLETION-CANDIDATES}.")
  KernelType kernels = KernelType.AUTO;

  @Option(
      names = "--chat",
      description = "Take prompts as a user's messages; for instruction-tuned models.")
  boolean chat;

  @Option(
      names = "--system",
      defaultValue = "",
      paramLabel = "TEXT",
      description = "A text before each message; with --chat.")
  String system = "";

  @Option(names = "--max-tokens", defaultValue = "256", paramLabel = "N")
  int maxTokens;

  @Option(
      names = "--temperature",
      defaultValue = "0.8",
      paramLabel = "T",
      description = "0 is greedy.")
  float temperature;

  @Option(names = "--top-k", defaultValue = "0", paramLabel = "K", description = "0 for all.")
  int topK;

  @Option(names = "--top-p", defaultValue = "0.95", paramLabel = "P")
  float topP;

  @Option(names = "--min-p", defaultValue = "0", paramLabel = "P")
  float minP;

  @Option(names = "--repetition-penalty", defaultValue = "1", paramLabel = "X")
  float repetitionPenalty;

  @Option(
      names = "--seed",
      defaultValue = "0",
      paramLabel = "N",
      description = "Each row's own is derived from this and its id.")
  long seed;

  @Option(names = "--stop", paramLabel = "TEXT", description = "End before it; repeatable.")
  List<String> stop = new ArrayList<>();

  @Option(
      names = "--json-schema",
      paramLabel = "FILE",
      description = "Texts are JSON that is valid for this schema; a file of the driver.")
  @Nullable Path jsonSchema;

  @Option(names = "--verbose", description = "Print the stack trace of an error.")
  boolean verbose;

  /** Runs a job and returns, or exits with its status: 1 bad input or model, 2 wrong usage. */
  public static void main(String[] args) {
    int status = run(args);
    if (status != 0) {
      System.exit(status); // which ends Spark too
    }
    // YARN in cluster mode takes any exit, also of status 0, for a failure.
    scala.Option<SparkSession> session = SparkSession.getDefaultSession();
    if (session.isDefined()) {
      session.get().stop();
    }
  }

  static int run(String... args) {
    CommandLine command = new CommandLine(new Main());
    command.setExpandAtFiles(false); // a stop string may begin with @
    command.setCaseInsensitiveEnumValuesAllowed(true);
    command.setExecutionExceptionHandler(
        (e, commandLine, result) -> {
          System.err.println("spark-batch: " + message(e));
          if (commandLine.<Main>getCommand().verbose) {
            e.printStackTrace();
          }
          return 1;
        });
    return command.execute(args);
  }

  /** Of what failed in an executor, not of the job that failed for it. */
  private static String message(Throwable e) {
    Throwable cause = e;
    while (cause.getCause() != null) {
      cause = cause.getCause();
    }
    return String.valueOf(cause.getMessage()).lines().findFirst().orElse("");
  }

  @Override
  public Integer call() throws IOException {
    BatchOptions options = options();
    SparkSession spark = SparkSession.builder().appName("spark-batch").getOrCreate();
    BatchJob.Summary summary = BatchJob.run(spark, options);
    System.err.println(
        summary.before()
            + " rows were there, "
            + summary.added()
            + " were added, "
            + summary.errors()
            + " in all have an error");
    return 0;
  }

  /** The options, where nonsense is wrong usage before anything is started. */
  private BatchOptions options() throws IOException {
    require(rowsPerPart > 0, "--rows-per-part", "1 or more", rowsPerPart);
    require(parallel > 0, "--parallel-per-executor", "1 or more", parallel);
    Resources resources = new Resources(threads, parallel, kvMemory);
    require(system.isEmpty() || chat, "--system", "nothing without --chat", system);
    Settings settings =
        new Settings(
            new ModelSettings(model, weights, kv, context, kernels),
            chat,
            system,
            maxTokens,
            temperature,
            topK,
            topP,
            minP,
            repetitionPenalty,
            seed,
            stop,
            jsonSchema == null ? null : readSchema(jsonSchema));
    try {
      settings.model().loadOptions(resources);
      String schema = settings.jsonSchema();
      settings.options("", schema == null ? null : Constraints.jsonSchema(schema));
    } catch (IllegalArgumentException e) {
      throw usage(String.valueOf(e.getMessage()));
    }
    return new BatchOptions(
        input,
        format("--input-format", inputFormat == null ? extension(input) : inputFormat),
        idColumn,
        promptColumn,
        output,
        format("--output-format", outputFormat),
        rowsPerPart,
        retryErrors,
        resources,
        settings);
  }

  private static String readSchema(Path file) throws IOException {
    try (InputStream in = Files.newInputStream(file)) {
      byte[] bytes = in.readNBytes(MAX_SCHEMA + 1);
      if (bytes.length > MAX_SCHEMA) {
        throw new IOException("--json-schema: " + file + ": more than " + MAX_SCHEMA + " bytes");
      }
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    }
  }

  private static String extension(String path) {
    String name = path.endsWith(".gz") ? path.substring(0, path.length() - 3) : path;
    return name.substring(name.lastIndexOf('.') + 1);
  }

  private String format(String option, String name) {
    String format = name.toLowerCase(Locale.ROOT);
    format = format.equals("jsonl") ? "json" : format;
    require(format.equals("json") || format.equals("parquet"), option, "json or parquet", name);
    return format;
  }

  private void require(boolean ok, String option, String expected, Object found) {
    if (!ok) {
      throw usage(option + ": found " + found + ", expected " + expected);
    }
  }

  private ParameterException usage(String message) {
    return new ParameterException(java.util.Objects.requireNonNull(spec).commandLine(), message);
  }
}
