package dev.gemma4j.examples.spark;

import static org.apache.spark.sql.functions.coalesce;
import static org.apache.spark.sql.functions.col;
import static org.apache.spark.sql.functions.concat;
import static org.apache.spark.sql.functions.count;
import static org.apache.spark.sql.functions.lit;
import static org.apache.spark.sql.functions.max;
import static org.apache.spark.sql.functions.max_by;
import static org.apache.spark.sql.functions.min;
import static org.apache.spark.sql.functions.sha2;
import static org.apache.spark.sql.functions.substring;
import static org.apache.spark.sql.functions.when;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.Arrays;
import java.util.Map;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.spark.sql.Column;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SaveMode;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.util.LongAccumulator;

/**
 * Answers each row of the input whose id is not in the output yet. Every task publishes its part of
 * the output when it is done, so that a job that is killed keeps what its tasks have finished.
 */
final class BatchJob {
  private static final String MALFORMED = "_malformed";
  private static final String SETTINGS = "_settings.json"; // Spark reads no files of such names
  private static final ObjectMapper JSON = new ObjectMapper();

  private final SparkSession spark;
  private final BatchOptions options;
  private final Path output;

  private BatchJob(SparkSession spark, BatchOptions options) {
    this.spark = spark;
    this.options = options;
    this.output = new Path(options.output());
  }

  /**
   * What a job did.
   *
   * @param before ids that were in the output when it began
   * @param added rows that it added
   * @param errors ids of the output whose last row has an error
   * @param models that executors loaded
   */
  record Summary(long before, long added, long errors, long models) {}

  /**
   * Runs a job.
   *
   * @throws IOException when the output's settings cannot be read or written
   * @throws IllegalArgumentException when the input has not the columns, or the output has results
   *     of another format or of other settings
   */
  static Summary run(SparkSession spark, BatchOptions options) throws IOException {
    return new BatchJob(spark, options).run();
  }

  private Summary run() throws IOException {
    Dataset<Row> input = input();
    FileSystem files = output.getFileSystem(spark.sessionState().newHadoopConf());
    FileStatus[] results = parts(files);
    checkFormat(results);
    checkSettings(files, results.length > 0);
    Dataset<Row> last = last();
    long before = last.count();
    Dataset<Row> rows =
        keyed(input)
            .join(last, new String[] {"id"}, "left")
            .filter(
                options.retryErrors()
                    ? col("last").isNull().or(col("error").isNotNull())
                    : col("last").isNull())
            .select(
                col("id"),
                col("prompt"),
                col("problem"),
                coalesce(col("last"), lit(0)).plus(1).as("attempt"));
    long added = rows.count();
    LongAccumulator loads = spark.sparkContext().longAccumulator("models loaded");
    if (added > 0) {
      int parts = Math.toIntExact((added + options.rowsPerPart() - 1) / options.rowsPerPart());
      rows.repartition(parts)
          .mapPartitions(new RowGenerator(options, loads), Encoders.row(RowGenerator.OUTPUT))
          .write()
          .mode(SaveMode.Append)
          .format(options.outputFormat())
          // Publishes a task's file when the task ends, not all of them when the job does.
          .option("mapreduce.fileoutputcommitter.algorithm.version", "2")
          .save(options.output());
    }
    long errors = last().filter(col("error").isNotNull()).count();
    return new Summary(before, added, errors, loads.value());
  }

  /** The rows as id, prompt, and the malformed line if it is one. */
  private Dataset<Row> input() {
    Dataset<Row> rows;
    if (options.inputFormat().equals("json")) {
      StructType schema =
          new StructType()
              .add(options.idColumn(), DataTypes.StringType)
              .add(options.promptColumn(), DataTypes.StringType)
              .add(MALFORMED, DataTypes.StringType);
      rows =
          spark
              .read()
              .schema(schema)
              .option("mode", "PERMISSIVE")
              .option("columnNameOfCorruptRecord", MALFORMED)
              .json(options.input());
    } else {
      rows =
          spark
              .read()
              .format(options.inputFormat())
              .load(options.input())
              .withColumn(MALFORMED, lit(null).cast(DataTypes.StringType));
    }
    for (String column : new String[] {options.idColumn(), options.promptColumn()}) {
      if (!Arrays.asList(rows.columns()).contains(column)
          || rows.filter(column(column).isNotNull()).isEmpty()) {
        throw new IllegalArgumentException(
            options.input() + ": column " + column + ": found in no row, expected in every one");
      }
    }
    return rows.select(
        column(options.idColumn()).cast(DataTypes.StringType).as("id"),
        column(options.promptColumn()).cast(DataTypes.StringType).as("prompt"),
        col(MALFORMED));
  }

  private static Column column(String name) {
    return col("`" + name.replace("`", "``") + "`");
  }

  /**
   * One row for each id, as {@link RowGenerator#INPUT} but for the attempt. What has no id is known
   * by its content, so that a rerun finds it again.
   */
  private static Dataset<Row> keyed(Dataset<Row> rows) {
    Column problem =
        when(
                col(MALFORMED).isNotNull(),
                concat(lit("no valid JSON: "), substring(col(MALFORMED), 1, 200)))
            .when(col("id").isNull(), lit("id: found none, expected one"))
            .when(col("prompt").isNull(), lit("prompt: found none, expected a text"));
    Column content = coalesce(col(MALFORMED), col("prompt"), lit(""));
    Column several =
        when(
            col("prompt").notEqual(col("other")),
            concat(
                lit("prompt: found "), col("copies"), lit(" of them for this id, expected one")));
    return rows.withColumn("problem", problem)
        .withColumn("id", coalesce(col("id"), concat(lit("sha256:"), sha2(content, 256))))
        .groupBy("id")
        .agg(
            min("prompt").as("prompt"),
            max("prompt").as("other"),
            min("problem").as("problem"),
            count("*").as("copies"))
        .select(col("id"), col("prompt"), coalesce(col("problem"), several).as("problem"));
  }

  private Dataset<Row> results() {
    return spark
        .read()
        .schema(RowGenerator.OUTPUT)
        .format(options.outputFormat())
        .load(options.output());
  }

  /** For each id in the output the number of its last attempt, and the error of that. */
  private Dataset<Row> last() {
    return results()
        .groupBy("id")
        .agg(max("attempt").as("last"), max_by(col("error"), col("attempt")).as("error"));
  }

  /** The files of the output that Spark reads; the directory is made when there is none. */
  private FileStatus[] parts(FileSystem files) throws IOException {
    files.mkdirs(output);
    return files.listStatus(
        output, path -> !path.getName().startsWith("_") && !path.getName().startsWith("."));
  }

  /** Ids would not be found in files of another format. */
  private void checkFormat(FileStatus[] parts) {
    for (FileStatus file : parts) {
      String name = file.getPath().getName();
      if (!name.endsWith("." + options.outputFormat())) {
        throw new IllegalArgumentException(
            output + ": found " + name + ", expected only " + options.outputFormat() + " files");
      }
    }
  }

  /**
   * A job that finds no results stores its settings for them, later ones must have the same. Those
   * of a job that failed before its first result bind nobody.
   */
  private void checkSettings(FileSystem files, boolean results) throws IOException {
    Path path = new Path(output, SETTINGS);
    byte[] own = JSON.writerWithDefaultPrettyPrinter().writeValueAsBytes(options.settings());
    if (!results || !files.exists(path)) {
      Path unfinished = new Path(output, SETTINGS + ".tmp");
      try (OutputStream out = files.create(unfinished, true)) {
        out.write(own);
      }
      files.delete(path, false);
      if (!files.rename(unfinished, path)) {
        throw new IOException("cannot write " + path);
      }
      return;
    }
    JsonNode found;
    try (InputStream in = files.open(path)) {
      found = JSON.readTree(in);
    }
    for (Map.Entry<String, JsonNode> setting : JSON.readTree(own).properties()) {
      if (!setting.getValue().equals(found.get(setting.getKey()))) {
        throw new IllegalArgumentException(
            path
                + ": "
                + setting.getKey()
                + ": found "
                + found.get(setting.getKey())
                + ", expected "
                + setting.getValue()
                + " as asked for; results of different settings need different outputs");
      }
    }
  }
}
