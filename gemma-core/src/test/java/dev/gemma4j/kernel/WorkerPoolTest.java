package dev.gemma4j.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class WorkerPoolTest {
  @Test
  void eachPartRunsOnceAndIsSeenAfterwards() {
    for (int threads : new int[] {1, 2, 3, 8}) {
      try (WorkerPool pool = WorkerPool.start(threads, "test")) {
        assertThat(pool.size()).isEqualTo(threads);
        int[] plain = new int[threads];
        for (int round = 0; round < 2000; round++) {
          pool.run((part, parts) -> plain[part]++);
        }
        assertThat(plain).containsOnly(2000);
      }
    }
  }

  @Test
  void threadsThatCannotAllBeStartedEnd() throws InterruptedException {
    Error none = new OutOfMemoryError("for the test");
    List<Thread> started = new ArrayList<>();
    assertThatThrownBy(
            () ->
                WorkerPool.start(
                    8,
                    work -> {
                      if (started.size() == 3) {
                        throw none;
                      }
                      started.add(Thread.ofPlatform().daemon().unstarted(work));
                      return started.getLast();
                    }))
        .isSameAs(none);
    assertThat(started).hasSize(3);
    for (Thread thread : started) {
      assertThat(thread.join(Duration.ofSeconds(20))).isTrue();
    }
  }

  @Test
  void turnsCoverTheTaskOnceInEverSmallerParts() {
    for (int threads : new int[] {1, 2, 3, 5}) {
      try (WorkerPool pool = WorkerPool.start(threads, "test")) {
        for (int halvings : new int[] {0, 1, 6}) {
          int finest = threads << halvings;
          AtomicIntegerArray covered = new AtomicIntegerArray(finest);
          AtomicIntegerArray busy = new AtomicIntegerArray(threads);
          AtomicInteger parts = new AtomicInteger();
          for (int round = 0; round < 200; round++) {
            pool.turns(
                halvings,
                (part, of, member) -> {
                  assertThat(busy.incrementAndGet(member)).isEqualTo(1);
                  for (int i = part * finest / of; i < (part + 1) * finest / of; i++) {
                    covered.incrementAndGet(i);
                  }
                  parts.incrementAndGet();
                  busy.decrementAndGet(member);
                });
          }
          for (int i = 0; i < finest; i++) {
            assertThat(covered.get(i)).isEqualTo(200);
          }
          assertThat(parts.get()).isEqualTo(200 * (threads == 1 ? 1 : (halvings + 1) * threads));
        }
      }
    }
  }

  @Test
  void aMemberThatIsHeldUpTakesFewerTurns() {
    try (WorkerPool pool = WorkerPool.start(2, "test")) {
      AtomicInteger left = new AtomicInteger(9);
      pool.turns(
          4,
          (part, parts, member) -> {
            if (part == 0 && parts == 4) { // the first of all
              while (left.get() > 0) { // until the other has taken all the rest
                Thread.onSpinWait();
              }
            } else {
              left.decrementAndGet();
            }
          });
      assertThat(left.get()).isZero();
    }
  }

  @Test
  void aPoolOfOneServesManyCallersAtTheSameTime() {
    try (WorkerPool one = WorkerPool.start(1, "shared");
        WorkerPool callers = WorkerPool.start(3, "test")) {
      int[] split = new int[3];
      int[] turns = new int[3];
      callers.run(
          (caller, count) -> {
            for (int round = 0; round < 10_000; round++) {
              one.split(5, (from, to) -> split[caller] += to - from);
              one.turns(4, (part, parts, member) -> turns[caller]++);
            }
          });
      assertThat(split).containsOnly(50_000);
      assertThat(turns).containsOnly(10_000);
    }
  }

  @Test
  void aFailingPartFailsTheCallAndLeavesThePoolUsable() {
    try (WorkerPool pool = WorkerPool.start(3, "test")) {
      for (int bad = 0; bad < 3; bad++) {
        int failing = bad;
        AtomicIntegerArray ran = new AtomicIntegerArray(3);
        assertThatThrownBy(
                () ->
                    pool.run(
                        (part, parts) -> {
                          ran.incrementAndGet(part);
                          if (part == failing) {
                            throw new IllegalArgumentException("part " + part);
                          }
                        }))
            .isInstanceOf(IllegalArgumentException.class)
            .hasMessage("part " + failing);
        for (int part = 0; part < 3; part++) {
          assertThat(ran.get(part)).isLessThanOrEqualTo(1); // some are spared
        }
        pool.run((part, parts) -> ran.set(part, 2));
        assertThat(ran).hasToString("[2, 2, 2]");
      }
    }
  }

  @Test
  @Timeout(300) // a hang; it takes seconds
  void aCallerAtTheEndOfItsStackLeavesNoWorkerAtTheTask() throws InterruptedException {
    AtomicInteger working = new AtomicInteger();
    AtomicInteger overflows = new AtomicInteger();
    AtomicInteger leftBehind = new AtomicInteger();
    AtomicInteger wrong = new AtomicInteger();
    try (WorkerPool pool = WorkerPool.start(3, "test")) {
      WorkerPool.Task slow =
          (part, parts) -> {
            if (Thread.currentThread().getName().startsWith("test-")) {
              working.incrementAndGet();
              pause();
              working.decrementAndGet();
            }
          };
      Runnable nearTheEnd =
          () -> {
            while (overflows.get() == 0) { // frames change their size when they are compiled
              int most = deepest();
              for (int depth = most - 60; depth < most + 20; depth++) {
                try {
                  atDepth(depth, () -> pool.run(slow));
                } catch (StackOverflowError
                    | IllegalStateException e) { // the latter in its own part
                  overflows.incrementAndGet();
                  leftBehind.addAndGet(working.get());
                }
                AtomicInteger parts = new AtomicInteger();
                pool.run((part, of) -> parts.incrementAndGet());
                wrong.addAndGet(parts.get() == 3 ? 0 : 1);
              }
            }
          };
      Thread caller = new Thread(null, nearTheEnd, "caller", 512 * 1024);
      caller.setDaemon(true);
      caller.start();
      caller.join();
    }
    assertThat(overflows.get()).isPositive();
    assertThat(leftBehind.get()).isZero();
    assertThat(wrong.get()).isZero();
  }

  /** To within 20 frames, as each is tried from the top. */
  private static int deepest() {
    int depth = 0;
    while (true) {
      try {
        atDepth(depth + 20, () -> {});
        depth += 20;
      } catch (StackOverflowError e) {
        return depth;
      }
    }
  }

  private static int atDepth(int frames, Runnable task) {
    if (frames > 0) {
      return 1 + atDepth(frames - 1, task);
    }
    task.run();
    return 0;
  }

  @Test
  void anInterruptedCallerStillFinishesAndStaysInterrupted() {
    try (WorkerPool pool = WorkerPool.start(2, "test")) {
      AtomicInteger sum = new AtomicInteger();
      Thread.currentThread().interrupt();
      pool.run(
          (part, parts) -> {
            if (part == 1) {
              pause();
            }
            sum.incrementAndGet();
          });
      assertThat(sum.get()).isEqualTo(2);
      assertThat(Thread.interrupted()).isTrue();
    }
  }

  @Test
  void workersWakeAfterAPause() {
    try (WorkerPool pool = WorkerPool.start(2, "test")) {
      AtomicInteger sum = new AtomicInteger();
      for (int i = 0; i < 5; i++) {
        pause();
        pool.run((part, parts) -> sum.incrementAndGet());
      }
      assertThat(sum.get()).isEqualTo(10);
    }
  }

  private static void pause() {
    try {
      Thread.sleep(20);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
