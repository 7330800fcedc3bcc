package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import dev.gemma4j.sampling.Logits;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Logits, greedy texts and log-probabilities of every reference checkpoint, however it is run. */
class ForwardGoldenTest {
  static Stream<Arguments> runs() {
    List<Arguments> runs = new ArrayList<>();
    for (String model : Goldens.all()) {
      for (KernelType kernels : Goldens.kernels()) {
        for (int threads : new int[] {1, 2}) {
          runs.add(Arguments.of(model, kernels, threads));
        }
      }
    }
    return runs.stream();
  }

  private static Gemma load(String model, KernelType kernels, int threads) {
    return Goldens.load(model, LoadOptions.defaults().withKernels(kernels).withThreads(threads));
  }

  @ParameterizedTest
  @MethodSource("runs")
  void logitsAreTheReferences(String model, KernelType kernels, int threads) {
    try (Gemma gemma = load(model, kernels, threads)) {
      for (JsonNode prompt : Goldens.of(model).get("prompts")) {
        int[] ids = Goldens.ids(prompt.get("ids"));
        float[] expected = Goldens.floats(prompt.get("last_logits"));
        float[][] rows = new float[ids.length][];
        try (Session session = gemma.newSession()) {
          assertClose(session.append(ids).toArray(), expected, model + " last row");
        }
        try (Session session = gemma.newSession()) {
          session.append(ids, (i, logits) -> rows[i] = logits.toArray());
        }
        assertClose(rows[ids.length - 1], expected, model + " last of all rows");
        for (int i = 0; i < ids.length; i++) {
          int[] topIds = Goldens.ids(prompt.get("top5_ids").get(i));
          float[] top = Goldens.floats(prompt.get("top5_logits").get(i));
          float tolerance = tolerance(expected);
          for (int j = 0; j < topIds.length; j++) {
            assertThat(rows[i][topIds[j]]).as("row %d", i).isCloseTo(top[j], within(tolerance));
          }
          if (top[0] - top[1] > tolerance) {
            assertThat(Logits.of(rows[i]).argmax()).as("top of row %d", i).isEqualTo(topIds[0]);
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("runs")
  void greedyTextIsTheReferences(String model, KernelType kernels, int threads) {
    try (Gemma gemma = load(model, kernels, threads)) {
      for (JsonNode prompt : Goldens.of(model).get("prompts")) {
        int[] greedy = Goldens.ids(prompt.get("greedy"));
        Generation generation =
            gemma.generate(
                Prompt.ofIds(Goldens.ids(prompt.get("ids"))),
                GenerationOptions.builder()
                    .temperature(0)
                    .maxTokens(greedy.length)
                    .ignoreEos(true)
                    .build());
        assertThat(generation.tokens().stream().mapToInt(i -> i).toArray()).isEqualTo(greedy);
        assertThat(generation.finishReason()).isEqualTo(FinishReason.LENGTH);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("runs")
  void logProbabilitiesAreTheReferences(String model, KernelType kernels, int threads) {
    try (Gemma gemma = load(model, kernels, threads);
        Session session = gemma.newSession()) {
      JsonNode sequence = Goldens.of(model).get("sequence");
      int[] ids = Goldens.ids(sequence.get("ids"));
      double[] found = new double[ids.length - 1];
      session.append(
          ids,
          (i, logits) -> {
            if (i < found.length) {
              found[i] = logits.logProbability(ids[i + 1]);
            }
          });
      for (int i = 0; i < found.length; i++) {
        assertThat(found[i]).isCloseTo(sequence.get("logprobs").get(i).doubleValue(), within(2e-3));
      }
      double perplexity = Math.exp(-Arrays.stream(found).average().orElseThrow());
      double expected = sequence.get("perplexity").doubleValue();
      assertThat(perplexity).isCloseTo(expected, within(1e-3 * expected));
    }
  }

  static Stream<Arguments> kernels() {
    return Goldens.all().stream()
        .flatMap(m -> Goldens.kernels().stream().map(k -> Arguments.of(m, k)));
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void anyChunkingOfAPrefillGivesTheSameLogits(String model, KernelType kernels) {
    Random random = new Random(model.hashCode()); // other pieces of each
    JsonNode prompts = Goldens.of(model).get("prompts");
    int[] ids = Goldens.ids(prompts.get(prompts.size() - 1).get("ids"));
    try (Gemma gemma = load(model, kernels, 2)) {
      float[] whole = new float[0];
      for (int round = 0; round < 4; round++) {
        try (Session session = gemma.newSession()) {
          float[] last = {};
          for (int from = 0; from < ids.length; ) {
            // Round 0: all at once; round 1: token by token; then any pieces.
            int size = round == 0 ? ids.length : round == 1 ? 1 : 1 + random.nextInt(24);
            int to = Math.min(ids.length, from + size);
            last = session.append(Arrays.copyOfRange(ids, from, to)).toArray();
            from = to;
          }
          whole = round == 0 ? last : whole;
          assertClose(last, whole, model + " round " + round);
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void roundedKeysAndValuesChangeLogitsLittle(String model, KernelType kernels) {
    for (KvType kv : new KvType[] {KvType.F16, KvType.Q8}) {
      LoadOptions options = LoadOptions.defaults().withKernels(kernels).withKv(kv);
      try (Gemma gemma = Goldens.load(model, options)) {
        for (JsonNode prompt : Goldens.of(model).get("prompts")) {
          float[] expected = Goldens.floats(prompt.get("last_logits"));
          try (Session session = gemma.newSession()) {
            float[] found = session.append(Goldens.ids(prompt.get("ids"))).toArray();
            float largest = 0;
            for (int i = 0; i < found.length; i++) {
              largest = Math.max(largest, Math.abs(found[i] - expected[i]));
            }
            float scale = tolerance(expected) * 1000;
            assertThat(largest / scale).as(kv + "").isLessThan(kv == KvType.F16 ? 2e-3f : 6e-2f);
          }
        }
      }
    }
  }

  /** The exactness contract: 1e-3 of the largest logit, or of 1. */
  private static float tolerance(float[] expected) {
    float max = 1;
    for (float e : expected) {
      max = Math.max(max, Math.abs(e));
    }
    return 1e-3f * max;
  }

  static void assertClose(float[] found, float[] expected, String what) {
    assertThat(found).as(what).hasSameSizeAs(expected);
    float tolerance = tolerance(expected);
    int worst = 0;
    for (int i = 0; i < found.length; i++) {
      if (!(Math.abs(found[i] - expected[i]) <= Math.abs(found[worst] - expected[worst]))) {
        worst = i;
      }
    }
    assertThat(found[worst])
        .as("%s, logit %d, which differs most", what, worst)
        .isCloseTo(expected[worst], within(tolerance));
  }
}
