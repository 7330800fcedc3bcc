package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.constraint.Constraints;
import dev.gemma4j.model.KvPool;
import java.lang.reflect.Field;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.FutureTask;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Texts that wait for memory: in the order in which they came, and never for each other. */
@Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class KvWaitTest {
  private static final String MODEL = "gemma-mqa-f32";
  private static final int PAGE = 32;
  private static final Duration LONG = Duration.ofDays(1);

  private static Gemma load(int pages, Duration wait, boolean reuse) {
    long page;
    try (Gemma gemma = Goldens.load(MODEL)) {
      page =
          2L
              * gemma.config().numLayers()
              * gemma.config().numKvHeads()
              * gemma.config().headDim()
              * PAGE
              * Float.BYTES;
    }
    return Goldens.load(
        MODEL,
        LoadOptions.defaults().withKvMemory(pages * page).withKvWait(wait).withPromptReuse(reuse));
  }

  private static Gemma load(int pages, Duration wait) {
    return load(pages, wait, true);
  }

  private static Prompt prompt(int length, int seed) {
    return Prompt.ofIds(new Random(seed).ints(length, 3, 512).toArray());
  }

  private static GenerationOptions options(int maxTokens) {
    return GenerationOptions.builder().temperature(0).maxTokens(maxTokens).ignoreEos(true).build();
  }

  /** Runs until the thread waits for memory. */
  private static <T> FutureTask<T> waiting(Callable<T> job) throws InterruptedException {
    FutureTask<T> task = new FutureTask<>(job);
    Thread thread = Thread.ofPlatform().daemon().start(task);
    Set<String> waits = Set.of("awaitRoom", "parkNanos");
    while (!Arrays.stream(thread.getStackTrace())
        .map(StackTraceElement::getMethodName)
        .collect(Collectors.toSet())
        .containsAll(waits)) {
      assertThat(task.isDone()).as("ended without waiting").isFalse();
      Thread.sleep(1);
    }
    return task;
  }

  /** Whether all memory is there: a session, which does not wait, can have it. */
  private static void assertAllFree(Gemma gemma, int pages) {
    try (Session session = gemma.newSession()) {
      session.append(new int[pages * PAGE]);
    }
  }

  private static long usedBytes(Gemma gemma) throws ReflectiveOperationException {
    Field pool = Gemma.class.getDeclaredField("kvPool");
    pool.setAccessible(true);
    return ((KvPool) pool.get(gemma)).usedBytes();
  }

  private static List<Callable<Object>> jobs(Gemma gemma) {
    List<Callable<Object>> jobs = new ArrayList<>();
    for (int i = 0; i < 12; i++) {
      int seed = i;
      jobs.add(() -> gemma.generate(prompt(20 + 5 * seed, seed % 5), options(30)).tokens());
    }
    jobs.add(() -> Search.samples(gemma, prompt(50, 20), options(40), 3).get(2).tokens());
    jobs.add(() -> Search.beams(gemma, prompt(40, 21), options(8), 2, 1).get(0).tokens());
    jobs.add(() -> gemma.score(prompt(30, 22), new int[70], 0));
    jobs.add(
        () ->
            gemma
                .embedIds(
                    List.of(new int[100], new int[40], new int[20], new int[90]),
                    Pooling.MEAN,
                    true,
                    null)
                .size());
    jobs.add(
        () -> {
          try (Chat chat = gemma.chat("", options(12))) {
            List<String> answers = new ArrayList<>();
            for (int turn = 0; turn < 3; turn++) {
              answers.add(chat.send("turn " + turn));
            }
            return answers;
          }
        });
    return jobs;
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void whateverIsAskedAtOnceIsAnsweredAsIfItWereAlone(boolean reuse) throws Exception {
    List<Object> expected = new ArrayList<>();
    try (Gemma gemma = Goldens.load(MODEL)) {
      for (Callable<Object> job : jobs(gemma)) {
        expected.add(job.call());
      }
    }
    try (Gemma gemma = load(9, LONG, reuse)) {
      for (ExecutorService executor :
          List.of(Executors.newCachedThreadPool(), Executors.newVirtualThreadPerTaskExecutor())) {
        try (executor) {
          List<FutureTask<Object>> tasks = jobs(gemma).stream().map(FutureTask::new).toList();
          tasks.forEach(executor::execute);
          for (int i = 0; i < tasks.size(); i++) {
            Object found = tasks.get(i).get();
            if (found instanceof Score score) {
              assertThat(score.perplexity())
                  .isCloseTo(((Score) expected.get(i)).perplexity(), within());
            } else {
              assertThat(found).as("job %d", i).isEqualTo(expected.get(i));
            }
          }
        }
      }
      assertAllFree(gemma, 9);
    }
  }

  private static org.assertj.core.data.Percentage within() {
    return org.assertj.core.data.Percentage.withPercentage(0.01);
  }

  @ParameterizedTest
  @ValueSource(ints = {4, 5, 6, 8})
  void samplesAreDrawnTogetherAsFarAsThereIsRoom(int pages) {
    // The prompt takes two pages, a sample two more: a copy of the second and the third.
    List<List<Integer>> expected = new ArrayList<>();
    try (Gemma gemma = Goldens.load(MODEL)) {
      for (int i = 0; i < 3; i++) {
        expected.add(gemma.generate(prompt(40, 1), sampled(i)).tokens());
      }
    }
    try (Gemma gemma = load(pages, Duration.ZERO)) {
      assertThat(Search.samples(gemma, prompt(40, 1), sampled(0), 3))
          .extracting(Generation::tokens)
          .isEqualTo(expected);
      assertAllFree(gemma, pages);
    }
  }

  private static GenerationOptions sampled(long seed) {
    return GenerationOptions.builder().seed(seed).maxTokens(40).ignoreEos(true).build();
  }

  @Test
  void chatsDoNotWaitForWhatEachOtherHolds() throws Exception {
    List<String> expected = new ArrayList<>();
    try (Gemma gemma = Goldens.load(MODEL);
        Chat chat = gemma.chat("", options(40))) {
      for (int turn = 0; turn < 3; turn++) {
        expected.add(chat.send("Who lives in the forest, and why? Turn " + turn));
      }
    }
    // A chat comes to need more than half of it, and two hold nearly all of it after two turns.
    try (Gemma gemma = load(10, LONG);
        Chat a = gemma.chat("", options(40));
        Chat b = gemma.chat("", options(40))) {
      for (int turn = 0; turn < 3; turn++) {
        String question = "Who lives in the forest, and why? Turn " + turn;
        try (ExecutorService executor = Executors.newFixedThreadPool(2)) {
          var ofA = executor.submit(() -> a.send(question));
          var ofB = executor.submit(() -> b.send(question));
          assertThat(List.of(ofA.get(), ofB.get()))
              .containsExactly(expected.get(turn), expected.get(turn));
        }
      }
    }
  }

  @Test
  void aChatClosedWhileAnotherThreadReadsIsFreedByIt() throws Exception {
    try (Gemma gemma = load(4, LONG, false)) {
      CountDownLatch reading = new CountDownLatch(1);
      CountDownLatch closed = new CountDownLatch(1);
      GenerationOptions options =
          GenerationOptions.builder()
              .ignoreEos(true)
              .processor(
                  (logits, history) -> {
                    reading.countDown();
                    try {
                      closed.await();
                    } catch (InterruptedException e) {
                      throw new IllegalStateException(e);
                    }
                  })
              .build();
      Chat chat = gemma.chat("", options);
      FutureTask<FinishReason> answer =
          new FutureTask<>(
              () -> {
                TokenStream stream = chat.stream("Hello");
                stream.forEachRemaining(token -> {});
                return stream.result().finishReason();
              });
      Thread.ofPlatform().start(answer);
      reading.await();
      chat.close();
      closed.countDown();
      assertThat(answer.get()).isEqualTo(FinishReason.CANCELLED);
      assertThat(usedBytes(gemma)).isZero(); // a chat that only rests holds what nobody asks for
      assertThat(chat.messages()).hasSize(2);
      chat.close();
    }
  }

  @Test
  void aChatIsFreedThoughADrafterFailsToClose() throws Exception {
    Speculation failing = TokenStreamTest.failingToClose("of the user");
    GenerationOptions options =
        GenerationOptions.builder().ignoreEos(true).speculation(failing).build();
    try (Gemma gemma = load(4, LONG, false)) {
      Chat chat = gemma.chat("", options);
      chat.stream("Hello").next();
      assertThatThrownBy(chat::close).hasMessage("of the user");
      assertThat(usedBytes(gemma)).isZero();
      chat.close();
    }
  }

  @Test
  void guessesThatDoNotFitAreNotTried() {
    try (Gemma gemma = load(2, LONG)) {
      int[] prompt = new int[40];
      Arrays.fill(prompt, 20);
      int end = gemma.tokenizer().eosId();
      GenerationOptions.Builder options =
          GenerationOptions.builder()
              .maxTokens(1000)
              .processor((logits, history) -> logits.set(history.size() < 62 ? 20 : end, 1e6f));
      Generation plain = gemma.generate(Prompt.ofIds(prompt), options.build());
      Generation guessed =
          gemma.generate(
              Prompt.ofIds(prompt), options.speculation(Speculation.promptLookup(8)).build());
      assertThat(guessed.tokens()).isEqualTo(plain.tokens()).hasSize(22);
      assertThat(guessed.finishReason()).isEqualTo(FinishReason.EOS);
      assertThat(guessed.usage().acceptedTokens()).isPositive();
    }
  }

  @Test
  void aChatThatTookAMessageBackGoesOnWhenItsPagesWereTaken() {
    try (Gemma roomy = Goldens.load(MODEL);
        Gemma gemma = load(6, LONG);
        Chat expected = roomy.chat("", options(20));
        Chat chat = gemma.chat("", options(20))) {
      assertThat(chat.send("Hello")).isEqualTo(expected.send("Hello"));
      chat.stream("Never read").close();
      gemma.generate(prompt(5 * PAGE + 1, 1), options(4)); // all pages
      assertThat(chat.send("More")).isEqualTo(expected.send("More"));
      assertThat(chat.messages()).isEqualTo(expected.messages());
    }
  }

  @Test
  void aPromptThatNeverFitsFailsAtOnce() {
    try (Gemma gemma = load(6, LONG);
        TokenStream other = gemma.stream(prompt(10, 1), options(1000))) {
      other.next(); // takes all
      assertThatThrownBy(() -> gemma.generate(prompt(6 * PAGE + 1, 2), options(1)))
          .isInstanceOfSatisfying(
              KvMemoryException.class,
              e -> assertThat(e.asked()).isEqualTo(e.limit() / 6 * 7).isGreaterThan(e.limit()))
          .hasMessageEndingWith(" bytes, 0 are left of kvMemory, which is " + 6 * page(gemma));
    }
  }

  @Test
  void aLimitThatNobodySetSaysWhatItIs() {
    try (Gemma gemma = Goldens.load(MODEL);
        Session session = gemma.newSession()) {
      int tokens = Integer.MAX_VALUE - PAGE;
      assertThatThrownBy(() -> session.awaitRoom(tokens, tokens, () -> false))
          .isInstanceOf(KvMemoryException.class)
          .hasMessageEndingWith(
              "kvMemory, which is "
                  + Runtime.getRuntime().maxMemory() / 2
                  + " (half of -Xmx, as LoadOptions.kvMemory was not set)");
    }
  }

  private static long page(Gemma gemma) {
    return gemma.kvMemory() / 6;
  }

  @Test
  void theTimeToWaitIsLimited() {
    try (Gemma gemma = load(6, Duration.ofMillis(50))) {
      try (TokenStream other = gemma.stream(prompt(10, 1), options(6 * PAGE - 10))) {
        other.next();
        assertThatThrownBy(() -> gemma.generate(prompt(10, 2), options(1)))
            .isInstanceOf(KvMemoryException.class)
            .hasMessage(
                "keys and values: asked for "
                    + page(gemma)
                    + " bytes, 0 are left of kvMemory, which is "
                    + 6 * page(gemma)
                    + ", after 50 ms of waiting");
        other.forEachRemaining(token -> {});
        assertThat(other.result().tokens()).hasSize(6 * PAGE - 10);
      }
      assertThat(gemma.generate(prompt(10, 2), options(1)).tokens()).hasSize(1);
      assertAllFree(gemma, 6);
    }
    assertThatThrownBy(() -> LoadOptions.defaults().withKvWait(Duration.ofMillis(-1)))
        .hasMessage("kvWait must be 0 or more, but is PT-0.001S");
  }

  @Test
  void pagesKeptForLaterPromptsGoBeforeSomebodyWaits() {
    try (Gemma gemma = load(6, Duration.ZERO)) {
      for (int seed = 0; seed < 10; seed++) {
        assertThat(gemma.generate(prompt(100, seed), options(90)).tokens()).hasSize(90);
      }
    }
  }

  @Test
  void waitingEndsByCancellingAnInterruptAndClosing() throws Exception {
    Gemma gemma = load(6, LONG);
    TokenStream other = gemma.stream(prompt(10, 1), options(1000));
    other.next();
    TokenStream stream = gemma.stream(prompt(10, 2), options(5));
    FutureTask<Boolean> cancelled = waiting(stream::hasNext);
    stream.cancel();
    assertThat(cancelled.get()).isFalse();
    assertThat(stream.result().finishReason()).isEqualTo(FinishReason.CANCELLED);

    Thread[] thread = new Thread[1];
    FutureTask<Boolean> interrupted =
        waiting(
            () -> {
              thread[0] = Thread.currentThread();
              FinishReason reason = gemma.generate(prompt(10, 3), options(5)).finishReason();
              return reason == FinishReason.CANCELLED && Thread.interrupted();
            });
    thread[0].interrupt();
    assertThat(interrupted.get()).isTrue();

    FutureTask<Generation> open = waiting(() -> gemma.generate(prompt(10, 4), options(5)));
    gemma.close();
    assertThatThrownBy(open::get)
        .hasCauseInstanceOf(IllegalStateException.class)
        .hasRootCauseMessage("model is closed");
  }

  @Test
  void aSmallTextDoesNotOvertakeALargeOneButFollowsWhenItLeaves() throws Exception {
    try (Gemma gemma = load(6, LONG, false)) {
      TokenStream first = gemma.stream(prompt(10, 1), options(4 * PAGE - 10));
      first.next(); // two pages are left
      TokenStream large = gemma.stream(prompt(10, 2), options(3 * PAGE));
      FutureTask<Boolean> largeNext = waiting(large::hasNext);
      FutureTask<Generation> small = waiting(() -> gemma.generate(prompt(10, 3), options(3)));
      large.cancel();
      assertThat(largeNext.get()).isFalse();
      assertThat(small.get().tokens()).hasSize(3);

      TokenStream all = gemma.stream(prompt(10, 2), options(6 * PAGE - 10));
      FutureTask<Boolean> allNext = waiting(all::hasNext);
      FutureTask<Generation> behind = waiting(() -> gemma.generate(prompt(10, 3), options(3)));
      first.close();
      assertThat(allNext.get()).isTrue();
      assertThat(behind.isDone()).as("there is no room beside it").isFalse();
      all.close();
      assertThat(behind.get().usage().queued()).isPositive();
      assertAllFree(gemma, 6);
    }
  }

  @Test
  void aTextThatMayOutgrowTheMemoryBeginsAndEndsWhenItDoes() {
    try (Gemma gemma = load(6, Duration.ZERO, false);
        Session session = gemma.newSession()) {
      session.append(1);
      List<Token> tokens = new ArrayList<>();
      try (TokenStream stream = gemma.stream(prompt(10, 1), options(100_000))) {
        assertThatThrownBy(() -> stream.forEachRemaining(tokens::add))
            .isInstanceOf(KvMemoryException.class)
            .hasMessageNotContaining("waiting");
      }
      // The last one is not run.
      assertThat(tokens).hasSize(5 * PAGE - 10 + 1);
      assertThat(
              gemma
                  .generate(
                      prompt(10, 1),
                      GenerationOptions.builder().constraint(Constraints.choice("yes")).build())
                  .finishReason())
          .as("what it had is free, and one that ends early fits")
          .isEqualTo(FinishReason.EOS);
    }
  }

  @Test
  void aDraftModelWithoutRoomOnlyCostsTheGuesses() {
    try (Gemma gemma = Goldens.load(MODEL);
        Gemma draft = load(1, LONG)) {
      GenerationOptions plain = options(40);
      GenerationOptions drafted =
          GenerationOptions.builder()
              .temperature(0)
              .maxTokens(40)
              .ignoreEos(true)
              .speculation(Speculation.draftModel(draft, 3))
              .build();
      Generation found = gemma.generate(prompt(10, 1), drafted);
      assertThat(found.tokens()).isEqualTo(gemma.generate(prompt(10, 1), plain).tokens());
      assertThat(found.usage().draftedTokens()).isPositive();
    }
  }

  @Test
  void whoWaitedInVainSaysForWhat() {
    try (Gemma gemma = load(6, Duration.ofMillis(50));
        TokenStream other = gemma.stream(prompt(10, 1), options(4 * PAGE - 9))) {
      other.next(); // two pages are left
      assertThatThrownBy(() -> gemma.generate(prompt(10, 2), options(3 * PAGE - 9)))
          .isInstanceOfSatisfying(
              KvMemoryException.class, e -> assertThat(e.asked()).isEqualTo(3 * page(gemma)))
          .hasMessage(
              "keys and values: asked for %d bytes, %d are left of kvMemory, which is %d, after 50 ms"
                      .formatted(3 * page(gemma), 2 * page(gemma), 6 * page(gemma))
                  + " of waiting; the prompt needs %d, so that a smaller maxTokens may fit"
                      .formatted(page(gemma)));
    }
  }
}
