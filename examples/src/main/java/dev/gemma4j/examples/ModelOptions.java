package dev.gemma4j.examples;

import dev.gemma4j.Gemma;
import dev.gemma4j.KernelType;
import dev.gemma4j.KvType;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Memory;
import dev.gemma4j.WeightType;
import dev.gemma4j.loader.Checkpoint;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** The options of every command that loads a model. */
final class ModelOptions {
  @Spec(Spec.Target.MIXEE)
  @Nullable CommandSpec spec;

  @Option(
      names = "--model",
      paramLabel = "PATH",
      description = "A model's directory or file; without it the demo model.")
  @Nullable Path model;

  @Option(names = "--threads", paramLabel = "N", description = "Threads of a forward pass.")
  @Nullable Integer threads;

  @Option(
      names = "--weights",
      paramLabel = "TYPE",
      description = "Weight type at run time: F32, BF16, F16, Q8_0, Q4_0; else as stored.")
  @Nullable String weights;

  @Option(
      names = "--memory",
      paramLabel = "WHERE",
      description = "Where the weights lie: mapped (default), or copied, so that files may change.")
  @Nullable String memory;

  @Option(
      names = "--kv",
      paramLabel = "TYPE",
      description = "Type of the keys and values kept: F32 (default), F16, Q8.")
  @Nullable String kv;

  @Option(names = "--kernels", paramLabel = "KIND", description = "vector or scalar.")
  @Nullable String kernels;

  @Option(
      names = "--context",
      paramLabel = "N",
      description = "Positions of a session at most; 0 for as many as the model has (0).")
  @Nullable Integer context;

  @Option(
      names = "--adapter",
      paramLabel = "DIR",
      description = "A LoRA adapter (PEFT) to run the model with.")
  @Nullable Path adapter;

  @Option(
      names = "--merge-adapter",
      paramLabel = "DIR",
      description = "A LoRA adapter (PEFT) to add to the weights when they are loaded.")
  @Nullable Path mergedAdapter;

  /** The model's name for reports. */
  String name() {
    return model == null ? "demo" : model.toString();
  }

  Gemma load() throws IOException {
    LoadOptions options = options();
    try (Progress progress = new Progress("Loading")) {
      options = options.withProgress(progress);
      return model == null ? DemoModel.load(options) : Gemma.load(model, options);
    }
  }

  /** A smaller model for the same machine; its weights and context are its own. */
  Gemma loadDraft(Path path) throws IOException {
    LoadOptions own = options();
    return Gemma.load(
        path,
        LoadOptions.defaults()
            .withThreads(own.threads())
            .withMemory(own.memory())
            .withKv(own.kv())
            .withKernels(own.kernels()));
  }

  /** The adapter that was asked for, or null. */
  @Nullable LoraAdapter adapter(Gemma gemma) throws IOException {
    return adapter == null ? null : gemma.loadAdapter(adapter);
  }

  /** The tokenizer alone, of a model or of a SentencePiece file such as tokenizer.model. */
  Tokenizer tokenizer() throws IOException {
    options(); // for what they would complain of
    if (model == null) {
      return DemoModel.tokenizer();
    }
    if (model.toString().endsWith(".model") && Files.isRegularFile(model)) {
      return Tokenizer.load(model);
    }
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      return checkpoint.tokenizer();
    }
  }

  private LoadOptions options() {
    LoadOptions options = LoadOptions.defaults();
    try {
      options = threads == null ? options : options.withThreads(threads);
      options = context == null ? options : options.withContextLength(context);
    } catch (IllegalArgumentException e) {
      throw usage(e.getMessage());
    }
    if (weights != null) {
      options = options.withWeights(choice("--weights", WeightType.class, weights));
    }
    if (mergedAdapter != null) {
      options = options.withMergedAdapter(mergedAdapter);
    }
    if (memory != null) {
      options = options.withMemory(choice("--memory", Memory.class, memory));
    }
    if (kv != null) {
      options = options.withKv(choice("--kv", KvType.class, kv));
    }
    if (kernels != null) {
      options = options.withKernels(choice("--kernels", KernelType.class, kernels));
    }
    return options;
  }

  private <E extends Enum<E>> E choice(String option, Class<E> type, String value) {
    try {
      return Enum.valueOf(type, value.toUpperCase(Locale.ROOT));
    } catch (IllegalArgumentException e) {
      throw usage(
          option + ": found " + value + ", expected one of " + java.util.EnumSet.allOf(type));
    }
  }

  private ParameterException usage(@Nullable String message) {
    CommandSpec owner = java.util.Objects.requireNonNull(spec);
    return new ParameterException(owner.commandLine(), String.valueOf(message));
  }
}
