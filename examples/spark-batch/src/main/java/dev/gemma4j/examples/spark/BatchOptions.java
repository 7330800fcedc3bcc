package dev.gemma4j.examples.spark;

import java.io.Serializable;

/**
 * A job.
 *
 * @param input a path that Spark reads, directories and patterns among them
 * @param inputFormat json or parquet
 * @param output a directory
 * @param outputFormat json or parquet
 * @param rowsPerPart rows of one output file: what a killed task loses
 * @param retryErrors whether rows of the output that have an error are tried again
 */
record BatchOptions(
    String input,
    String inputFormat,
    String idColumn,
    String promptColumn,
    String output,
    String outputFormat,
    int rowsPerPart,
    boolean retryErrors,
    Resources resources,
    Settings settings)
    implements Serializable {}
