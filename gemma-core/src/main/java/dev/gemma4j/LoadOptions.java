package dev.gemma4j;

import java.nio.file.Path;
import java.time.Duration;
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
    return new LoadOptions(
        type,
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

  public LoadOptions withMergedAdapter(Path directory) {
    return new LoadOptions(
        weights,
        directory,
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

  public LoadOptions withMemory(Memory place) {
    return new LoadOptions(
        weights,
        mergedAdapter,
        place,
        threads,
        contextLength,
        kv,
        kvMemory,
        kvWait,
        promptReuse,
        kernels,
        progress);
  }

  public LoadOptions withThreads(int count) {
    return new LoadOptions(
        weights,
        mergedAdapter,
        memory,
        count,
        contextLength,
        kv,
        kvMemory,
        kvWait,
        promptReuse,
        kernels,
        progress);
  }

  public LoadOptions withContextLength(int positions) {
    return new LoadOptions(
        weights,
        mergedAdapter,
        memory,
        threads,
        positions,
        kv,
        kvMemory,
        kvWait,
        promptReuse,
        kernels,
        progress);
  }

  public LoadOptions withKv(KvType type) {
    return new LoadOptions(
        weights,
        mergedAdapter,
        memory,
        threads,
        contextLength,
        type,
        kvMemory,
        kvWait,
        promptReuse,
        kernels,
        progress);
  }

  public LoadOptions withKvMemory(long bytes) {
    return new LoadOptions(
        weights,
        mergedAdapter,
        memory,
        threads,
        contextLength,
        kv,
        bytes,
        kvWait,
        promptReuse,
        kernels,
        progress);
  }

  public LoadOptions withKvWait(Duration longest) {
    return new LoadOptions(
        weights,
        mergedAdapter,
        memory,
        threads,
        contextLength,
        kv,
        kvMemory,
        longest,
        promptReuse,
        kernels,
        progress);
  }

  public LoadOptions withPromptReuse(boolean reuse) {
    return new LoadOptions(
        weights,
        mergedAdapter,
        memory,
        threads,
        contextLength,
        kv,
        kvMemory,
        kvWait,
        reuse,
        kernels,
        progress);
  }

  public LoadOptions withKernels(KernelType type) {
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
        type,
        progress);
  }

  public LoadOptions withProgress(ProgressListener listener) {
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
        listener);
  }
}
