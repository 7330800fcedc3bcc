package dev.gemma4j.examples;

import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.Prompt;
import dev.gemma4j.sampling.LogitsProcessor;
import dev.gemma4j.sampling.Sampler;
import java.io.IOException;

/** A sampler and a logits processor of one's own. */
public final class CustomSampler {
  private CustomSampler() {}

  /** Mostly the best token, but the second best one time in five. */
  static final Sampler ADVENTUROUS =
      (logits, random) -> {
        int best = logits.argmax();
        if (random.nextInt(5) > 0) {
          return best;
        }
        int second = best == 0 ? 1 : 0;
        for (int id = 0; id < logits.size(); id++) {
          if (id != best && logits.get(id) > logits.get(second)) {
            second = id;
          }
        }
        return second;
      };

  /** Never the same token twice in a row. */
  static final LogitsProcessor NO_ECHO =
      (logits, history) -> {
        if (history.size() > 0) {
          logits.set(history.get(history.size() - 1), Float.NEGATIVE_INFINITY);
        }
      };

  /** Tells a story. */
  public static void main(String[] args) throws IOException {
    try (Gemma gemma = DemoModel.load(LoadOptions.defaults())) {
      GenerationOptions options =
          GenerationOptions.builder()
              .sampler(ADVENTUROUS)
              .processor(NO_ECHO)
              .maxTokens(60)
              .seed(1)
              .build();
      System.out.println(gemma.generate(Prompt.of("Once upon a time"), options).text());
    }
  }
}
