package dev.gemma4j.examples.spark;

import dev.gemma4j.ContextLengthException;
import dev.gemma4j.FinishReason;
import dev.gemma4j.Generation;
import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.constraint.Constraints;
import java.io.IOException;
import java.util.ArrayDeque;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Queue;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.spark.SparkEnv;
import org.apache.spark.TaskContext;
import org.apache.spark.api.java.function.MapPartitionsFunction;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.util.LongAccumulator;
import org.apache.spark.util.TaskCompletionListener;
import org.jspecify.annotations.Nullable;

/** Answers the rows of a partition, several at a time. */
final class RowGenerator implements MapPartitionsFunction<Row, Row> {
  /** What comes in. A row with a problem is not run: the problem is its error. */
  static final StructType INPUT =
      new StructType()
          .add("id", DataTypes.StringType)
          .add("prompt", DataTypes.StringType)
          .add("problem", DataTypes.StringType)
          .add("attempt", DataTypes.IntegerType);

  /** What goes out: a text with its reason and counts, or an error. */
  static final StructType OUTPUT =
      new StructType()
          .add("id", DataTypes.StringType)
          .add("text", DataTypes.StringType)
          .add("finish_reason", DataTypes.StringType)
          .add("prompt_tokens", DataTypes.IntegerType)
          .add("generated_tokens", DataTypes.IntegerType)
          .add("error", DataTypes.StringType)
          .add("attempt", DataTypes.IntegerType);

  // A task reads on while its oldest row is still running, so that the others do not wait for it.
  private static final int AHEAD = 4;

  private static final long serialVersionUID = 1L;

  private final BatchOptions options;
  private final LongAccumulator loads;

  RowGenerator(BatchOptions options, LongAccumulator loads) {
    this.options = options;
    this.loads = loads;
  }

  @Override
  public Iterator<Row> call(Iterator<Row> rows) throws IOException {
    Settings settings = options.settings();
    ExecutorModel model = ExecutorModel.get(settings.model(), resources(), loads);
    if (settings.chat() && !model.canChat()) {
      throw new IllegalArgumentException(
          "chat: the vocabulary has no <end_of_turn>, expected an instruction-tuned model");
    }
    String schema = settings.jsonSchema();
    Constraint constraint = schema == null ? null : Constraints.jsonSchema(schema);
    Queue<Future<Row>> running = new ArrayDeque<>();
    // A task that fails or is killed leaves nothing behind that still computes.
    TaskCompletionListener cancel = task -> running.forEach(row -> row.cancel(true));
    TaskContext.get().addTaskCompletionListener(cancel);
    return new Iterator<>() {
      @Override
      public boolean hasNext() {
        return rows.hasNext() || !running.isEmpty();
      }

      @Override
      public Row next() {
        if (!hasNext()) {
          throw new NoSuchElementException();
        }
        while (running.size() < AHEAD * model.parallel() && rows.hasNext()) {
          Row row = rows.next();
          running.add(model.submit(() -> answer(row, model, constraint)));
        }
        return get(running.remove());
      }
    };
  }

  /** With a thread for each core that Spark gave this executor: several may run on one host. */
  private Resources resources() {
    Resources given = options.resources();
    return given.threads() > 0
        ? given
        : new Resources(
            SparkEnv.get().conf().getInt("spark.executor.cores", 0),
            given.parallel(),
            given.kvMemory());
  }

  private Row answer(Row row, ExecutorModel model, @Nullable Constraint constraint) {
    String id = row.getString(0);
    String problem = row.getString(2);
    if (problem != null) {
      return error(row, problem);
    }
    Settings settings = options.settings();
    try {
      Generation generation =
          model.generate(settings.prompt(row.getString(1)), settings.options(id, constraint));
      if (generation.finishReason() == FinishReason.CANCELLED) {
        throw new CancellationException("the task was killed");
      }
      return RowFactory.create(
          id,
          generation.text(),
          generation.finishReason().name(),
          generation.usage().promptTokens(),
          generation.usage().generatedTokens(),
          null,
          row.getInt(3));
    } catch (ContextLengthException | IllegalArgumentException e) {
      // The row's fault. All else is the task's, too little --kv-memory among it.
      return error(row, String.valueOf(e.getMessage()));
    }
  }

  private static Row error(Row row, String message) {
    return RowFactory.create(row.getString(0), null, null, null, null, message, row.getInt(3));
  }

  private static Row get(Future<Row> row) {
    try {
      return row.get();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new CancellationException("the task was killed");
    } catch (ExecutionException e) {
      switch (e.getCause()) {
        case RuntimeException cause -> throw cause;
        case Error cause -> throw cause;
        case null, default -> throw new IllegalStateException(e.getCause());
      }
    }
  }
}
