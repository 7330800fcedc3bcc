package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.sampling.LogitsProcessor;
import dev.gemma4j.sampling.Sampler;
import dev.gemma4j.sampling.TokenHistory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What becomes of a stream that fails, or that somebody else closes: its memory is free. */
@Timeout(60)
class TokenStreamTest {
  private static final int PAGES = 4;
  private static final int PAGE = 32;

  private static Gemma load() {
    long page;
    try (Gemma gemma = Goldens.load("gemma-mqa-f32")) {
      page =
          2L
              * gemma.config().numLayers()
              * gemma.config().numKvHeads()
              * gemma.config().headDim()
              * PAGE
              * Float.BYTES;
    }
    return Goldens.load(
        "gemma-mqa-f32",
        LoadOptions.defaults().withKvMemory(PAGES * page).withKvWait(Duration.ofMillis(20)));
  }

  private static void assertAllFree(Gemma gemma) {
    try (Session session = gemma.newSession()) {
      session.append(new int[PAGES * PAGE]);
    }
  }

  private static Prompt prompt(int length) {
    return Prompt.ofIds(new Random(length).ints(length, 3, 512).toArray());
  }

  private static GenerationOptions.Builder options(int maxTokens) {
    return GenerationOptions.builder().temperature(0).maxTokens(maxTokens).ignoreEos(true);
  }

  /** Fails at one call only. */
  private static Sampler failing(int at) {
    int[] calls = {0};
    return (logits, random) -> {
      if (++calls[0] == at) {
        throw new UnsupportedOperationException("of the user");
      }
      return logits.argmax();
    };
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 5})
  void aSamplerThatFailsEndsTheStreamWhichNeedNotBeClosed(int at) {
    try (Gemma gemma = load()) {
      TokenStream stream = gemma.stream(prompt(40), options(20).sampler(failing(at)).build());
      for (int i = 1; i < at; i++) {
        stream.next();
      }
      assertThatThrownBy(stream::hasNext).hasMessage("of the user");
      assertAllFree(gemma);
      for (int i = 0; i < 2; i++) { // and not the text of a token that ran twice
        assertThatThrownBy(stream::next)
            .isInstanceOf(IllegalStateException.class)
            .hasMessageContaining("has failed")
            .hasRootCauseMessage("of the user");
        assertThatThrownBy(stream::result)
            .isInstanceOf(IllegalStateException.class)
            .hasRootCauseMessage("of the user");
      }
      stream.close();
      assertThat(stream.hasNext()).isFalse();
    }
  }

  @Test
  void aProcessorThatFailsEndsTheStreamToo() {
    LogitsProcessor processor =
        (logits, history) -> {
          if (history.size() == 42) {
            throw new UnsupportedOperationException("of the user");
          }
        };
    try (Gemma gemma = load()) {
      TokenStream stream = gemma.stream(prompt(40), options(20).processor(processor).build());
      assertThatThrownBy(() -> stream.forEachRemaining(token -> {})).hasMessage("of the user");
      assertAllFree(gemma);
    }
  }

  /** Guesses nothing, and throws when it is closed. */
  static Speculation failingToClose(String message) {
    return model ->
        new Speculation.Drafter() {
          @Override
          public int[] draft(TokenHistory history, int most) {
            return new int[0];
          }

          @Override
          public void close() {
            throw new UnsupportedOperationException(message);
          }
        };
  }

  @Test
  void aDrafterThatCannotBeClosedLeavesNoMemoryBehind() {
    Speculation speculation = failingToClose("of the drafter");
    try (Gemma gemma = load()) {
      GenerationOptions options = options(3).speculation(speculation).build();
      for (int i = 0; i < 3; i++) {
        assertThatThrownBy(() -> gemma.generate(prompt(60), options)).hasMessage("of the drafter");
      }
      assertAllFree(gemma);
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void afterTheMemoryWasFullTheSameTextGoesOn(boolean speculative) {
    Speculation same =
        model ->
            (history, most) -> {
              int[] draft = new int[Math.min(4, most)];
              Arrays.fill(draft, history.get(history.size() - 1));
              return draft;
            };
    GenerationOptions.Builder options = options(60);
    if (speculative) {
      options.speculation(same);
    }
    try (Gemma gemma = load()) {
      List<Integer> expected = gemma.generate(prompt(40), options(60).build()).tokens();
      Session other = gemma.newSession();
      other.append(new int[2 * PAGE]);
      List<Integer> found = new ArrayList<>();
      int full = 0;
      try (TokenStream stream = gemma.stream(prompt(40), options.build())) {
        for (boolean more = true; more; ) {
          try {
            more = stream.hasNext();
            if (more) {
              found.add(stream.next().id());
            }
          } catch (KvMemoryException e) {
            full++;
            if (full == 2) {
              other.close();
            }
          }
        }
        assertThat(stream.result().tokens()).isEqualTo(expected);
      }
      assertThat(full).isEqualTo(2);
      assertThat(found).isEqualTo(expected);
      assertAllFree(gemma);
    }
  }

  @Test
  void anyThreadMayCloseItAndNothingIsLost() throws Exception {
    try (Gemma gemma = load();
        ExecutorService executor = Executors.newCachedThreadPool()) {
      for (int round = 0; round < 40; round++) {
        TokenStream stream = gemma.stream(prompt(10), options(PAGES * PAGE - 20).build());
        CountDownLatch begun = new CountDownLatch(1);
        Future<Integer> puller =
            executor.submit(
                () -> {
                  int count = 0;
                  for (Token token : stream) { // hasNext, then next: neither may fail
                    assertThat(token).isNotNull();
                    begun.countDown();
                    count++;
                  }
                  return count;
                });
        begun.await();
        stream.close();
        stream.close();
        int count = puller.get();
        assertAllFree(gemma);
        assertThat(stream.hasNext()).isFalse();
        assertThatThrownBy(stream::next).isInstanceOf(NoSuchElementException.class);
        if (stream.result().finishReason() == FinishReason.CANCELLED) {
          assertThat(stream.result().tokens()).hasSizeBetween(count, count + 1);
        }
      }
    }
  }

  @Test
  void whatItCallsMayCloseIt() {
    TokenStream[] stream = new TokenStream[1];
    Sampler sampler =
        (logits, random) -> {
          stream[0].close();
          assertThatThrownBy(() -> stream[0].result()).hasMessageContaining("under way");
          return 300;
        };
    try (Gemma gemma = load()) {
      stream[0] = gemma.stream(prompt(40), options(20).sampler(sampler).build());
      assertThat(stream[0].next().id()).isEqualTo(300);
      assertThat(stream[0].hasNext()).isFalse();
      assertThat(stream[0].result().finishReason()).isEqualTo(FinishReason.CANCELLED);
      assertAllFree(gemma);
    }
  }

  @Test
  void aDraftModelThatIsClosedSaysWhichOneItIs() {
    Gemma draft = Goldens.load("gemma-mqa-f32");
    try (Gemma gemma = load()) {
      GenerationOptions options = options(20).speculation(Speculation.draftModel(draft, 3)).build();
      TokenStream stream = gemma.stream(prompt(10), options);
      stream.next();
      draft.close();
      assertThatThrownBy(() -> stream.forEachRemaining(token -> {}))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("draft model is closed");
      assertThatThrownBy(() -> gemma.stream(prompt(10), options))
          .hasMessage("draft model is closed");
      assertAllFree(gemma);
    }
  }

  @Test
  void aGuessUnderWayEndsWhenTheTextIsCancelled() {
    try (Gemma draft = Goldens.load("gemma-mqa-f32");
        ModelDrafter drafter = new ModelDrafter(draft, 8)) {
      drafter.cancelledBy(() -> true);
      TokenHistory history =
          new TokenHistory() {
            @Override
            public int size() {
              return 3;
            }

            @Override
            public int get(int index) {
              return 7;
            }
          };
      assertThatThrownBy(() -> drafter.draft(history, 8))
          .isInstanceOf(java.util.concurrent.CancellationException.class);
      drafter.cancelledBy(() -> false);
      assertThat(drafter.draft(history, 8)).hasSize(8);
    }
  }
}
