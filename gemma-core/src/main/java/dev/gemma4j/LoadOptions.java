package dev.gemma4j;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Objects;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * How a model is loaded.
 *
 * @param weights the type of the weights at run time; {@link WeightType#AS_STORED} says what
 *     becomes of stored types that have no kernels
 * @param mergedAdapter a directory with a LoRA adapter that PEFT saved, which is added to the
 *     weights as they are loaded: the sum is made in f32 and held in the type that the matrix would
 *     have without it (F16 for types that no row can be stored in, such as Q4_K). It costs nothing
 *     later, and cannot be switched off; {@link Gemma#loadAdapter} is for that. Null for none.
 * @param memory where the weights lie
 * @param threads of one forward pass, the caller's included; at least 1
 * @param contextLength the most positions of a session; 0 for what the model was made for
 * @param kv the type of the keys and values that sessions keep
 * @param kvMemory the most bytes that the keys and values of all sessions take, those kept for
 *     later prompts among them; 0 for half of what the JVM's heap may take
 * @param kvWait the longest that a text waits for room for its keys and values in kvMemory until
 *     others end, five minutes unless set; zero not to wait. A text that begins gets room for its
 *     prompt and all of maxTokens, or what sessions leave of kvMemory if that is less, and then
 *     waits no more. Texts are served in the order in which they came.
 * @param promptReuse whether the keys and values of a prompt are kept, as far as kvMemory has room,
 *     for prompts that begin with the same tokens. How fast an answer begins then tells whether
 *     somebody asked the like before.
 * @param kernels which arithmetic
 * @param progress hears of the loading
 */
public record LoadOptions(
    WeightType weights,
    @Nullable Path mergedAdapter,
    Memory memory,
    int threads,
    int contextLength,
    KvType kv,
    long kvMemory,
    Duration kvWait,
    boolean promptReuse,
    KernelType kernels,
    ProgressListener progress) {
  public LoadOptions {
    Objects.requireNonNull(weights, "weights");
    Objects.requireNonNull(memory, "memory");
    Objects.requireNonNull(kv, "kv");
    Objects.requireNonNull(kvWait, "kvWait");
    Objects.requireNonNull(kernels, "kernels");
    Objects.requireNonNull(progress, "progress");
    if (threads < 1 || threads > 1024) {
      throw new IllegalArgumentException("threads must be in [1, 1024], but is " + threads);
    }
    if (contextLength < 0) {
      throw new IllegalArgumentException(
          "contextLength must be 0 or more, but is " + contextLength);
    }
    if (kvMemory < 0) {
      throw new IllegalArgumentException("kvMemory must be 0 or more, but is " + kvMemory);
    }
    if (kvWait.isNegative()) {
      throw new IllegalArgumentException("kvWait must be 0 or more, but is " + kvWait);
    }
  }

  /** As stored, one thread per processor, the model's full context, the best kernels. */
  public static LoadOptions defaults() {
    return new LoadOptions(
        WeightType.AS_STORED,
        null,
        Memory.MAPPED,
        Math.min(1024, Runtime.getRuntime().availableProcessors()),
        0,
        KvType.F32,
        0,
        Duration.ofMinutes(5),
        true,
        KernelType.AUTO,
        (stage, done, total) -> {});
  }

  public LoadOptions withWeights(WeightType type) {
    return with(copy -> copy.weights = type);
  }

  public LoadOptions withMergedAdapter(Path directory) {
    return with(copy -> copy.mergedAdapter = directory);
  }

  public LoadOptions withMemory(Memory place) {
    return with(copy -> copy.memory = place);
  }

  public LoadOptions withThreads(int count) {
    return with(copy -> copy.threads = count);
  }

  public LoadOptions withContextLength(int positions) {
    return with(copy -> copy.contextLength = positions);
  }

  public LoadOptions withKv(KvType type) {
    return with(copy -> copy.kv = type);
  }

  public LoadOptions withKvMemory(long bytes) {
    return with(copy -> copy.kvMemory = bytes);
  }

  public LoadOptions withKvWait(Duration longest) {
    return with(copy -> copy.kvWait = longest);
  }

  public LoadOptions withPromptReuse(boolean reuse) {
    return with(copy -> copy.promptReuse = reuse);
  }

  public LoadOptions withKernels(KernelType type) {
    return with(copy -> copy.kernels = type);
  }

  public LoadOptions withProgress(ProgressListener listener) {
    return with(copy -> copy.progress = listener);
  }

  private LoadOptions with(Consumer<Copy> change) {
    Copy copy = new Copy(this);
    change.accept(copy);
    return copy.toOptions();
  }

  /** The same that may be changed. */
  private static final class Copy {
    private WeightType weights;
    private @Nullable Path mergedAdapter;
    private Memory memory;
    private int threads;
    private int contextLength;
    private KvType kv;
    private long kvMemory;
    private Duration kvWait;
    private boolean promptReuse;
    private KernelType kernels;
    private ProgressListener progress;

    Copy(LoadOptions options) {
      weights = options.weights;
      mergedAdapter = options.mergedAdapter;
      memory = options.memory;
      threads = options.threads;
      contextLength = options.contextLength;
      kv = options.kv;
      kvMemory = options.kvMemory;
      kvWait = options.kvWait;
      promptReuse = options.promptReuse;
      kernels = options.kernels;
      progress = options.progress;
    }

    LoadOptions toOptions() {
      return new LoadOptions(
          weights,
          mergedAdapter,
          memory,
          threads,
          contextLength,
          kv,
          kvMemory,
          kvWait,
          promptReuse,
          kernels,
          progress);
    }
  }
}
