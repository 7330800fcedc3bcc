package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.gemma4j.constraint.Constraints;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.sampling.LogitsProcessor;
import dev.gemma4j.sampling.TokenHistory;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class SearchTest {
  private static final Prompt PROMPT = Prompt.ofIds(2, 300, 17, 45);
  private static Gemma gemma;

  @BeforeAll
  static void load() {
    gemma = Goldens.load("gemma-mqa-f32");
  }

  @AfterAll
  static void close() {
    gemma.close();
  }

  private static GenerationOptions.Builder options(int maxTokens) {
    return GenerationOptions.builder().maxTokens(maxTokens);
  }

  @Test
  void samplesAreThoseOfTheirSeeds() {
    GenerationOptions.Builder options = options(20).temperature(1.5f);
    List<Generation> samples = Search.samples(gemma, PROMPT, options.seed(40).build(), 3);
    assertThat(samples).hasSize(3);
    for (int i = 0; i < 3; i++) {
      Generation alone = gemma.generate(PROMPT, options.seed(40 + i).build());
      assertThat(samples.get(i).tokens()).isEqualTo(alone.tokens());
      assertThat(samples.get(i).usage().promptTokens()).isEqualTo(4);
    }
    assertThat(samples.get(0).tokens()).isNotEqualTo(samples.get(1).tokens());
  }

  @Test
  void samplesAreDrawnTogether() {
    CyclicBarrier all = new CyclicBarrier(3);
    GenerationOptions options =
        options(5)
            .ignoreEos(true)
            .processor(
                (logits, history) -> {
                  try {
                    all.await(30, TimeUnit.SECONDS);
                  } catch (Exception e) {
                    throw new IllegalStateException("alone", e);
                  }
                })
            .build();
    assertThat(Search.samples(gemma, PROMPT, options, 3)).hasSize(3);
  }

  @Test
  void aSampleThatFailsEndsAll() {
    AtomicInteger texts = new AtomicInteger();
    AtomicInteger running = new AtomicInteger();
    LogitsProcessor third =
        new LogitsProcessor() {
          @Override
          public void process(Logits logits, TokenHistory history) {}

          @Override
          public LogitsProcessor newText() {
            int text = texts.getAndIncrement();
            return (logits, history) -> {
              running.incrementAndGet();
              try {
                if (text == 2 && history.size() == 10) {
                  throw new IllegalStateException("not today");
                }
                Thread.sleep(text == 2 ? 1 : 100);
              } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
              } finally {
                running.decrementAndGet();
              }
            };
          }
        };
    GenerationOptions options = options(8000).ignoreEos(true).processor(third).build();
    assertThatThrownBy(() -> Search.samples(gemma, PROMPT, options, 40))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("not today");
    assertThat(running).hasValue(0);
  }

  @Test
  void anInterruptEndsTheSamplesLeft() {
    Thread caller = Thread.currentThread();
    GenerationOptions options =
        options(8000)
            .ignoreEos(true)
            .seed(7)
            .processor(
                (logits, history) -> {
                  if (history.size() == 12) {
                    caller.interrupt();
                  }
                })
            .build();
    List<Generation> samples = Search.samples(gemma, PROMPT, options, 20);
    assertThat(Thread.interrupted()).isTrue();
    assertThat(samples)
        .hasSize(20)
        .allMatch(sample -> sample.finishReason() == FinishReason.CANCELLED);
    assertThat(samples).as("the one that was cancelled by").anyMatch(s -> !s.tokens().isEmpty());
    assertThat(samples.getLast().tokens()).isEmpty();
  }

  @Test
  void oneBeamIsGreedy() {
    GenerationOptions greedy = options(24).temperature(0).ignoreEos(true).build();
    assertThat(Search.beams(gemma, PROMPT, greedy, 1, 1).getFirst().tokens())
        .isEqualTo(gemma.generate(PROMPT, greedy).tokens());
  }

  @Test
  void beamsFindTheBestTexts() {
    // A choice of four tokens, so that 16 beams leave out nothing of three steps but the last.
    Map<Integer, Float> four = Map.of(10, 0f, 20, 0f, 30, 0f, 40, 0f);
    GenerationOptions options =
        options(3)
            .ignoreEos(true)
            .processor(
                (logits, history) -> {
                  for (int id = 0; id < logits.size(); id++) {
                    if (!four.containsKey(id)) {
                      logits.set(id, Float.NEGATIVE_INFINITY);
                    }
                  }
                })
            .build();
    List<List<Integer>> expected =
        texts(four).stream()
            .sorted(Comparator.comparingDouble((List<Integer> t) -> -score(t, four)))
            .limit(16)
            .toList();
    List<List<Integer>> found =
        Search.beams(gemma, PROMPT, options, 16, 1).stream().map(Generation::tokens).toList();
    assertThat(found).isEqualTo(expected);
  }

  private static List<List<Integer>> texts(Map<Integer, Float> four) {
    List<List<Integer>> texts = new ArrayList<>();
    for (int a : four.keySet()) {
      for (int b : four.keySet()) {
        for (int c : four.keySet()) {
          texts.add(List.of(a, b, c));
        }
      }
    }
    return texts;
  }

  private static double score(List<Integer> text, Map<Integer, Float> four) {
    try (Session session = gemma.newSession()) {
      Logits logits = session.append(2, 300, 17, 45);
      double sum = 0;
      for (int id : text) {
        double all = four.keySet().stream().mapToDouble(k -> Math.exp(logitsOf(session, k))).sum();
        sum += logits.get(id) - Math.log(all);
        logits = session.append(id);
      }
      return sum;
    }
  }

  private static float logitsOf(Session session, int id) {
    return Logits.of(session.logitsBuffer()).get(id);
  }

  @Test
  void beamsOfNoTokensAreWhatIsGeneratedOfNone() {
    GenerationOptions none = options(0).build();
    Generation generated = gemma.generate(PROMPT, none);
    Generation beam = Search.beams(gemma, PROMPT, none, 3, 1).getFirst();
    assertThat(beam.text()).isEmpty();
    assertThat(beam.tokens()).isEmpty();
    assertThat(beam.finishReason()).isEqualTo(FinishReason.LENGTH);
    assertThat(beam.usage()).isEqualTo(generated.usage());
    assertThat(Search.beams(gemma, PROMPT, none, 3, 1)).hasSize(1);
  }

  @Test
  void beamsKeepToAConstraintAndEnd() {
    GenerationOptions options =
        options(30).constraint(Constraints.choice("ja", "nein", "vielleicht")).build();
    List<Generation> texts = Search.beams(gemma, PROMPT, options, 8, 0);
    assertThat(texts).isNotEmpty().allMatch(t -> t.finishReason() == FinishReason.EOS);
    assertThat(texts).allMatch(t -> List.of("ja", "nein", "vielleicht").contains(t.text()));
    assertThat(texts.stream().map(Generation::tokens)).doesNotHaveDuplicates();
  }

  @Test
  void logProbabilitiesAreTheModels() {
    GenerationOptions options =
        options(5).logProbabilities(3).temperature(2).topK(4).seed(1).ignoreEos(true).build();
    Generation generation = gemma.generate(PROMPT, options);
    assertThat(generation.logProbabilities()).hasSize(5);
    try (Session session = gemma.newSession()) {
      Logits logits = session.append(2, 300, 17, 45);
      for (int i = 0; i < 5; i++) {
        TokenLogProbabilities reported = generation.logProbabilities().get(i);
        int id = generation.tokens().get(i);
        assertThat(reported.chosen().id()).isEqualTo(id);
        assertThat((double) reported.chosen().value())
            .isCloseTo(logits.logProbability(id), within(1e-4));
        assertThat(reported.best()).hasSize(3);
        assertThat(reported.best().getFirst().id()).isEqualTo(logits.argmax());
        assertThat(reported.best())
            .isSortedAccordingTo(Comparator.comparingDouble(p -> -p.value()));
        logits = session.append(id);
      }
    }
    try (TokenStream stream = gemma.stream(PROMPT, options)) {
      assertThat(stream.next().logProbabilities())
          .isEqualTo(generation.logProbabilities().getFirst());
    }
    assertThat(gemma.generate(PROMPT, options(2).build()).logProbabilities()).isEmpty();
  }

  @Test
  void nonsenseIsRefused() {
    GenerationOptions options = options(2).build();
    assertThatThrownBy(() -> Search.samples(gemma, PROMPT, options, 0))
        .hasMessageContaining("count must be 1 or more");
    assertThatThrownBy(() -> Search.beams(gemma, PROMPT, options, 65, 1))
        .hasMessageContaining("width must be at most 64");
    assertThatThrownBy(() -> Search.beams(gemma, PROMPT, options, 2, Float.NaN))
        .hasMessageContaining("lengthPenalty");
    assertThatThrownBy(() -> options(2).logProbabilities(-2).build())
        .hasMessageContaining("logProbabilities");
  }

  @Test
  void noLimitOfTokensIsThatOfTheContext() {
    LoadOptions small = LoadOptions.defaults().withContextLength(40);
    try (Gemma narrow = Goldens.load("gemma-mqa-f32", small)) {
      int end = narrow.endIds(false).iterator().next();
      for (float penalty : new float[] {0.5f, 1.5f, 2.5f}) {
        GenerationOptions.Builder likelyEnd =
            options(40).processor((logits, history) -> logits.set(end, logits.get(end) + 7));
        List<List<Integer>> expected =
            Search.beams(narrow, PROMPT, likelyEnd.build(), 3, penalty).stream()
                .map(Generation::tokens)
                .toList();
        GenerationOptions endless = likelyEnd.maxTokens(Integer.MAX_VALUE).build();
        assertThat(Search.beams(narrow, PROMPT, endless, 3, penalty))
            .extracting(Generation::tokens)
            .isEqualTo(expected);
      }
    }
  }

  @Test
  void beamsAreDifferentTexts() {
    // Which the vocabulary spells in several ways.
    List<Generation> texts =
        Search.beams(
            gemma,
            PROMPT,
            options(6).constraint(Constraints.regex("(the|of|and){1,2}")).build(),
            8,
            1);
    assertThat(texts).extracting(Generation::text).doesNotHaveDuplicates().hasSizeGreaterThan(1);
  }

  @Test
  void usageCountsThePromptOnceAndWhole() {
    Prompt prompt = Prompt.ofIds(new Random(1).ints(300, 3, 512).toArray());
    for (Generation sample : Search.samples(gemma, prompt, options(3).build(), 2)) {
      Usage usage = sample.usage();
      assertThat(usage.promptTokens()).isEqualTo(300);
      assertThat(usage.firstToken()).isGreaterThanOrEqualTo(usage.prefill().plus(usage.queued()));
      assertThat(usage.queued()).isPositive();
    }
    Usage usage = Search.beams(gemma, prompt, options(3).build(), 2, 1).getFirst().usage();
    assertThat(usage.promptTokens()).isEqualTo(300);
    assertThat(usage.queued()).isPositive();
    assertThat(usage.firstToken()).isEqualTo(usage.prefill().plus(usage.queued()));
  }
}
