package dev.gemma4j.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

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
  void eachTurnIsTakenOnceByOneMemberAtATime() {
    for (int threads : new int[] {1, 2, 3}) {
      try (WorkerPool pool = WorkerPool.start(threads, "test")) {
        int[] plain = new int[7];
        AtomicIntegerArray busy = new AtomicIntegerArray(threads);
        for (int round = 0; round < 1000; round++) {
          pool.turns(
              7,
              (part, parts, member) -> {
                assertThat(parts).isEqualTo(7);
                assertThat(busy.incrementAndGet(member)).isEqualTo(1);
                plain[part]++;
                busy.decrementAndGet(member);
              });
        }
        assertThat(plain).containsOnly(1000);
      }
    }
  }

  @Test
  void aMemberThatIsHeldUpTakesFewerTurns() {
    try (WorkerPool pool = WorkerPool.start(2, "test")) {
      AtomicInteger left = new AtomicInteger(9);
      pool.turns(
          10,
          (part, parts, member) -> {
            if (part == 0) {
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
              one.turns(5, (part, parts, member) -> turns[caller]++);
            }
          });
      assertThat(split).containsOnly(50_000);
      assertThat(turns).containsOnly(50_000);
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
          assertThat(ran.get(part)).isEqualTo(1);
        }
      }
    }
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
