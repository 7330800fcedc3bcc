package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.sampling.Logits;
import dev.gemma4j.sampling.LogitsProcessor;
import dev.gemma4j.sampling.TokenHistory;
import java.time.Duration;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Prompts that begin alike, and the limit of the memory in which they are kept. */
class PromptReuseTest {
  private static final String MODEL = "gemma-mqa-f32";
  private static final GenerationOptions GREEDY =
      GenerationOptions.builder().temperature(0).maxTokens(12).ignoreEos(true).build();

  private static int[] prompt(int common, int own, int seed) {
    int[] ids = Arrays.copyOf(new Random(1).ints(common, 3, 512).toArray(), common + own);
    int[] rest = new Random(seed).ints(own, 3, 512).toArray();
    System.arraycopy(rest, 0, ids, common, own);
    return ids;
  }

  private static Generation run(Gemma gemma, int... ids) {
    return gemma.generate(Prompt.ofIds(ids), GREEDY);
  }

  @Test
  void aCommonBeginningIsComputedOnceAndGivesTheSameText() {
    try (Gemma gemma = Goldens.load(MODEL);
        Gemma plain = Goldens.load(MODEL, LoadOptions.defaults().withPromptReuse(false))) {
      for (int seed = 2; seed < 8; seed++) {
        int[] ids = prompt(100, seed, seed);
        Generation found = run(gemma, ids);
        Generation expected = run(plain, ids);
        assertThat(found.tokens()).isEqualTo(expected.tokens());
        assertThat(found.usage().promptTokens()).isEqualTo(ids.length);
        // Whole pages of 32 positions.
        assertThat(found.usage().reusedPromptTokens()).isEqualTo(seed == 2 ? 0 : 96);
        assertThat(expected.usage().reusedPromptTokens()).isZero();
      }
      int[] same = prompt(100, 3, 3);
      assertThat(run(gemma, same).tokens()).isEqualTo(run(plain, same).tokens());
      int[] page = prompt(96, 0, 0); // its last token is computed, for its logits
      assertThat(run(gemma, page).usage().reusedPromptTokens()).isEqualTo(64);
      assertThat(run(gemma, page).tokens()).isEqualTo(run(plain, page).tokens());
    }
  }

  @Test
  void whatWasGeneratedIsReusedToo() {
    try (Gemma gemma = Goldens.load(MODEL)) {
      int[] ids = prompt(60, 0, 0);
      int[] answer = run(gemma, ids).tokens().stream().mapToInt(i -> i).toArray();
      int[] next = ChatTemplate.concat(ChatTemplate.concat(ids, answer), new int[] {5, 6});
      assertThat(run(gemma, next).usage().reusedPromptTokens()).isEqualTo(64);
    }
  }

  private static long pageBytes(Gemma gemma) {
    return 2L
        * gemma.config().numLayers()
        * gemma.config().numKvHeads()
        * gemma.config().headDim()
        * 32
        * 4;
  }

  @Test
  void theMemoryOfKeysAndValuesIsLimited() {
    long page;
    try (Gemma gemma = Goldens.load(MODEL)) {
      page = pageBytes(gemma);
    }
    try (Gemma gemma = Goldens.load(MODEL, LoadOptions.defaults().withKvMemory(6 * page))) {
      // Other prompts' pages make room.
      for (int seed = 10; seed < 20; seed++) {
        assertThat(run(gemma, prompt(0, 130, seed)).tokens()).hasSize(12);
      }
      try (Session session = gemma.newSession();
          Session other = gemma.newSession()) {
        session.append(prompt(0, 100, 1));
        assertThatThrownBy(() -> other.append(prompt(0, 65, 1)))
            .isInstanceOf(KvMemoryException.class)
            .hasMessage(
                "keys and values: asked for "
                    + 3 * page
                    + " bytes, "
                    + 2 * page
                    + " are left of kvMemory, which is "
                    + 6 * page);
        assertThat(other.position()).isZero();
        session.truncate(32);
        other.append(prompt(0, 65, 1));
      }
    }
    assertThatThrownBy(() -> LoadOptions.defaults().withKvMemory(-1))
        .hasMessageContaining("kvMemory");
  }

  @Test
  void samplesThatCannotBeginLeaveNoMemoryTaken() {
    LogitsProcessor broken =
        new LogitsProcessor() {
          @Override
          public void process(Logits logits, TokenHistory history) {}

          @Override
          public LogitsProcessor newText() {
            throw new IllegalStateException("not today");
          }
        };
    GenerationOptions options = GenerationOptions.builder().maxTokens(12).processor(broken).build();
    long page;
    try (Gemma gemma = Goldens.load(MODEL)) {
      page = pageBytes(gemma);
    }
    LoadOptions little =
        LoadOptions.defaults()
            .withPromptReuse(false)
            .withKvMemory(6 * page)
            .withKvWait(Duration.ZERO);
    try (Gemma gemma = Goldens.load(MODEL, little)) {
      int[] ids = prompt(0, 100, 1);
      assertThatThrownBy(() -> Search.samples(gemma, Prompt.ofIds(ids), options, 2))
          .hasMessage("not today");
      try (Session all = gemma.newSession()) {
        all.append(prompt(0, 6 * 32, 2));
      }
    }
  }
}
