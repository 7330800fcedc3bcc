package dev.gemma4j;

import dev.gemma4j.model.KvCache;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;

/** Several continuations of one prompt, which is computed once. */
public final class Search {
  private Search() {}

  /**
   * Independent samples, as {@link Gemma#generate} draws them.
   *
   * @param options with a seed, sample {@code i} is drawn with {@code seed + i}
   * @param count how many, 1 or more
   * @throws ContextLengthException when the prompt does not fit
   */
  public static List<Generation> samples(
      Gemma gemma, Prompt prompt, GenerationOptions options, int count) {
    requirePositive("count", count);
    int[] ids = ChatTemplate.promptIds(prompt, options, gemma.tokenizer());
    Long given = options.seed();
    long seed = given == null ? new SplittableRandom().nextLong() : given;
    List<Generation> samples = new ArrayList<>();
    try (Session common = gemma.newSession(options.adapter())) {
      common.check(ids);
      // One sample at a time, which begins with a copy of the page where the prompt ends.
      long most = Math.min(gemma.contextLength(), (long) ids.length + options.maxTokens());
      common.awaitRoom(ids.length, most + KvCache.PAGE_SIZE, () -> false);
      if (ids.length > 1) {
        common.append(Arrays.copyOf(ids, ids.length - 1));
      }
      for (int i = 0; i < count; i++) {
        int[] last = Arrays.copyOfRange(ids, Math.max(0, ids.length - 1), ids.length);
        try (TokenStream stream =
            new TokenStream(
                gemma,
                common.fork(),
                true,
                last,
                ends(gemma, prompt),
                options.withSeed(seed + i))) {
          stream.forEachRemaining(token -> {});
          samples.add(stream.result().withPromptTokens(ids.length));
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
   * count; its sampler, seed, stop strings and speculation do not.
   *
   * @param width the most texts at a time, 1 to 64; 1 is greedy
   * @param lengthPenalty 1 for the mean, 0 for the sum, more for longer texts
   * @return at most {@code width} texts, the best first
   * @throws ContextLengthException when the prompt does not fit
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
    try (BeamSearch search = new BeamSearch(gemma, options, ends, width, lengthPenalty)) {
      return search.run(ids);
    }
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
