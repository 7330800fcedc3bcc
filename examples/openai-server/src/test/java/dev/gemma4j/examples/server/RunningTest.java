package dev.gemma4j.examples.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class RunningTest {
  @Test
  void longWorkLeavesVirtualThreadsTheirProcessors() {
    AtomicBoolean virtual = new AtomicBoolean(true);
    new Running().apart(() -> virtual.set(Thread.currentThread().isVirtual()));
    assertThat(virtual).isFalse();
    RuntimeException failure = new IllegalArgumentException("no");
    assertThatThrownBy(
            () ->
                new Running()
                    .apart(
                        () -> {
                          throw failure;
                        }))
        .isSameAs(failure);
  }

  @Test
  void whatCancelsARequestInterruptsItsWork() throws Exception {
    Running running = new Running();
    RuntimeException late = new IllegalStateException("late");
    CountDownLatch begun = new CountDownLatch(1);
    CountDownLatch interrupted = new CountDownLatch(1);
    Thread.ofVirtual()
        .start(
            () -> {
              try {
                begun.await();
              } catch (InterruptedException e) {
                throw new AssertionError(e);
              }
              running.cancel(late);
            });
    assertThatThrownBy(
            () ->
                running.apart(
                    () -> {
                      begun.countDown();
                      while (!Thread.currentThread().isInterrupted()) {
                        Thread.onSpinWait();
                      }
                      interrupted.countDown();
                    }))
        .isSameAs(late);
    interrupted.await();
    assertThatThrownBy(() -> running.apart(() -> {})).isSameAs(late);
  }
}
