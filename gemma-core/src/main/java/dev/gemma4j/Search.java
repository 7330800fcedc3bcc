package dev.gemma4j;

import dev.gemma4j.model.KvCache;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletionService;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorCompletionService;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.IntFunction;
import org.jspecify.annotations.Nullable;

/** Several continuations of one prompt, which is computed once. */
public final class Search {
  /** The most samples drawn at a time: more rows add little to what a pass computes in a second. */
  private static final int MAX_TOGETHER = 16;

  private Search() {}

  /**
   * Independent samples, as {@link Gemma#generate} draws them; they share the passes over the
   * weights, as far as the memory for keys and values has room for several at once. When one fails,
   * all end.
   *
   * @param options with a seed, sample {@code i} is drawn with {@code seed + i}: step seeds by
   *     {@code count}, else calls share samples. Processors and sampler are called from several
   *     threads, none of them the caller's
   * @param count how many, 1 or more
   * @return each with the time of the prompt, which was run once, in its usage
   * @throws ContextLengthException when the prompt does not fit
   * @throws KvMemoryException when its keys and values do not fit, or not in time
   * @throws CancellationException when the thread is interrupted before the first sample begins,
   *     which stays so; later, the samples under way and those left end with {@link
   *     FinishReason#CANCELLED}
   */
  public static List<Generation> samples(
      Gemma gemma, Prompt prompt, GenerationOptions options, int count) {
    requirePositive("count", count);
    int[] ids = ChatTemplate.promptIds(prompt, options, gemma.tokenizer());
    Long given = options.seed();
    long seed = given == null ? new SplittableRandom().nextLong() : given;
    long start = System.nanoTime();
    Events.Prefill event = Events.prefill();
    try (Session common = gemma.newSession(options.adapter())) {
      common.check(ids);
      int together = awaitRoom(common, ids.length, room(gemma, ids, options), count);
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
      common.pause(); // its forks go on
      int[] last = Arrays.copyOfRange(ids, Math.max(0, ids.length - 1), ids.length);
      Set<Integer> ends = gemma.endIds(prompt instanceof Prompt.Turns);
      return draw(
          count,
          together,
          i -> {
            Session session;
            synchronized (common) { // which is for one thread at a time
              session = common.fork();
            }
            try (TokenStream stream =
                new TokenStream(
                    gemma,
                    session,
                    TokenStream.After.CLOSE,
                    before,
                    last,
                    ends,
                    options.toBuilder().seed(seed + i).build())) {
              stream.forEachRemaining(token -> {});
              return stream.result();
            }
          });
    }
  }

  /** Positions of all pages that a sample fills: from the one on where the prompt ends. */
  private static long room(Gemma gemma, int[] ids, GenerationOptions options) {
    long most = Math.min(gemma.contextLength(), (long) ids.length + options.maxTokens());
    long size = KvCache.PAGE_SIZE;
    return (Math.ceilDiv(most, size) - (ids.length - 1) / size) * size;
  }

  /**
   * Takes room for the prompt and for samples, for as many at a time as there is without waiting,
   * but for one at least. So nothing is waited for once there are pages that others may wait for.
   *
   * @return how many
   */
  private static int awaitRoom(Session common, int prompt, long sample, int count) {
    long whole = Math.ceilDiv(prompt - 1, KvCache.PAGE_SIZE) * (long) KvCache.PAGE_SIZE;
    for (int n = Math.min(count, MAX_TOGETHER); n > 1; n--) {
      if (common.tryRoom(whole + n * sample)) {
        return n;
      }
    }
    common.awaitRoom(prompt, whole + sample, () -> false);
    return 1;
  }

  /** Draws all samples, so many at a time, each time a thread is free the next one. */
  private static List<Generation> draw(int count, int together, IntFunction<Generation> sample) {
    Generation[] samples = new Generation[count];
    AtomicInteger next = new AtomicInteger();
    boolean interrupted = false;
    try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
      CompletionService<@Nullable Void> workers = new ExecutorCompletionService<>(threads);
      for (int n = 0; n < together; n++) {
        workers.submit(
            () -> {
              for (int i; (i = next.getAndIncrement()) < count; ) {
                if (threads.isShutdown()) { // and a processor may have heard of the interrupt
                  Thread.currentThread().interrupt();
                }
                samples[i] = sample.apply(i);
              }
            },
            null);
      }
      for (int done = 0; done < together; ) {
        try {
          workers.take().get();
          done++;
        } catch (InterruptedException e) {
          interrupted = true;
          threads.shutdownNow(); // interrupts them
        } catch (ExecutionException e) {
          threads.shutdownNow();
          if (e.getCause() instanceof Error error) {
            throw error;
          }
          if (e.getCause() instanceof RuntimeException exception) {
            throw exception;
          }
          throw new IllegalStateException(e); // of a task that declares none
        }
      }
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
    return List.of(samples);
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
   * @return 1 to {@code width} texts, all different, the best first; each has the times of the
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
    Set<Integer> ends =
        options.ignoreEos() ? Set.of() : gemma.endIds(prompt instanceof Prompt.Turns);
    Events.Generated event = Events.generated();
    List<Generation> texts = List.of();
    String reason = "ERROR";
    try (BeamSearch search = new BeamSearch(gemma, options, ends, width, lengthPenalty)) {
      texts = search.run(ids);
      reason = texts.getFirst().finishReason().name();
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
}
