package dev.gemma4j;

import dev.gemma4j.model.KvCache;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.CancellationException;

/** Several continuations of one prompt, which is computed once. */
public final class Search {
  private Search() {}

  /**
   * Independent samples, as {@link Gemma#generate} draws them.
   *
   * @param options with a seed, sample {@code i} is drawn with {@code seed + i}
   * @param count how many, 1 or more
   * @return each with the time of the prompt, which was run once, in its usage
   * @throws ContextLengthException when the prompt does not fit
   * @throws KvMemoryException when its keys and values do not fit, or not in time
   * @throws CancellationException when the thread is interrupted before the first sample begins,
   *     which stays so; later, the samples left end with {@link FinishReason#CANCELLED}
   */
  public static List<Generation> samples(
      Gemma gemma, Prompt prompt, GenerationOptions options, int count) {
    requirePositive("count", count);
    int[] ids = ChatTemplate.promptIds(prompt, options, gemma.tokenizer());
    Long given = options.seed();
    long seed = given == null ? new SplittableRandom().nextLong() : given;
    List<Generation> samples = new ArrayList<>();
    long start = System.nanoTime();
    Events.Prefill event = Events.prefill();
    try (Session common = gemma.newSession(options.adapter())) {
      common.check(ids);
      // One sample at a time, which begins with a copy of the page where the prompt ends.
      long most = Math.min(gemma.contextLength(), (long) ids.length + options.maxTokens());
      common.awaitRoom(ids.length, most + KvCache.PAGE_SIZE, () -> false);
      long queued = System.nanoTime() - start;
      if (ids.length > 1) {
        common.append(Arrays.copyOf(ids, ids.length - 1));
        queued += common.queuedNanos();
      }
      TokenStream.Before before =
          new TokenStream.Before(ids.length - 1, queued, System.nanoTime() - start - queued);
      if (event != null) {
        event.end(ids.length, 0, queued);
      }
      for (int i = 0; i < count; i++) {
        int[] last = Arrays.copyOfRange(ids, Math.max(0, ids.length - 1), ids.length);
        try (TokenStream stream =
            new TokenStream(
                gemma,
                common.fork(),
                true,
                before,
                last,
                ends(gemma, prompt),
                options.withSeed(seed + i))) {
          stream.forEachRemaining(token -> {});
          samples.add(stream.result());
        }
      }
    }
    return samples;
  }

  /**
   * Beam search (https://arxiv.org/abs/1702.01806 describes it): at every token keeps the {@code
   * width} most probable unfinished texts, and gives the best finished ones. A text scores the sum
   * of its tokens' log-probabilities, the end-of-text token among them, divided by {@code
   * length^lengthPenalty}, as in transformers. The options' adapter, processors and constraint
   * count; its sampler, seed, stop strings, speculation and logProbabilities do not. A text that
   * comes in several tokenisations is given once, with the best of them.
   *
   * @param width the most texts at a time, 1 to 64; 1 is greedy
   * @param lengthPenalty 1 for the mean, 0 for the sum, more for longer texts
   * @return at most {@code width} texts, all different, the best first; each has the times of the
   *     whole search in its usage
   * @throws ContextLengthException when the prompt does not fit
   * @throws KvMemoryException when its keys and values do not fit, or not in time
   * @throws CancellationException when the thread is interrupted, which stays so: there is no best
   *     text yet
   */
  public static List<Generation> beams(
      Gemma gemma, Prompt prompt, GenerationOptions options, int width, float lengthPenalty) {
    requirePositive("width", width);
    if (width > 64) {
      throw new IllegalArgumentException("width must be at most 64, but is " + width);
    }
    if (!Float.isFinite(lengthPenalty)) {
      throw new IllegalArgumentException("lengthPenalty must be finite, but is " + lengthPenalty);
    }
    int[] ids = ChatTemplate.promptIds(prompt, options, gemma.tokenizer());
    Set<Integer> ends = options.ignoreEos() ? Set.of() : ends(gemma, prompt);
    Events.Generated event = Events.generated();
    List<Generation> texts = List.of();
    String reason = "ERROR";
    try (BeamSearch search = new BeamSearch(gemma, options, ends, width, lengthPenalty)) {
      texts = search.run(ids);
      reason = (texts.isEmpty() ? FinishReason.LENGTH : texts.getFirst().finishReason()).name();
      return texts;
    } catch (CancellationException e) {
      reason = FinishReason.CANCELLED.name();
      throw e;
    } finally {
      if (event != null) {
        record(event, ids.length, texts, reason);
      }
    }
  }

  private static void record(
      Events.Generated event, int promptTokens, List<Generation> texts, String reason) {
    event.promptTokens = promptTokens;
    event.finishReason = reason;
    for (Generation text : texts) {
      event.generatedTokens += text.tokens().size();
      event.prefill = text.usage().prefill().toNanos(); // those of the search
      event.decode = text.usage().decode().toNanos();
    }
    event.commit();
  }

  private static void requirePositive(String name, int value) {
    if (value < 1) {
      throw new IllegalArgumentException(name + " must be 1 or more, but is " + value);
    }
  }

  private static Set<Integer> ends(Gemma gemma, Prompt prompt) {
    Set<Integer> ends = new HashSet<>(gemma.endIds());
    if (prompt instanceof Prompt.Turns) {
      ends.add(ChatTemplate.endOfTurn(gemma.tokenizer()));
    }
    return ends;
  }
}
