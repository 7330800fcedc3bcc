package dev.gemma4j.examples.spark;

import dev.gemma4j.Gemma;
import dev.gemma4j.Generation;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.KvMemoryException;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.Prompt;
import dev.gemma4j.examples.DemoModel;
import java.io.IOException;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.spark.util.LongAccumulator;
import org.jspecify.annotations.Nullable;

/**
 * The model of an executor: loaded by the first task that needs it, shared by all, there until the
 * JVM ends. Its weights are mapped, so executors of one host that read the same file share its
 * pages.
 */
final class ExecutorModel {
  private static @Nullable ExecutorModel loaded; // guarded by the class

  private final ModelSettings settings;
  private final Resources resources;
  private final Gemma gemma;
  private final ExecutorService callers;

  private ExecutorModel(ModelSettings settings, Resources resources) throws IOException {
    this.settings = settings;
    this.resources = resources;
    LoadOptions options = settings.loadOptions(resources);
    String path = settings.path();
    this.gemma = path == null ? DemoModel.load(options) : Gemma.load(Path.of(path), options);
    this.callers =
        Executors.newFixedThreadPool(
            resources.parallel(), Thread.ofPlatform().daemon().name("row-", 0).factory());
  }

  /**
   * The executor's model.
   *
   * @param loads counts those that were loaded
   * @throws IllegalStateException when the executor runs another one
   */
  static synchronized ExecutorModel get(
      ModelSettings settings, Resources resources, LongAccumulator loads) throws IOException {
    ExecutorModel model = loaded;
    if (model == null) {
      model = new ExecutorModel(settings, resources);
      loaded = model;
      loads.add(1);
    }
    if (!model.settings.equals(settings) || !model.resources.equals(resources)) {
      throw new IllegalStateException(
          "executor: found "
              + model.settings
              + " with "
              + model.resources
              + ", expected "
              + settings
              + " with "
              + resources
              + "; an application runs one model");
    }
    return model;
  }

  int parallel() {
    return resources.parallel();
  }

  boolean canChat() {
    return gemma.tokenizer().idOf("<end_of_turn>") >= 0;
  }

  /** Runs a job in one of the threads whose calls share the passes over the weights. */
  <T> Future<T> submit(Callable<T> job) {
    return callers.submit(job);
  }

  /**
   * Generates to the end. A row for whose keys and values there is no room beside the others waits.
   *
   * @throws KvMemoryException when there is no room for it alone
   */
  Generation generate(Prompt prompt, GenerationOptions options) {
    return gemma.generate(prompt, options);
  }
}
