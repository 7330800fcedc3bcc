package dev.gemma4j;

import static dev.gemma4j.ForwardGoldenTest.assertClose;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.sampling.Logits;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class SessionTest {
  private static Gemma gemma;

  @BeforeAll
  static void load() {
    gemma = Goldens.load("gemma-gqa-f32", LoadOptions.defaults().withContextLength(128));
  }

  @AfterAll
  static void close() {
    gemma.close();
  }

  private static int[] ids(int seed, int count) {
    return new Random(seed).ints(count, 0, 512).toArray();
  }

  private static float[] logitsOf(int... ids) {
    try (Session session = gemma.newSession()) {
      return session.append(ids).toArray();
    }
  }

  private static int[] concat(int[] a, int... b) {
    return ChatTemplate.concat(a, b);
  }

  @Test
  void truncateForgets() {
    int[] start = ids(1, 40);
    int[] other = ids(3, 9);
    try (Session session = gemma.newSession()) {
      session.append(start);
      session.append(ids(2, 50));
      session.truncate(40);
      assertThat(session.position()).isEqualTo(40);
      assertThat(session.tokens()).isEqualTo(start);
      assertClose(
          session.append(other).toArray(), logitsOf(concat(start, other)), "after truncation");
      session.truncate(0);
      assertClose(session.append(other).toArray(), logitsOf(other), "after truncation to nothing");
      assertThatThrownBy(() -> session.truncate(10))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("10");
      assertThatThrownBy(() -> session.truncate(-1)).isInstanceOf(IllegalArgumentException.class);
    }
  }

  @Test
  void forksGoTheirOwnWays() {
    int[] start = ids(4, 45); // ends within a page, so that the forks share a page they write to
    List<Session> sessions = new ArrayList<>();
    Session root = gemma.newSession();
    root.append(start);
    for (int i = 0; i < 4; i++) {
      sessions.add(i % 2 == 0 ? root.fork() : sessions.get(i - 1).fork());
    }
    root.close(); // the forks keep what they share
    for (int i = 0; i < 4; i++) {
      sessions.get(i).append(ids(10 + i, 5 + i));
    }
    for (int i = 0; i < 4; i++) {
      assertClose(
          sessions.get(i).append(7).toArray(),
          logitsOf(concat(concat(start, ids(10 + i, 5 + i)), 7)),
          "fork " + i);
      sessions.get(i).close();
    }
  }

  @Test
  void randomEditsEqualAFreshSession() {
    Random random = new Random(5);
    try (Session session = gemma.newSession()) {
      for (int round = 0; round < 60; round++) {
        int position = session.position();
        if (position > 0 && random.nextInt(3) == 0) {
          session.truncate(random.nextInt(position + 1));
        } else if (position < 100) {
          float[] found = session.append(ids(round, 1 + random.nextInt(20))).toArray();
          assertClose(found, logitsOf(session.tokens()), "round " + round);
        } else {
          session.truncate(position / 2);
        }
      }
    }
  }

  @Test
  void oneStepServesManySessions() {
    List<Session> sessions = new ArrayList<>();
    int[] next = new int[9];
    for (int i = 0; i < next.length; i++) {
      sessions.add(gemma.newSession());
      sessions.get(i).append(ids(20 + i, 1 + 7 * i));
      next[i] = 50 + i;
    }
    List<Logits> logits = gemma.decode(sessions, next);
    for (int i = 0; i < next.length; i++) {
      assertClose(
          logits.get(i).toArray(), logitsOf(concat(ids(20 + i, 1 + 7 * i), next[i])), "row " + i);
      assertThat(sessions.get(i).position()).isEqualTo(2 + 7 * i);
    }
    assertThatThrownBy(() -> gemma.decode(List.of(sessions.get(0), sessions.get(0)), 1, 2))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("different sessions");
    assertThatThrownBy(() -> gemma.decode(sessions, 1)).hasMessageContaining("9 sessions");
    sessions.get(1).close();
    assertThatThrownBy(() -> gemma.decode(sessions, next))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("session is closed");
    // The failed step left the others as they were.
    assertThat(sessions.get(0).position()).isEqualTo(2);
    assertClose(
        sessions.get(0).append(60).toArray(),
        logitsOf(concat(ids(20, 1), next[0], 60)),
        "after a failed step");
    sessions.forEach(Session::close);
  }

  @Test
  void whatDoesNotFitChangesNothing() {
    try (Session session = gemma.newSession()) {
      session.append(ids(6, 120));
      assertThatThrownBy(() -> session.append(ids(7, 9)))
          .isInstanceOf(ContextLengthException.class)
          .hasMessageContaining("120")
          .hasMessageContaining("128");
      assertThat(session.position()).isEqualTo(120);
      session.append(ids(7, 8));
      assertThat(session.position()).isEqualTo(128);
      assertThatThrownBy(() -> session.append(1)).isInstanceOf(ContextLengthException.class);
    }
  }

  @Test
  void badIdsAreRefused() {
    try (Session session = gemma.newSession()) {
      for (int id : new int[] {-1, 512, Integer.MAX_VALUE, Integer.MIN_VALUE}) {
        assertThatThrownBy(() -> session.append(3, id))
            .isInstanceOf(IllegalArgumentException.class)
            .hasMessage("token id must be in [0, 512), but is " + id);
      }
      assertThatThrownBy(session::append)
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("no tokens to append");
      assertThat(session.position()).isZero();
    }
  }

  @Test
  void aClosedSessionSaysSo() {
    Session session = gemma.newSession();
    session.append(1);
    session.close();
    session.close();
    assertThatThrownBy(() -> session.append(1)).hasMessage("session is closed");
    assertThatThrownBy(session::fork).isInstanceOf(IllegalStateException.class);
    assertThatThrownBy(() -> session.truncate(0)).isInstanceOf(IllegalStateException.class);
  }

  @Test
  void useByTwoThreadsAtOnceSaysSo() throws InterruptedException {
    try (Session session = gemma.newSession()) {
      CountDownLatch inside = new CountDownLatch(1);
      CountDownLatch leave = new CountDownLatch(1);
      Thread other =
          Thread.ofPlatform()
              .start(
                  () ->
                      session.append(
                          new int[] {1, 2},
                          (i, logits) -> {
                            inside.countDown();
                            await(leave);
                          }));
      await(inside);
      assertThatThrownBy(() -> session.append(1))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("session is used by two threads at once");
      leave.countDown();
      other.join();
      assertThat(session.append(3).size()).isEqualTo(512);
    }
  }

  private static void await(CountDownLatch latch) {
    try {
      assertThat(latch.await(20, TimeUnit.SECONDS)).isTrue();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @Test
  void logitsOfAllRowsEqualTheRowsAlone() {
    int[] ids = ids(8, 70); // more than one internal group of rows
    float[][] rows = new float[ids.length][];
    try (Session session = gemma.newSession()) {
      session.append(ids, (i, logits) -> rows[i] = logits.toArray());
      assertThat(session.position()).isEqualTo(70);
    }
    for (int i : new int[] {0, 31, 32, 69}) {
      assertClose(rows[i], logitsOf(Arrays.copyOf(ids, i + 1)), "row " + i);
    }
  }

  @Test
  void whateverEndsAnAppendLeavesTheSessionAsItWas() {
    int[] start = ids(9, 20);
    try (Session session = gemma.newSession()) {
      session.append(start);
      for (int failing : new int[] {0, 31, 50}) {
        assertThatThrownBy(
                () ->
                    session.append(
                        ids(10, 60),
                        (i, logits) -> {
                          if (i == failing) {
                            throw new UnsupportedOperationException("of the visitor");
                          }
                        }))
            .hasMessage("of the visitor");
        assertThat(session.position()).isEqualTo(20);
      }
      assertThatThrownBy(
              () ->
                  session.append(
                      ids(10, 60),
                      (i, logits) -> {
                        if (i == 31) {
                          Thread.currentThread().interrupt();
                        }
                      }))
          .isInstanceOf(CancellationException.class);
      assertThat(Thread.interrupted()).isTrue();
      assertThat(session.tokens()).isEqualTo(start);
      assertClose(session.append(7).toArray(), logitsOf(concat(start, 7)), "after them all");
    }
  }

  @Test
  void aVisitorMustNotUseItsSession() {
    try (Session session = gemma.newSession()) {
      assertThatThrownBy(() -> session.append(new int[] {1, 2}, (i, logits) -> session.append(3)))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("session is used by the visitor that it is calling");
    }
  }
}
