package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import dev.gemma4j.sampling.Samplers;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class GenerateTest {
  private static final String MODEL = "gemma-mqa-f32";
  private static Gemma gemma;

  @BeforeAll
  static void load() {
    gemma = Goldens.load(MODEL);
  }

  @AfterAll
  static void close() {
    gemma.close();
  }

  private static GenerationOptions.Builder greedy(int maxTokens) {
    return GenerationOptions.builder().temperature(0).ignoreEos(true).maxTokens(maxTokens);
  }

  @Test
  void streamedTextIsTheWholeText() {
    GenerationOptions options =
        GenerationOptions.builder().temperature(1.5f).topP(1).seed(3).maxTokens(200).build();
    Generation whole = gemma.generate(Prompt.of("a"), options);
    StringBuilder text = new StringBuilder();
    List<Integer> ids = new ArrayList<>();
    try (TokenStream stream = gemma.stream(Prompt.of("a"), options)) {
      for (Token token : stream) {
        text.append(token.text());
        ids.add(token.id());
      }
      assertThat(stream.result().text()).isEqualTo(whole.text());
    }
    assertThat(text.toString()).isEqualTo(whole.text());
    assertThat(ids.subList(0, whole.tokens().size())).isEqualTo(whole.tokens());
    int[] array = whole.tokens().stream().mapToInt(i -> i).toArray();
    assertThat(whole.text()).isEqualTo(gemma.tokenizer().decode(array));
    assertThat(whole.usage().promptTokens()).isEqualTo(2);
    assertThat(whole.usage().generatedTokens()).isEqualTo(whole.tokens().size());
  }

  @Test
  void aSeedGivesTheSameTextAndAnotherSeedAnother() {
    GenerationOptions.Builder options =
        GenerationOptions.builder().temperature(1).topP(1).maxTokens(40).ignoreEos(true);
    List<Integer> first = gemma.generate(Prompt.of("x"), options.seed(1).build()).tokens();
    assertThat(gemma.generate(Prompt.of("x"), options.seed(1).build()).tokens()).isEqualTo(first);
    assertThat(gemma.generate(Prompt.of("x"), options.seed(2).build()).tokens())
        .isNotEqualTo(first);
  }

  @Test
  void textEndsBeforeAStopStringWhereverItFallsBetweenTokens() {
    Generation whole = gemma.generate(Prompt.of("b"), greedy(60).build());
    String text = whole.text();
    assertThat(text.length()).isGreaterThan(30);
    for (int from = 1; from < 25; from += 3) {
      String stop = text.substring(from, from + 5);
      GenerationOptions options = greedy(60).stop("never in it", stop).build();
      StringBuilder streamed = new StringBuilder();
      try (TokenStream stream = gemma.stream(Prompt.of("b"), options)) {
        stream.forEach(token -> streamed.append(token.text()));
        assertThat(stream.result().finishReason()).isEqualTo(FinishReason.STOP);
        assertThat(stream.result().text()).isEqualTo(text.substring(0, text.indexOf(stop)));
      }
      assertThat(streamed.toString()).isEqualTo(text.substring(0, text.indexOf(stop)));
    }
    Generation unstopped = gemma.generate(Prompt.of("b"), greedy(60).stop("never in it").build());
    assertThat(unstopped.text()).isEqualTo(text);
  }

  @Test
  void endOfTextEndsUnlessIgnored() {
    GenerationOptions options =
        GenerationOptions.builder().sampler((logits, random) -> 1).maxTokens(5).build();
    Generation ended = gemma.generate(Prompt.of("c"), options);
    assertThat(ended.tokens()).isEmpty();
    assertThat(ended.text()).isEmpty();
    assertThat(ended.finishReason()).isEqualTo(FinishReason.EOS);
    GenerationOptions ignoring =
        GenerationOptions.builder()
            .sampler((logits, random) -> 1)
            .maxTokens(5)
            .ignoreEos(true)
            .build();
    assertThat(gemma.generate(Prompt.of("c"), ignoring).tokens()).containsExactly(1, 1, 1, 1, 1);
  }

  @Test
  void theContextsEndIsALength() {
    try (Gemma small = Goldens.load(MODEL, LoadOptions.defaults().withContextLength(16))) {
      Generation generation = small.generate(Prompt.ofIds(2, 3, 4), greedy(1000).build());
      // 13 positions are left, and the last token needs none.
      assertThat(generation.tokens()).hasSize(14);
      assertThat(generation.finishReason()).isEqualTo(FinishReason.LENGTH);
      assertThatThrownBy(() -> small.generate(Prompt.ofIds(new int[17]), greedy(1).build()))
          .isInstanceOf(ContextLengthException.class);
    }
    assertThatThrownBy(() -> Goldens.load(MODEL, LoadOptions.defaults().withContextLength(8193)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("8193");
  }

  @Test
  void noTokensMayBeAskedFor() {
    Generation generation = gemma.generate(Prompt.of("d"), greedy(0).build());
    assertThat(generation.tokens()).isEmpty();
    assertThat(generation.finishReason()).isEqualTo(FinishReason.LENGTH);
  }

  @Test
  void processorsAndSamplersOfTheUserRun() {
    List<Integer> sizes = new ArrayList<>();
    GenerationOptions options =
        GenerationOptions.builder()
            .processor(
                (logits, history) -> {
                  sizes.add(history.size());
                  for (int i = 0; i < logits.size(); i++) {
                    logits.set(i, i == 300 + history.size() ? 1 : Float.NEGATIVE_INFINITY);
                  }
                })
            .sampler(Samplers.temperature(2))
            .maxTokens(3)
            .build();
    assertThat(gemma.generate(Prompt.ofIds(2, 5), options).tokens()).containsExactly(302, 303, 304);
    assertThat(sizes).containsExactly(2, 3, 4);
    GenerationOptions wild = GenerationOptions.builder().sampler((logits, random) -> 512).build();
    assertThatThrownBy(() -> gemma.generate(Prompt.of("e"), wild))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("sampler returned 512");
  }

  @Test
  void aCancelledStreamEndsAtOnceAndKeepsItsText() {
    try (TokenStream stream = gemma.stream(Prompt.of("f"), greedy(5000).build())) {
      StringBuilder text = new StringBuilder();
      int count = 0;
      for (Token token : stream) {
        text.append(token.text());
        if (++count == 5) {
          Thread.ofPlatform().start(stream::cancel);
        }
      }
      assertThat(stream.result().finishReason()).isEqualTo(FinishReason.CANCELLED);
      assertThat(stream.result().tokens()).hasSizeBetween(5, 4999);
      assertThat(stream.result().text()).isEqualTo(text.toString());
    }
  }

  @Test
  void theResultsTextIsThatOfTheTokensWhereverItEnds() {
    assertThat(gemma.tokenizer().encode("\u2603")).hasSizeGreaterThanOrEqualTo(3);
    int[] ids = gemma.tokenizer().encode("so \u2603\u2603\u2603 cold");
    String whole = gemma.tokenizer().decode(ids);
    for (int end = 1; end < ids.length; end++) {
      // Held back are the bytes of a character, and what may begin a stop string.
      GenerationOptions.Builder options = scripted(ids).stop("\u2603\u2603\u2603!", " cold, ");
      assertThat(joined(gemma, options.maxTokens(end).build(), -1))
          .isEqualTo(gemma.tokenizer().decode(Arrays.copyOf(ids, end)));
      assertThat(whole).startsWith(joined(gemma, options.maxTokens(ids.length).build(), end));
      try (Gemma small = Goldens.load(MODEL, LoadOptions.defaults().withContextLength(end + 1))) {
        assertThat(joined(small, options.maxTokens(1000).build(), -1))
            .isEqualTo(gemma.tokenizer().decode(Arrays.copyOf(ids, end)));
      }
    }
  }

  private static GenerationOptions.Builder scripted(int[] ids) {
    return GenerationOptions.builder()
        .processor(
            (logits, history) -> {
              for (int i = 0; i < logits.size(); i++) {
                logits.set(i, i == ids[history.size() - 2] ? 1 : Float.NEGATIVE_INFINITY);
              }
            });
  }

  /** The tokens' texts, which are also the result's, cancelled after some tokens or not. */
  private static String joined(Gemma gemma, GenerationOptions options, int cancelAfter) {
    StringBuilder text = new StringBuilder();
    try (TokenStream stream = gemma.stream(Prompt.ofIds(2, 5), options)) {
      int count = 0;
      for (Token token : stream) {
        text.append(token.text());
        if (++count == cancelAfter) {
          stream.cancel();
        }
      }
      assertThat(stream.result().tokens()).hasSize(count);
      assertThat(stream.result().text()).isEqualTo(text.toString());
      assertThat(stream.result().finishReason())
          .isEqualTo(cancelAfter < 0 ? FinishReason.LENGTH : FinishReason.CANCELLED);
    }
    return text.toString();
  }

  @Test
  void anInterruptCancelsAndStaysSet() {
    try (TokenStream stream = gemma.stream(Prompt.of("g"), greedy(5000).build())) {
      stream.next();
      Thread.currentThread().interrupt();
      stream.forEachRemaining(token -> {});
      assertThat(Thread.interrupted()).isTrue();
      assertThat(stream.result().finishReason()).isEqualTo(FinishReason.CANCELLED);
    }
    assertThat(gemma.generate(Prompt.of("g"), greedy(3).build()).tokens()).hasSize(3);
  }

  @Test
  void manyThreadsGenerateTheSameAsOne() throws Exception {
    JsonNode prompts = Goldens.of(MODEL).get("prompts");
    try (ExecutorService executor = Executors.newFixedThreadPool(6)) {
      List<Future<List<Integer>>> futures = new ArrayList<>();
      for (int i = 0; i < 24; i++) {
        int[] ids = Goldens.ids(prompts.get(i % prompts.size()).get("ids"));
        futures.add(
            executor.submit(() -> gemma.generate(Prompt.ofIds(ids), greedy(32).build()).tokens()));
      }
      for (int i = 0; i < 24; i++) {
        assertThat(futures.get(i).get().stream().mapToInt(t -> t).toArray())
            .isEqualTo(Goldens.ids(prompts.get(i % prompts.size()).get("greedy")));
      }
    }
  }

  @Test
  void aClosedModelSaysSoEvenUnderLoad() throws Exception {
    Gemma closing = Goldens.load(MODEL);
    Session session = closing.newSession();
    session.append(1, 2, 3);
    try (ExecutorService executor = Executors.newFixedThreadPool(3)) {
      List<Future<Generation>> futures = new ArrayList<>();
      CountDownLatch tokens = new CountDownLatch(30);
      GenerationOptions options =
          greedy(8000).processor((logits, history) -> tokens.countDown()).build();
      for (int i = 0; i < 3; i++) {
        futures.add(executor.submit(() -> closing.generate(Prompt.of("h"), options)));
      }
      tokens.await();
      closing.close();
      for (Future<Generation> future : futures) {
        assertThatThrownBy(future::get)
            .hasCauseInstanceOf(IllegalStateException.class)
            .hasMessageContaining("model is closed");
      }
    }
    closing.close();
    assertThatThrownBy(() -> session.append(4)).hasMessage("model is closed");
    session.close();
    assertThatThrownBy(closing::newSession).hasMessage("model is closed");
  }

  @Test
  void optionsRefuseNonsense() {
    assertThatThrownBy(() -> GenerationOptions.builder().topP(1.5f).build())
        .hasMessage("topP must be in (0, 1], but is 1.5");
    assertThatThrownBy(() -> GenerationOptions.builder().temperature(Float.NaN).build())
        .hasMessageContaining("temperature");
    assertThatThrownBy(() -> GenerationOptions.builder().maxTokens(-1).build())
        .hasMessageContaining("maxTokens");
    assertThatThrownBy(() -> GenerationOptions.builder().stop("").build())
        .hasMessageContaining("stop");
    assertThatThrownBy(() -> GenerationOptions.builder().repetitionPenalty(0).build())
        .hasMessageContaining("repetitionPenalty");
    assertThatThrownBy(() -> LoadOptions.defaults().withThreads(0)).hasMessageContaining("threads");
  }

  @Test
  @SuppressWarnings("NullAway")
  void nullsAreRefusedByName() {
    LoadOptions options = LoadOptions.defaults();
    Map<String, ThrowingCallable> calls =
        Map.of(
            "weights", () -> options.withWeights(null),
            "memory", () -> options.withMemory(null),
            "kv", () -> options.withKv(null),
            "kvWait", () -> options.withKvWait(null),
            "kernels", () -> options.withKernels(null),
            "progress", () -> options.withProgress(null));
    calls.forEach(
        (name, call) ->
            assertThatThrownBy(call).isInstanceOf(NullPointerException.class).hasMessage(name));
    assertThatThrownBy(() -> new Prompt.Ids(null)).isInstanceOf(NullPointerException.class);
  }

  @Test
  void aPromptOfIdsDoesNotChange() {
    int[] ids = {2, 300, 301};
    Prompt.Ids prompt = new Prompt.Ids(ids);
    ids[1] = 5;
    prompt.ids()[2] = 5;
    assertThat(prompt.ids()).containsExactly(2, 300, 301);
    assertThat(gemma.generate(prompt, greedy(3).build()).ids()).hasSize(3);
  }

  @Test
  void otherWeightTypesRun() {
    float[] stored;
    try (Session session = gemma.newSession()) {
      stored = session.append(2, 9, 77, 130).toArray();
    }
    for (WeightType type : WeightType.values()) {
      try (Gemma converted = Goldens.load(MODEL, LoadOptions.defaults().withWeights(type));
          Session session = converted.newSession()) {
        assertThat(converted.weights()).isEqualTo(type == WeightType.AS_STORED ? "F32" : "" + type);
        float[] logits = session.append(2, 9, 77, 130).toArray();
        assertThat(cosine(logits, stored))
            .as("%s", type)
            .isGreaterThan(type == WeightType.Q4_0 ? 0.85 : 0.995);
      }
    }
  }

  @Test
  void idsRunWithoutATokenizer(@TempDir Path directory) throws IOException {
    for (String file : List.of("config.json", "model.safetensors")) {
      Files.copy(Goldens.model(MODEL).resolve(file), directory.resolve(file));
    }
    try (Gemma bare = Gemma.load(directory);
        Session session = bare.newSession()) {
      assertThat(session.append(2, 3).size()).isEqualTo(512);
      assertThatThrownBy(() -> bare.generate("text"))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("tokenizer.model");
    }
  }

  private static double cosine(float[] a, float[] b) {
    double ab = 0;
    double aa = 0;
    double bb = 0;
    for (int i = 0; i < a.length; i++) {
      ab += (double) a[i] * b[i];
      aa += (double) a[i] * a[i];
      bb += (double) b[i] * b[i];
    }
    return ab / Math.sqrt(aa * bb);
  }

  @Test
  void nullsAreRefusedWhereTheyAreGiven() {
    assertThatThrownBy(() -> Prompt.of(null)).isInstanceOf(NullPointerException.class);
    assertThatThrownBy(() -> new ChatMessage(null, "a")).hasMessage("role");
    assertThatThrownBy(() -> new ChatMessage(Role.USER, null)).hasMessage("text");
    assertThatThrownBy(() -> GenerationOptions.builder().sampler(null)).hasMessage("sampler");
  }
}
