package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.constraint.Constraints;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.sampling.LogitsProcessors;
import dev.gemma4j.sampling.Samplers;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(120)
class SpeculationTest {
  private static final Prompt PROMPT = Prompt.of("abcabcab");
  private static Gemma gemma;
  private static Gemma other;

  @BeforeAll
  static void load() {
    gemma = Goldens.load("gemma-mqa-f32");
    other = Goldens.load("gemma-gqa-f32");
  }

  @AfterAll
  static void close() {
    gemma.close();
    other.close();
  }

  /** Guesses that are right at most by chance. */
  private static Speculation random() {
    return model -> {
      Random random = new Random(7);
      return (history, most) -> random.ints(random.nextInt(9), 0, 512).toArray();
    };
  }

  private static List<Speculation> all() {
    return List.of(
        Speculation.promptLookup(8),
        Speculation.draftModel(gemma, 5), // nearly always right
        Speculation.draftModel(other, 3), // nearly always wrong
        random());
  }

  private static GenerationOptions.Builder options() {
    return GenerationOptions.builder().seed(11).maxTokens(40).topP(1).ignoreEos(true);
  }

  private static void assertSameTexts(Supplier<GenerationOptions.Builder> options) {
    Generation plain = gemma.generate(PROMPT, options.get().build());
    for (Speculation speculation : all()) {
      Generation fast = gemma.generate(PROMPT, options.get().speculation(speculation).build());
      assertThat(fast.tokens()).isEqualTo(plain.tokens());
      assertThat(fast.text()).isEqualTo(plain.text());
      assertThat(fast.finishReason()).isEqualTo(plain.finishReason());
      assertThat(fast.usage().acceptedTokens()).isBetween(0, fast.usage().draftedTokens());
      assertThat(fast.logProbabilities()).hasSameSizeAs(plain.logProbabilities());
    }
  }

  @Test
  void theTextIsTheSameForEverySampler() {
    assertSameTexts(() -> options().temperature(0));
    assertSameTexts(() -> options().temperature(1));
    assertSameTexts(() -> options().temperature(0.7f).topP(0.9f).topK(40));
    assertSameTexts(() -> options().sampler(Samplers.mirostat(3, 0.1f)));
    assertSameTexts(
        () -> options().sampler((logits, r) -> r.nextInt(4) == 0 ? 9 : logits.argmax()));
  }

  @Test
  void theTextIsTheSameWithEverythingElse() {
    assertSameTexts(
        () ->
            options()
                .temperature(0.5f)
                .repetitionPenalty(1.2f)
                .frequencyPenalty(0.3f)
                .processor(LogitsProcessors.dry(0.8f, 1.75f, 2, Set.of()))
                .logProbabilities(3));
    assertSameTexts(
        () ->
            options()
                .ignoreEos(false)
                .temperature(1)
                .constraint(Constraints.regex("(ab|ba){10,20}")));
    String text = gemma.generate(PROMPT, options().temperature(0).build()).text();
    assertSameTexts(() -> options().temperature(0).stop(text.substring(20, 23)));
    for (int tokens : new int[] {0, 1, 2, 3, 7}) {
      assertSameTexts(() -> options().temperature(0).maxTokens(tokens));
    }
  }

  @Test
  void theModelItselfGuessesRight() {
    Generation fast =
        gemma.generate(
            PROMPT, options().temperature(0).speculation(Speculation.draftModel(gemma, 4)).build());
    assertThat(fast.usage().draftedTokens()).isPositive();
    assertThat(fast.usage().acceptedTokens()).isEqualTo(fast.usage().draftedTokens());
    int[] loop = {2, 40, 41, 42, 43, 40, 41, 42, 43, 40, 41};
    // A sampler that repeats the prompt is what lookup foresees.
    Generation echo =
        gemma.generate(
            Prompt.ofIds(loop),
            options()
                .processor(
                    (logits, history) ->
                        logits.set(40 + (history.get(history.size() - 1) - 39) % 4, 1e6f))
                .speculation(Speculation.promptLookup(8))
                .build());
    assertThat(echo.usage().acceptedTokens()).isGreaterThan(30);
  }

  @Test
  void aChatAndAFullContextGoOnAsWithout() throws Exception {
    LoadOptions small = LoadOptions.defaults().withContextLength(40);
    try (Gemma narrow = Goldens.load("gemma-mqa-f32", small)) {
      Generation plain = narrow.generate(PROMPT, options().temperature(0).build());
      assertThat(plain.finishReason()).isEqualTo(FinishReason.LENGTH);
      for (Speculation speculation : all()) {
        GenerationOptions fast = options().temperature(0).speculation(speculation).build();
        assertThat(narrow.generate(PROMPT, fast).tokens()).isEqualTo(plain.tokens());
      }
    }
    for (Speculation speculation : all()) {
      Chat plain = gemma.chat("", options().maxTokens(12).build());
      Chat fast = gemma.chat("", options().maxTokens(12).speculation(speculation).build());
      try (plain;
          fast) {
        for (String question : List.of("abab", "cd", "abab")) {
          assertThat(fast.send(question)).isEqualTo(plain.send(question));
        }
      }
    }
  }

  @Test
  void refusesAnotherVocabulary() {
    assertThatThrownBy(() -> Speculation.promptLookup(0))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("[1, 15]");
    for (int id : new int[] {-1, 512}) {
      Speculation bad = model -> (history, most) -> new int[] {5, id};
      assertThatThrownBy(() -> gemma.generate(PROMPT, options().speculation(bad).build()))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("the drafter guessed " + id + ", expected ids in [0, 512)");
    }
  }

  /** Pearson's test of three tokens of which each has 3 possibilities, at p = 0.001. */
  @Test
  void theDistributionIsThatOfTheModel() {
    int samples = 600;
    Map<List<Integer>, Integer> counts = new HashMap<>();
    for (int i = 0; i < samples; i++) {
      GenerationOptions options =
          GenerationOptions.builder()
              .temperature(1.5f)
              .topP(1)
              .topK(3)
              .maxTokens(3)
              .ignoreEos(true)
              .seed(i)
              .speculation(Speculation.draftModel(i % 2 == 0 ? gemma : other, 2))
              .build();
      counts.merge(gemma.generate(Prompt.of("a"), options).tokens(), 1, Integer::sum);
    }
    Map<List<Integer>, Double> expected = new HashMap<>();
    try (Session session = gemma.newSession()) {
      int[] prompt = {gemma.tokenizer().bosId(), gemma.tokenizer().encode("a")[0]};
      assertThat(gemma.tokenizer().encode("a")).hasSize(1);
      float[] first = session.append(prompt).toArray();
      top(first)
          .forEach(
              (a, pa) -> {
                float[] second = session.append(a).toArray();
                top(second)
                    .forEach(
                        (b, pb) -> {
                          float[] third = session.append(b).toArray();
                          top(third)
                              .forEach((c, pc) -> expected.put(List.of(a, b, c), pa * pb * pc));
                          session.truncate(3);
                        });
                session.truncate(2);
              });
    }
    assertThat(expected.keySet()).containsAll(counts.keySet());
    double statistic = 0;
    double rareExpected = 0;
    double rare = 0;
    int cells = 0;
    for (Map.Entry<List<Integer>, Double> cell : expected.entrySet()) {
      double mean = samples * cell.getValue();
      int count = counts.getOrDefault(cell.getKey(), 0);
      if (mean < 5) {
        rareExpected += mean;
        rare += count;
      } else {
        statistic += (count - mean) * (count - mean) / mean;
        cells++;
      }
    }
    if (rareExpected >= 5) {
      statistic += (rare - rareExpected) * (rare - rareExpected) / rareExpected;
      cells++;
    }
    int freedom = cells - 1;
    // Wilson and Hilferty's approximation of the quantile; 3.09 is the normal's at 0.999.
    double z = 1 - 2.0 / (9 * freedom) + 3.09 * Math.sqrt(2.0 / (9 * freedom));
    assertThat(freedom).isGreaterThan(3);
    assertThat(statistic).isLessThan(freedom * z * z * z);
  }

  private static Map<Integer, Double> top(float[] logits) {
    float[] scaled = new float[logits.length];
    for (int i = 0; i < scaled.length; i++) {
      scaled[i] = logits[i] / 1.5f;
    }
    List<LogProbability> best = TokenLogProbabilities.best(Logits.of(scaled).logSoftmax(), 3);
    double sum = best.stream().mapToDouble(p -> Math.exp(p.value())).sum();
    Map<Integer, Double> top = new HashMap<>();
    best.forEach(p -> top.put(p.id(), Math.exp(p.value()) / sum));
    return top;
  }
}
