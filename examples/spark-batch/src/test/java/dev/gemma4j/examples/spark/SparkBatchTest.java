package dev.gemma4j.examples.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.Gemma;
import dev.gemma4j.Generation;
import dev.gemma4j.KernelType;
import dev.gemma4j.KvMemoryException;
import dev.gemma4j.KvType;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.Prompt;
import dev.gemma4j.WeightType;
import dev.gemma4j.examples.DemoModel;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.util.LongAccumulator;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Jobs on a cluster of two executors, which are JVMs of their own. Rows that share a pass are
 * summed in another order, which only a near tie can show; with this seed there is none: both kinds
 * of kernels give these texts, alone and with 3 and 16 callers. The scalar ones are quicker to warm
 * up.
 */
class SparkBatchTest {
  private static final int ROWS = 24;

  @TempDir static Path directory;
  private static Path model;
  private static Path input;
  private static Path output; // of a job that was killed half-way
  private static List<Path> before;
  private static SparkSession spark;

  @BeforeAll
  static void start() throws Exception {
    // The cluster starts executors as an installation would; ours has all jars on the class path.
    Files.createDirectories(Path.of(System.getenv("SPARK_HOME"), "jars"));
    model = Files.createDirectory(directory.resolve("demo"));
    DemoModel.extract(model);
    input = input();
    output = directory.resolve("results");
    half();
    before = parts(output);
    assertThat(output.resolve("_SUCCESS")).doesNotExist();
    SparkSession.Builder builder = SparkSession.builder();
    configuration("local-cluster[2,1,1024]").forEach(builder::config);
    spark = builder.getOrCreate();
  }

  @AfterAll
  static void stop() {
    spark.stop();
  }

  private static Map<String, String> configuration(String master) {
    return Map.of(
        "spark.master", master,
        "spark.executor.extraClassPath", System.getProperty("java.class.path"),
        "spark.executor.cores", "1",
        // For speed, as no code generation: it lives for seconds.
        "spark.executor.extraJavaOptions", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
        "spark.sql.codegen.wholeStage", "false",
        "spark.sql.codegen.factoryMode", "NO_CODEGEN",
        "spark.log.level", "ERROR",
        "spark.sql.shuffle.partitions", "2",
        "spark.ui.enabled", "false");
  }

  private static String prompt(int row) {
    return "There was once a king who had " + row % 12 + " sons"; // each twice
  }

  private static Path input() throws IOException {
    List<String> lines = new ArrayList<>();
    for (int i = 0; i < ROWS; i++) {
      lines.add("{\"id\": \"row " + i + "\", \"prompt\": \"" + prompt(i) + "\"}");
    }
    lines.add("{\"id\": \"long\", \"prompt\": \"" + "word ".repeat(600) + "\"}");
    lines.add("{\"id\": \"twice\", \"prompt\": \"one\"}");
    lines.add("{\"id\": \"twice\", \"prompt\": \"other\"}");
    lines.add("{\"id\": 7}");
    lines.add("{\"id\": \"row 1000\", \"prom");
    return Files.write(directory.resolve("input.jsonl"), lines);
  }

  private static String[] arguments(Path input, Path output, String... more) {
    return Stream.concat(
            Stream.of("--model", model.toString(), "--input", input.toString()),
            Stream.concat(
                Stream.of(
                    "--output",
                    output.toString(),
                    "--max-tokens=16",
                    "--seed=5",
                    "--kernels=scalar"),
                Stream.of(more)))
        .toArray(String[]::new);
  }

  private static Settings settings() {
    return new Settings(
        new ModelSettings(model.toString(), WeightType.AS_STORED, KvType.F32, 0, KernelType.SCALAR),
        false,
        "",
        16,
        0.8f,
        0,
        0.95f,
        0,
        1,
        5,
        List.of(),
        null);
  }

  private static BatchOptions options(Path input, Path output) {
    return new BatchOptions(
        input.toString(),
        "json",
        "id",
        "prompt",
        output.toString(),
        "parquet",
        4,
        false,
        new Resources(0, 16, 0),
        settings());
  }

  /** What a caller that is alone gets, by id. */
  private static Map<String, String> alone() throws IOException {
    Map<String, String> texts = new TreeMap<>();
    try (Gemma gemma =
        Gemma.load(
            model, LoadOptions.defaults().withPromptReuse(false).withKernels(KernelType.SCALAR))) {
      for (int i = 0; i < ROWS; i++) {
        String id = "row " + i;
        texts.put(id, gemma.generate(Prompt.of(prompt(i)), settings().options(id, null)).text());
      }
    }
    return texts;
  }

  private static List<Path> parts(Path output) throws IOException {
    if (!Files.exists(output)) {
      return List.of();
    }
    try (Stream<Path> files = Files.list(output)) {
      return files.filter(file -> file.getFileName().toString().startsWith("part-")).toList();
    }
  }

  private static Process driver(String master, Path log, Class<?> main, String... arguments)
      throws IOException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(ManagementFactory.getRuntimeMXBean().getInputArguments());
    configuration(master).forEach((name, value) -> command.add("-D" + name + "=" + value));
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), main.getName()));
    command.addAll(List.of(arguments));
    return new ProcessBuilder(command)
        .redirectErrorStream(true)
        .redirectOutput(log.toFile())
        .start();
  }

  /** Begins the job in another driver and kills that as soon as a part, of many, is there. */
  private static void half() throws Exception {
    Path log = directory.resolve("killed.log");
    Process driver =
        driver(
            "local-cluster[1,1,1024]",
            log,
            Main.class,
            arguments(input, output, "--rows-per-part", "1"));
    while (parts(output).isEmpty()) {
      assertThat(driver.isAlive()).as(Files.readString(log)).isTrue();
      Thread.sleep(5);
    }
    List<ProcessHandle> executors = driver.descendants().toList();
    driver.destroyForcibly();
    driver.waitFor();
    assertThat(executors).hasSize(1);
    for (ProcessHandle executor : executors) { // they end by themselves: no driver, no work
      executor.onExit().get(10, TimeUnit.MINUTES);
    }
  }

  @Test
  void aKilledJobGoesOnAndEachRowGetsWhatItWouldGetAlone() throws IOException {
    BatchJob.Summary summary = BatchJob.run(spark, options(input, output));

    assertThat(summary.before()).isPositive();
    assertThat(summary.added()).isPositive();
    assertThat(summary.before() + summary.added()).isEqualTo(ROWS + 4);
    assertThat(summary.models())
        .as("models of two executors, but those that a test before this one had loaded")
        .isBetween(0L, 2L);
    assertThat(parts(output)).hasSizeGreaterThan(before.size() + 2).containsAll(before);
    Map<String, String> texts = new TreeMap<>();
    Map<String, String> errors = new TreeMap<>();
    List<Row> rows = spark.read().parquet(output.toString()).collectAsList();
    for (Row row : rows) {
      String error = row.getAs("error");
      (error == null ? texts : errors)
          .put(row.getAs("id"), error == null ? row.getAs("text") : error);
    }
    assertThat(rows).as("no id twice").hasSize(ROWS + 4);
    assertThat(texts).isEqualTo(alone());
    assertThat(texts.get("row 3")).as("another seed").isNotEqualTo(texts.get("row 15"));
    assertThat(errors).hasSize(4);
    assertThat(errors.get("long")).contains("tokens at position 0 exceed the context of 512");
    assertThat(errors.get("twice")).isEqualTo("prompt: found 2 of them for this id, expected one");
    assertThat(errors.get("7")).isEqualTo("prompt: found none, expected a text");
    assertThat(errors).containsValue("no valid JSON: {\"id\": \"row 1000\", \"prom");
    assertThat(summary.errors()).isEqualTo(4);

    BatchJob.Summary again = BatchJob.run(spark, options(input, output));
    assertThat(again).isEqualTo(new BatchJob.Summary(ROWS + 4, 0, 4, 0));
    assertThat(spark.read().parquet(output.toString()).count()).isEqualTo(ROWS + 4);
  }

  @Test
  void readsParquetOfOtherColumnsAndWritesJson() throws IOException {
    Path input = directory.resolve("input.parquet");
    spark
        .range(6)
        .selectExpr("id AS key", "concat('There was once a king who had ', id, ' sons') AS `a.b`")
        .write()
        .parquet(input.toString());
    Path output = directory.resolve("json");
    String[] arguments =
        arguments(
            input,
            output,
            "--id-column=key",
            "--prompt-column=a.b",
            "--output-format=json",
            "--temperature=0");
    assertThat(run(arguments)).isEqualTo("0 rows were there, 6 were added, 0 in all have an error");
    List<Row> rows = spark.read().json(output.toString()).collectAsList();
    assertThat(rows)
        .extracting(row -> row.<String>getAs("id"))
        .containsExactlyInAnyOrder("0", "1", "2", "3", "4", "5");
    assertThat(rows).allMatch(row -> row.<Long>getAs("generated_tokens") > 0);

    assertThat(run(arguments(input, output, "--id-column=key", "--prompt-column=a.b")))
        .contains("json: found part-", "expected only parquet files");
    arguments[arguments.length - 1] = "--top-k=3";
    assertThat(run(arguments))
        .contains("_settings.json: temperature: found 0.0, expected 0.8 as asked for");
    arguments[arguments.length - 3] = "--prompt-column=b";
    assertThat(run(arguments))
        .endsWith("input.parquet: column b: found in no row, expected in every one");
  }

  /** As a cluster that calls main: what exits does not come back. */
  static final class Caller {
    public static void main(String[] args) {
      Main.main(args);
      System.out.println("main has returned");
    }
  }

  @Test
  void aJobReturnsWhenItIsDoneAndExitsWhenARowFindsNoMemory() throws Exception {
    Path input = directory.resolve("two.jsonl");
    Files.writeString(
        input,
        """
        {"id": "a", "prompt": "Once"}
        {"id": "b", "prompt": "There was once a king"}
        """);
    Path output = directory.resolve("two");
    Path log = directory.resolve("two.log");
    String[] arguments =
        arguments(input, output, "--rows-per-part=1", "--top-k=3", "--kv-memory=30000");

    Process little = driver("local[1]", log, Caller.class, arguments);
    assertThat(little.waitFor()).as(Files.readString(log)).isEqualTo(1);
    assertThat(log)
        .content()
        .contains("spark-batch: keys and values: asked for")
        .doesNotContain("main has returned");
    assertThat(parts(output)).as("an error that is not the row's").isEmpty();

    arguments[arguments.length - 1] = "--kv-memory=0";
    arguments[arguments.length - 2] = "--top-k=0"; // settings without results bind nobody
    Process enough = driver("local[1]", log, Caller.class, arguments);
    assertThat(enough.waitFor(10, TimeUnit.MINUTES)).as("Spark keeps the JVM").isTrue();
    assertThat(log)
        .content()
        .contains("0 rows were there, 2 were added, 0 in all have an error", "main has returned");
    assertThat(enough.exitValue()).isZero();
  }

  @Test
  void errorsAreTriedAgainWhenAsked() throws IOException {
    Path input = directory.resolve("errors.jsonl");
    Files.writeString(
        input, "{\"id\": \"a\", \"prompt\": \"Once\"}\n{\"id\": \"b\"}\n{\"id\": \"c\"}");
    Path output = directory.resolve("errors");
    assertThat(run(arguments(input, output)))
        .isEqualTo("0 rows were there, 3 were added, 2 in all have an error");
    Files.writeString(
        input,
        "{\"id\": \"a\", \"prompt\": \"Once\"}\n"
            + "{\"id\": \"b\", \"prompt\": \"Once\"}\n"
            + "{\"id\": \"c\"}");
    assertThat(run(arguments(input, output, "--retry-errors")))
        .isEqualTo("3 rows were there, 2 were added, 1 in all have an error");

    spark.read().parquet(output.toString()).createOrReplaceTempView("answers");
    List<Row> rows =
        spark
            .sql(
                "SELECT last.* FROM (SELECT max_by(struct(*), attempt) AS last FROM answers GROUP"
                    + " BY id) ORDER BY last.id")
            .collectAsList();
    assertThat(rows)
        .extracting(row -> row.getAs("id") + " " + row.getAs("attempt"))
        .containsExactly("a 1", "b 2", "c 2");
    assertThat(rows)
        .extracting(row -> row.getAs("text") == null)
        .containsExactly(false, false, true);
  }

  @Test
  void nonsenseIsWrongUsage() throws IOException {
    Path input = directory.resolve("none.json");
    Path output = directory.resolve("none");
    assertThat(run(arguments(input, output, "--temperature=-1")))
        .contains("temperature must be 0 or more, but is -1.0");
    assertThat(run(arguments(input, output, "--rows-per-part=0")))
        .contains("--rows-per-part: found 0, expected 1 or more");
    assertThat(run(arguments(input, output, "--system=Be terse.")))
        .contains("--system: found Be terse., expected nothing without --chat");
    assertThat(run(arguments(directory.resolve("x.csv"), output)))
        .contains("--input-format: found csv, expected json or parquet");
    Path schema = directory.resolve("schema.json");
    Files.write(schema, new byte[(16 << 20) + 1]);
    assertThat(run(arguments(input, output, "--json-schema=" + schema)))
        .isEqualTo("spark-batch: --json-schema: " + schema + ": more than 16777216 bytes");
    assertThat(run(arguments(input, output))).contains("none.json").contains("PATH_NOT_FOUND");
    assertThat(output).doesNotExist();
  }

  /** What a job prints in the end. */
  private static String run(String... arguments) {
    PrintStream before = System.err;
    ByteArrayOutputStream err = new ByteArrayOutputStream();
    System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
    try {
      Main.run(arguments);
    } finally {
      System.setErr(before);
    }
    return err.toString(StandardCharsets.UTF_8).strip();
  }

  @Test
  void anExecutorHasOneModelInWhichRowsWaitForRoom() throws Exception {
    long page = 4 * 2 * 64 * 4 * 32; // of the demo model: layers, keys and values, f32, positions
    ExecutorModel executor =
        ExecutorModel.get(
            settings().model(), new Resources(1, 4, 12 * page), new LongAccumulator());
    List<Future<Generation>> rows =
        IntStream.range(0, 4)
            .mapToObj(
                i ->
                    executor.submit(
                        () ->
                            executor.generate(
                                Prompt.of(i + " word".repeat(250)),
                                settings().options("row " + i, null))))
            .toList();
    for (Future<Generation> row : rows) { // each takes 8 or 9 pages
      assertThat(row.get().tokens()).isNotEmpty();
    }
    assertThatThrownBy(
            () ->
                executor.generate(
                    Prompt.of("word ".repeat(450)), settings().options("too long", null)))
        .isInstanceOf(KvMemoryException.class);
    Resources others = new Resources(1, 5, 12 * page);
    assertThatThrownBy(() -> ExecutorModel.get(settings().model(), others, new LongAccumulator()))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageStartingWith("executor: found ModelSettings[path=" + model)
        .hasMessageEndingWith("; an application runs one model");
  }
}
