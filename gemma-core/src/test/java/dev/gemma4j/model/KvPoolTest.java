package dev.gemma4j.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.kernel.KvLayout;
import dev.gemma4j.loader.Checkpoint;
import java.io.IOException;
import java.lang.reflect.Field;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A pool of four pages. */
@Timeout(60)
class KvPoolTest {
  private static final int PAGE = KvCache.PAGE_SIZE;
  private static KvCache.Shape shape;

  private final KvPool pool = new KvPool(shape, 4 * shape.pageBytes(), true);

  @BeforeAll
  static void readShape() throws IOException, URISyntaxException {
    var url = KvPoolTest.class.getResource("/dev/gemma4j/forward/gemma-mqa-f32");
    try (Checkpoint checkpoint = Checkpoint.open(Path.of(Objects.requireNonNull(url).toURI()))) {
      shape = new KvCache.Shape(checkpoint.config(), KvLayout.Type.F32);
    }
  }

  /** A sequence of so many pages. */
  private KvCache cache(int pages) {
    KvCache cache = new KvCache(pool, null);
    cache.reserve(0, pages * PAGE);
    return cache;
  }

  private void assertAllFree() {
    KvCache all = cache(4);
    assertThat(pool.usedBytes()).isEqualTo(4 * shape.pageBytes());
    all.close();
    assertThat(pool.usedBytes()).isZero();
  }

  @Test
  void aPageRememberedBehindOneThatWasForgottenIsNotLost() {
    int[] tokens = IntStream.range(0, 2 * PAGE).toArray();
    int[] others = IntStream.range(0, 2 * PAGE).map(i -> i < PAGE ? i : 7).toArray();
    KvCache first = cache(2);
    KvCache second = cache(2); // its first page is computed at the same time, to the same
    first.remember(tokens, 2 * PAGE);
    second.remember(others, 2 * PAGE); // its second page, behind the other's first
    first.close();
    cache(2).close(); // makes the pool forget what the first left
    second.remember(others, 2 * PAGE); // now both of its pages
    second.close();
    assertAllFree();
  }

  @Test
  void whatWasMadeBeforeTheFailureIsFreed() throws ReflectiveOperationException {
    KvCache other = cache(2);
    Field idle = KvPool.class.getDeclaredField("idle");
    idle.setAccessible(true);
    idle.setLong(pool, 2); // which is wrong, so that it fails after two pages
    assertThatThrownBy(() -> cache(4)).isInstanceOf(IllegalStateException.class);
    idle.setLong(pool, 0);
    assertThat(pool.usedBytes()).isEqualTo(2 * shape.pageBytes());
    other.close();
    assertAllFree();
  }

  @Test
  void whatIsTakenTwiceIsGone() {
    KvCache chat = cache(2);
    KvCache other = cache(2);
    chat.rest();
    other.rest();
    KvCache text = new KvCache(pool, null);
    assertThat(text.tryRoom(2 * PAGE, 2 * PAGE)).isTrue(); // takes the chat's pages
    chat.rest(); // a message that was taken back
    assertThat(other.wake()).isTrue();
    other.rest();
    assertThat(new KvCache(pool, null).tryRoom(2 * PAGE, 2 * PAGE)).isTrue();
    assertThat(chat.wake()).isFalse();
    assertThat(other.wake()).isFalse();
  }

  @Test
  void pagesThatRestingSequencesShareCountOnce() {
    KvCache chat = cache(2);
    KvCache other = chat.fork();
    chat.rest();
    other.rest();
    KvCache text = new KvCache(pool, null);
    assertThat(text.tryRoom(1, 100 * PAGE)).isTrue();
    text.reserve(0, 4 * PAGE);
    text.close();
    assertAllFree();
  }

  @Test
  void pagesThatSomebodyElseUsesDoNotCount() {
    KvCache chat = cache(3);
    KvCache session = chat.fork();
    chat.rest();
    KvCache text = new KvCache(pool, null);
    assertThat(text.tryRoom(1, 100 * PAGE)).isTrue();
    text.reserve(0, PAGE); // all that the session leaves
    assertThat(chat.wake()).isTrue();
    chat.close();
    session.close();
    text.close();
    assertAllFree();
  }

  @Test
  void nobodyLosesPagesWhereAllTogetherAreTooFew() {
    KvCache session = cache(2);
    KvCache chat = cache(1);
    chat.rest();
    assertThat(new KvCache(pool, null).tryRoom(3 * PAGE, 3 * PAGE)).isFalse();
    assertThat(chat.wake()).isTrue();
    session.close();
    chat.close();
    assertAllFree();
  }

  @Test
  void aClosedPoolKeepsNothingThatNoSequenceNeeds() {
    int[] tokens = IntStream.range(0, PAGE).toArray();
    int[] others = IntStream.range(1, 1 + PAGE).toArray();
    KvCache text = cache(1);
    KvPool.Page left = text.pages()[0];
    text.remember(tokens, PAGE);
    text.close();
    KvCache session = cache(1);
    session.remember(others, PAGE);
    KvCache chat = cache(1);
    chat.rest();
    KvCache busyChat = cache(1);
    pool.close();
    assertThat(pool.usedBytes()).isEqualTo(2 * shape.pageBytes());
    assertThat(left.data.scope().isAlive()).isFalse();
    assertThat(chat.wake()).isFalse();
    busyChat.rest();
    session.remember(tokens, PAGE);
    session.close();
    assertThat(pool.usedBytes()).isZero();
  }

  /** Thousands of virtual threads may wait: to wake all for each that goes on costs too much. */
  @Test
  void whoGetsRoomWakesAlone() throws InterruptedException {
    int count = 50;
    KvCache first = new KvCache(pool, null);
    assertThat(first.tryRoom(4 * PAGE, 4 * PAGE)).isTrue();
    LongAdder looks = new LongAdder();
    List<Thread> waiting = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      CountDownLatch queued = new CountDownLatch(1);
      waiting.add(
          Thread.startVirtualThread(
              () -> {
                KvCache text = new KvCache(pool, null);
                text.awaitRoom(
                    4 * PAGE,
                    4 * PAGE,
                    Long.MAX_VALUE,
                    () -> {
                      queued.countDown();
                      looks.increment();
                      return false;
                    });
                LockSupport.parkNanos(2_000_000); // time for others to look, if they were woken
                text.close();
              }));
      queued.await();
    }
    first.close();
    for (Thread thread : waiting) {
      thread.join();
    }
    assertThat(looks.sum()).isLessThan(4 * count); // a thread may wake by itself, too
    assertAllFree();
  }

  @Test
  void whoIsCancelledWakesAlone() throws InterruptedException {
    int count = 50;
    KvCache first = new KvCache(pool, null);
    assertThat(first.tryRoom(4 * PAGE, 4 * PAGE)).isTrue();
    LongAdder looks = new LongAdder();
    AtomicIntegerArray cancelled = new AtomicIntegerArray(count);
    List<Thread> waiting = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int index = i;
      CountDownLatch queued = new CountDownLatch(1);
      waiting.add(
          Thread.startVirtualThread(
              () -> {
                Thread me = Thread.currentThread();
                BooleanSupplier asked =
                    () -> {
                      queued.countDown();
                      if (Thread.currentThread() == me) {
                        looks.increment();
                      }
                      return cancelled.get(index) == 1;
                    };
                KvCache text = new KvCache(pool, null);
                assertThatThrownBy(() -> text.awaitRoom(PAGE, PAGE, Long.MAX_VALUE, asked))
                    .isInstanceOf(CancellationException.class);
                cancelled.set(index, 2);
              }));
      queued.await();
    }
    for (int i = 0; i < count; i++) {
      cancelled.set(i, 1);
      pool.wakeUp();
      waiting.get(i).join();
      assertThat(cancelled.get(i)).isEqualTo(2);
    }
    assertThat(looks.sum()).isLessThan(5 * count); // when they came and went, or woke by themselves
    first.close();
    assertAllFree();
  }
}
