package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ScoreAndEmbedTest {
  private static final String MODEL = "gemma-mqa-f32";

  @Test
  void scoresAreTheReferences() {
    JsonNode sequence = Goldens.of(MODEL).get("sequence");
    int[] ids = Goldens.ids(sequence.get("ids"));
    try (Gemma gemma = Goldens.load(MODEL)) {
      for (int cut : new int[] {1, 7, ids.length - 1}) {
        Prompt prompt = Prompt.ofIds(Arrays.copyOf(ids, cut));
        int[] text = Arrays.copyOfRange(ids, cut, ids.length);
        Score score = gemma.score(prompt, text, 3);
        assertThat(score.tokens()).hasSize(text.length);
        for (int i = 0; i < text.length; i++) {
          TokenLogProbabilities token = score.tokens().get(i);
          assertThat(token.chosen().id()).isEqualTo(text[i]);
          assertThat(token.best()).hasSize(3);
          assertThat((double) token.chosen().value())
              .isCloseTo(sequence.get("logprobs").get(cut - 1 + i).doubleValue(), within(2e-3));
        }
      }
      double perplexity = sequence.get("perplexity").doubleValue();
      int[] rest = Arrays.copyOfRange(ids, 1, ids.length);
      assertThat(gemma.score(Prompt.ofIds(ids[0]), rest, 0).perplexity())
          .isCloseTo(perplexity, within(1e-3 * perplexity));
    }
  }

  @Test
  void aTextIsScoredAsItWasGenerated() {
    try (Gemma gemma = Goldens.load(MODEL)) {
      GenerationOptions options =
          GenerationOptions.builder().seed(5).maxTokens(20).logProbabilities(2).build();
      Generation made = gemma.generate(Prompt.of("ab"), options);
      int[] ids = made.tokens().stream().mapToInt(id -> id).toArray();
      Score score = gemma.score(Prompt.of("ab"), ids, 2);
      for (int i = 0; i < ids.length; i++) {
        assertThat((double) score.tokens().get(i).chosen().value())
            .isCloseTo(made.logProbabilities().get(i).chosen().value(), within(1e-4));
      }
      assertThat(gemma.score(Prompt.of("ab"), "").perplexity()).isEqualTo(1);
      assertThatThrownBy(() -> gemma.score(Prompt.ofIds(), new int[] {3}, 0))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("prompt");
      assertThatThrownBy(() -> gemma.score(Prompt.ofIds(2), new int[9000], 0))
          .isInstanceOf(ContextLengthException.class);
    }
  }

  @Test
  void aTextThatFillsTheContextIsScored() {
    try (Gemma gemma = Goldens.load(MODEL, LoadOptions.defaults().withContextLength(8))) {
      Prompt prompt = Prompt.ofIds(2, 5, 6);
      Generation made = gemma.generate(prompt, GenerationOptions.builder().ignoreEos(true).build());
      assertThat(made.ids()).hasSize(6); // the last one is not run
      assertThat(gemma.score(prompt, made.ids(), 0).tokens()).hasSize(6);
      assertThatThrownBy(() -> gemma.score(prompt, new int[7], 0))
          .isInstanceOf(ContextLengthException.class);
      assertThatThrownBy(() -> gemma.score(Prompt.ofIds(new int[9]), new int[0], 0))
          .isInstanceOf(ContextLengthException.class);
      assertThatThrownBy(() -> gemma.score(prompt, new int[] {3, -1}, 0))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("-1");
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"gemma-mqa-f32", "gemma-mha-f32", "gemma-gqa-bf16"})
  void hiddenStatesAreTheReferences(String model) {
    JsonNode debug = Goldens.of(model).get("debug");
    int[] ids = Goldens.ids(debug.get("ids"));
    float[] states = Goldens.floats(debug.get("after_final_norm")); // [ids, hidden]
    int hidden = states.length / ids.length;
    try (Gemma gemma = Goldens.load(model)) {
      float[] mean = gemma.embedIds(List.of(ids), Pooling.MEAN, false, null).getFirst();
      float[] last = gemma.embedIds(List.of(ids), Pooling.LAST, false, null).getFirst();
      float[] unit = gemma.embedIds(List.of(ids), Pooling.LAST, true, null).getFirst();
      double length = 0;
      for (float value : last) {
        length += value * value;
      }
      for (int i = 0; i < hidden; i++) {
        double sum = 0;
        for (int t = 0; t < ids.length; t++) {
          sum += states[t * hidden + i];
        }
        assertThat((double) mean[i]).isCloseTo(sum / ids.length, within(2e-3));
        assertThat(last[i]).isCloseTo(states[(ids.length - 1) * hidden + i], within(2e-3f));
        assertThat((double) unit[i]).isCloseTo(last[i] / Math.sqrt(length), within(1e-5));
      }
    }
  }

  @Test
  void textsThatShareAPassStayApart() {
    Random random = new Random(1);
    List<int[]> texts = new ArrayList<>();
    for (int length : new int[] {1, 3, 250, 7, 600, 2, 2, 31}) {
      texts.add(random.ints(length, 3, 512).toArray());
    }
    try (Gemma gemma = Goldens.load(MODEL)) {
      List<float[]> together = gemma.embedIds(texts, Pooling.MEAN, true, null);
      for (int i = 0; i < texts.size(); i++) {
        float[] alone = gemma.embedIds(List.of(texts.get(i)), Pooling.MEAN, true, null).getFirst();
        assertThat(together.get(i)).containsExactly(alone, within(1e-5f));
      }
      assertThat(gemma.embed(List.of(), Pooling.LAST, true)).isEmpty();
      assertThat(gemma.embed("ab")).hasSize(64);
      assertThatThrownBy(() -> gemma.embedIds(List.of(new int[9000]), Pooling.MEAN, true, null))
          .isInstanceOf(ContextLengthException.class);
    }
  }
}
