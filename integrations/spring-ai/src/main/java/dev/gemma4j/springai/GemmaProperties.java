package dev.gemma4j.springai;

import dev.gemma4j.KvType;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.Memory;
import dev.gemma4j.WeightType;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;
import org.springframework.boot.context.properties.ConfigurationProperties;
import org.springframework.util.unit.DataSize;

/**
 * What {@code application.properties} says. The descriptions go into the jar's metadata, from which
 * editors take them.
 *
 * @param model Path of a checkpoint: a Hugging Face directory, a .gguf or a .ckpt file.
 * @param modelName Name of the model in responses and observations. The checkpoint's file name
 *     unless set.
 * @param adapter Directory of a LoRA adapter for the chat model.
 * @param mergedAdapter Directory of a LoRA adapter that is added to the weights as they are loaded.
 * @param weights Type of the weights at run time. As stored unless set.
 * @param memory Where the weights lie. Mapped from their file unless set.
 * @param threads Number of threads of a forward pass. One for each processor unless set.
 * @param contextLength Most tokens of a chat. What the model was made for unless set.
 * @param kv Type of keys and values. F32 unless set.
 * @param kvMemory Most memory for the keys and values of all chats. Half of the heap unless set.
 * @param kvWait Longest that a chat waits for memory. Five minutes unless set.
 * @param promptReuse Whether prompts that begin alike are computed once. True unless set.
 * @param maxTokens Most tokens of an answer. 256 unless set.
 * @param temperature Temperature; 0 is greedy. 0.8 unless set.
 * @param topP Share of probability that tokens are drawn from. 0.95 unless set.
 * @param topK Number of tokens that are drawn from. No limit unless set.
 * @param minP Least probability of a token as a share of the best one's. No limit unless set.
 * @param repetitionPenalty Divisor for tokens that were there before. 1 unless set.
 * @param frequencyPenalty Penalty for each time that a token was there before. 0 unless set.
 * @param presencePenalty Penalty for tokens that were there before. 0 unless set.
 * @param seed Seed of the random numbers. A new one for each answer unless set.
 * @param stop Texts before which an answer ends.
 */
@ConfigurationProperties("gemma")
record GemmaProperties(
    String model,
    @Nullable String modelName,
    @Nullable String adapter,
    @Nullable String mergedAdapter,
    @Nullable WeightType weights,
    @Nullable Memory memory,
    @Nullable Integer threads,
    @Nullable Integer contextLength,
    @Nullable KvType kv,
    @Nullable DataSize kvMemory,
    @Nullable Duration kvWait,
    @Nullable Boolean promptReuse,
    @Nullable Integer maxTokens,
    @Nullable Double temperature,
    @Nullable Double topP,
    @Nullable Integer topK,
    @Nullable Double minP,
    @Nullable Double repetitionPenalty,
    @Nullable Double frequencyPenalty,
    @Nullable Double presencePenalty,
    @Nullable Long seed,
    @Nullable List<String> stop) {
  GemmaProperties {
    refuseBlank("gemma.model", model);
    refuseBlank("gemma.adapter", adapter);
    refuseBlank("gemma.merged-adapter", mergedAdapter);
  }

  private static void refuseBlank(String property, @Nullable String path) {
    if (path != null && path.isBlank()) {
      throw new IllegalArgumentException(property + " is blank, expected a path");
    }
  }

  LoadOptions loadOptions() {
    LoadOptions options = LoadOptions.defaults();
    options = with(options, weights, LoadOptions::withWeights);
    options = with(options, mergedAdapter, (o, path) -> o.withMergedAdapter(Path.of(path)));
    options = with(options, memory, LoadOptions::withMemory);
    options = with(options, threads, LoadOptions::withThreads);
    options = with(options, contextLength, LoadOptions::withContextLength);
    options = with(options, kv, LoadOptions::withKv);
    options = with(options, kvMemory, (o, size) -> o.withKvMemory(size.toBytes()));
    options = with(options, kvWait, LoadOptions::withKvWait);
    return with(options, promptReuse, LoadOptions::withPromptReuse);
  }

  private static <T> LoadOptions with(
      LoadOptions options, @Nullable T value, BiFunction<LoadOptions, T, LoadOptions> change) {
    return value == null ? options : change.apply(options, value);
  }

  GemmaChatOptions chatOptions() {
    return GemmaChatOptions.builder()
        .model(modelName == null ? fileName() : modelName)
        .maxTokens(maxTokens)
        .temperature(temperature)
        .topP(topP)
        .topK(topK)
        .minP(minP)
        .repetitionPenalty(repetitionPenalty)
        .frequencyPenalty(frequencyPenalty)
        .presencePenalty(presencePenalty)
        .seed(seed)
        .stopSequences(stop)
        .build();
  }

  private @Nullable String fileName() {
    Path name = Path.of(model).toAbsolutePath().normalize().getFileName();
    return name == null ? null : name.toString();
  }
}
