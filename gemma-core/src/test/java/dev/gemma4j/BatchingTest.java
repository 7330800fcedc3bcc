package dev.gemma4j;

import static dev.gemma4j.ForwardGoldenTest.assertClose;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.model.Scheduler;
import java.util.AbstractList;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Many callers at once: each gets what it would get alone, whatever happens to the others. */
@Timeout(120)
class BatchingTest {
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

  private static Prompt prompt(int caller) {
    // From one token to several chunks of a prefill that decodes run beside.
    int length = caller % 4 == 3 ? 300 + 50 * caller : 1 + 5 * caller;
    return Prompt.ofIds(new Random(caller).ints(length, 3, 512).toArray());
  }

  private static GenerationOptions options(int caller) {
    GenerationOptions.Builder options =
        GenerationOptions.builder().maxTokens(20 + caller).ignoreEos(true).seed(caller);
    return (caller % 2 == 0 ? options.temperature(0) : options.temperature(1).topP(0.9f)).build();
  }

  private static List<Integer> alone(int caller) {
    return gemma.generate(prompt(caller), options(caller)).tokens();
  }

  @Test
  void everyCallerGetsWhatItWouldGetAlone() throws Exception {
    List<List<Integer>> expected = new ArrayList<>();
    for (int i = 0; i < 12; i++) {
      expected.add(alone(i));
    }
    for (ExecutorService executor :
        List.of(Executors.newFixedThreadPool(12), Executors.newVirtualThreadPerTaskExecutor())) {
      try (executor) {
        List<Future<List<Integer>>> found = new ArrayList<>();
        for (int i = 0; i < 12; i++) {
          int caller = i;
          found.add(executor.submit(() -> alone(caller)));
        }
        for (int i = 0; i < 12; i++) {
          assertThat(found.get(i).get()).as("caller %d", i).isEqualTo(expected.get(i));
        }
      }
    }
  }

  @Test
  void sessionsOfSeveralThreadsShareThePasses() throws Exception {
    int[][] expected = new int[6][];
    for (int i = 0; i < 6; i++) {
      expected[i] = greedy(i);
    }
    try (ExecutorService executor = Executors.newFixedThreadPool(6)) {
      List<Future<int[]>> found = new ArrayList<>();
      for (int i = 0; i < 6; i++) {
        int caller = i;
        found.add(executor.submit(() -> greedy(caller)));
      }
      for (int i = 0; i < 6; i++) {
        assertThat(found.get(i).get()).isEqualTo(expected[i]);
      }
    }
  }

  private static int[] greedy(int caller) {
    try (Session session = gemma.newSession()) {
      int[] ids = new int[30];
      int next = 10 + caller;
      for (int i = 0; i < ids.length; i++) {
        next = session.append(next).argmax();
        ids[i] = next;
      }
      return ids;
    }
  }

  @Test
  void whatEndsEarlyDoesNotHurtTheOthers() throws Exception {
    List<Integer> expected = alone(6);
    try (ExecutorService executor = Executors.newCachedThreadPool()) {
      for (int round = 0; round < 5; round++) {
        CountDownLatch started = new CountDownLatch(4);
        Future<FinishReason> cancelled = executor.submit(() -> cancelledHalfWay(started));
        Future<?> failing = executor.submit(() -> failingHalfWay(started));
        Future<FinishReason> interrupted = executor.submit(() -> endless(started));
        Future<List<Integer>> unharmed =
            executor.submit(
                () -> {
                  started.countDown();
                  return alone(6);
                });
        started.await();
        assertThat(unharmed.get()).isEqualTo(expected);
        interrupted.cancel(true);
        assertThat(cancelled.get()).isEqualTo(FinishReason.CANCELLED);
        assertThatThrownBy(failing::get).hasRootCauseMessage("of the user");
        assertThat(alone(6)).isEqualTo(expected);
      }
    }
  }

  private static FinishReason cancelledHalfWay(CountDownLatch started) {
    try (TokenStream stream =
        gemma.stream(
            prompt(7), GenerationOptions.builder().maxTokens(5000).ignoreEos(true).build())) {
      started.countDown();
      Thread.ofVirtual().start(stream::cancel);
      stream.forEachRemaining(token -> {});
      return stream.result().finishReason();
    }
  }

  private static void failingHalfWay(CountDownLatch started) {
    started.countDown();
    int[] calls = {0};
    gemma.generate(
        Prompt.ofIds(2, 5),
        GenerationOptions.builder()
            .sampler(
                (logits, random) -> {
                  if (++calls[0] == 5) {
                    throw new UnsupportedOperationException("of the user");
                  }
                  return 7;
                })
            .build());
  }

  private static FinishReason endless(CountDownLatch started) {
    started.countDown();
    return gemma
        .generate(
            Prompt.ofIds(2, 9), GenerationOptions.builder().maxTokens(8000).ignoreEos(true).build())
        .finishReason();
  }

  @Test
  void anInterruptedAppendLeavesTheSessionAsItWas() {
    try (Session session = gemma.newSession()) {
      session.append(1, 2, 3);
      float[] expected = session.append(4).toArray();
      session.truncate(3);
      Thread.currentThread().interrupt();
      assertThatThrownBy(() -> session.append(9)).isInstanceOf(CancellationException.class);
      assertThat(Thread.interrupted()).isTrue();
      assertThat(session.position()).isEqualTo(3);
      assertClose(session.append(4).toArray(), expected, "after the interrupt");
    }
  }

  @Test
  void aSessionOfAnotherModelIsRefusedAndHurtsNobody() {
    List<Integer> expected = alone(6);
    try (Gemma other = Goldens.load(MODEL);
        Session foreign = other.newSession();
        Session own = gemma.newSession()) {
      foreign.append(1);
      assertThatThrownBy(() -> gemma.decode(List.of(own, foreign), 2, 3))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("a session is of another model");
      assertThat(foreign.append(2).size()).isEqualTo(512);
      assertThat(own.append(2).size()).isEqualTo(512);
    }
    assertThat(alone(6)).isEqualTo(expected);
  }

  @Test
  void idsThatChangeAfterTheyWereCheckedChangeNothing() {
    int[] ids = new Random(1).ints(300, 3, 512).toArray(); // more than one pass
    int[] before = ids.clone();
    try (Session session = gemma.newSession();
        Session other = gemma.newSession()) {
      session.append(ids, (i, logits) -> ids[299] = 1 << 30);
      assertThat(session.tokens()).isEqualTo(before);
      session.truncate(0);
      ids[299] = before[299];
      session.append(
          ids,
          () -> {
            ids[299] = 1 << 30;
            return false;
          });
      assertThat(session.tokens()).isEqualTo(before);
      int[] two = {5, 6};
      List<Session> sessions =
          new AbstractList<>() {
            @Override
            public Session get(int index) {
              two[0] = 1 << 30;
              return index == 0 ? session : other;
            }

            @Override
            public int size() {
              return 2;
            }
          };
      gemma.decode(sessions, two);
      assertThat(session.tokens()).endsWith(5);
      assertThat(other.tokens()).containsExactly(6);
    }
  }

  @Test
  void aPassThatCannotBeMadeFailsAndTheNextOneRuns() throws Exception {
    List<Integer> expected = alone(6);
    try (ExecutorService executor = Executors.newCachedThreadPool()) {
      for (int round = 0; round < 20; round++) {
        Future<List<Integer>> other = executor.submit(() -> alone(6)); // may be in that pass
        try (Session session = gemma.newSession()) {
          Scheduler.Request request =
              session.request(
                  new int[] {1, 2},
                  0,
                  2,
                  i -> {
                    throw new OutOfMemoryError("for the test");
                  },
                  () -> false);
          assertThatThrownBy(() -> gemma.run(List.of(request)))
              .isInstanceOf(OutOfMemoryError.class)
              .hasMessage("for the test");
        }
        try {
          assertThat(other.get()).isEqualTo(expected);
        } catch (ExecutionException e) {
          assertThat(e).hasRootCauseMessage("for the test");
        }
        assertThat(alone(6)).isEqualTo(expected);
      }
    }
  }
}
