package dev.gemma4j.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.gemma4j.kernel.KernelProvider;
import dev.gemma4j.kernel.Kernels;
import dev.gemma4j.kernel.KvLayout;
import dev.gemma4j.kernel.WorkerPool;
import dev.gemma4j.loader.Checkpoint;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.function.IntConsumer;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What a pass that fails in its leader's thread does to those who share it. */
@Timeout(60)
class SchedulerTest {
  private final Kernels plain = KernelProvider.scalar();
  private final Arena arena = Arena.ofShared();
  private final WorkerPool workers = WorkerPool.start(1, "test");
  private Checkpoint checkpoint;
  private KvPool pool;
  private Scheduler scheduler;
  private int vocabSize;
  private volatile IntConsumer beforeRow = token -> {};

  @BeforeEach
  void open() throws IOException, URISyntaxException {
    var url = SchedulerTest.class.getResource("/dev/gemma4j/forward/gemma-mqa-f32");
    checkpoint = Checkpoint.open(Path.of(Objects.requireNonNull(url).toURI()));
    vocabSize = checkpoint.config().vocabSize();
    Weights weights =
        new WeightsBuilder(checkpoint, null, null, false, plain, arena, workers)
            .build((done, total) -> {});
    Kernels kernels =
        (Kernels)
            Proxy.newProxyInstance(
                Kernels.class.getClassLoader(),
                new Class<?>[] {Kernels.class},
                (proxy, method, args) -> {
                  if (method.getName().equals("embed")) {
                    beforeRow.accept((Integer) args[1]);
                  }
                  try {
                    return method.invoke(plain, args);
                  } catch (InvocationTargetException e) {
                    throw e.getCause();
                  }
                });
    KvCache.Shape shape = new KvCache.Shape(checkpoint.config(), KvLayout.Type.F32);
    pool = new KvPool(shape, 10 * shape.pageBytes(), false);
    scheduler = new Scheduler(new GemmaForward(weights, kernels, workers), shape);
  }

  @AfterEach
  void close() throws IOException {
    scheduler.close();
    workers.close();
    arena.close();
    checkpoint.close();
  }

  /** The logits after a token and the one that follows it. */
  private float[] run(int id) {
    return run(id, 2);
  }

  /** The logits after so many tokens, each one more than the one before it. */
  private float[] run(int id, int count) {
    float[] logits = new float[vocabSize];
    int[] ids = IntStream.range(id, id + count).toArray();
    try (KvCache cache = new KvCache(pool, null)) {
      cache.reserve(0, count);
      scheduler.run(
          List.of(
              new Scheduler.Request(
                  scheduler.newCaller(),
                  cache,
                  ids,
                  0,
                  count,
                  0,
                  i -> i == count - 1 ? logits : null,
                  () -> false)));
    }
    return logits;
  }

  /** What three threads get of {@link #run(int)} that share a pass, which fails in the first. */
  private List<FutureTask<float[]>> runThreeOfWhichTheFirstLeads(Error failure)
      throws InterruptedException {
    return runThree(
        new int[] {2, 2, 2},
        token -> {
          if (Thread.currentThread().getName().equals("caller 0")) {
            throw failure;
          }
        });
  }

  /**
   * What three threads get of {@link #run(int, int)} that share a pass. The first one leads it.
   *
   * @param counts of each thread's tokens, the first of which is ten times its number
   * @param then called for each row of that pass and of later ones
   */
  private List<FutureTask<float[]>> runThree(int[] counts, IntConsumer then)
      throws InterruptedException {
    CountDownLatch underWay = new CountDownLatch(1);
    CountDownLatch gathered = new CountDownLatch(1);
    List<FutureTask<float[]>> results = new ArrayList<>();
    beforeRow =
        token -> {
          underWay.countDown();
          try {
            gathered.await();
          } catch (InterruptedException e) {
            throw new IllegalStateException(e);
          }
        };
    Thread other = Thread.ofPlatform().start(() -> run(99));
    underWay.await();
    for (int i = 0; i < 3; i++) {
      int id = 10 * i;
      int count = counts[i];
      results.add(new FutureTask<>(() -> run(id, count)));
      Thread thread = Thread.ofPlatform().name("caller " + i).start(results.get(i));
      while (thread.getState() != Thread.State.WAITING) {
        Thread.sleep(1);
      }
    }
    beforeRow = then;
    gathered.countDown();
    other.join();
    return results;
  }

  private static @Nullable Throwable failureOf(FutureTask<float[]> result)
      throws InterruptedException {
    try {
      result.get();
      return null;
    } catch (ExecutionException e) {
      return e.getCause();
    }
  }

  @Test
  void aLeaderWhoseStackIsTooSmallFailsAlone() throws Exception {
    StackOverflowError overflow = new StackOverflowError("for the test");
    List<FutureTask<float[]>> results = runThreeOfWhichTheFirstLeads(overflow);
    assertThat(failureOf(results.get(0))).isSameAs(overflow);
    for (int i = 1; i < 3; i++) {
      assertThat(results.get(i).get()).containsExactly(run(10 * i), within(1e-4f));
    }
  }

  @Test
  void whoAsksForMoreThanThereIsMemoryFailsAlone() throws Exception {
    Error noMemory = new OutOfMemoryError("for the test");
    List<FutureTask<float[]>> results =
        runThree(
            new int[] {2, 5, 2},
            token -> {
              if (token == 14) { // the fifth of the second
                throw noMemory;
              }
            });
    assertThat(results.get(0).get()).containsExactly(run(0), within(1e-4f));
    assertThat(failureOf(results.get(1)))
        .isInstanceOf(IllegalStateException.class)
        .hasCause(noMemory);
    assertThat(results.get(2).get()).containsExactly(run(20), within(1e-4f));
  }

  @Test
  void whatFailsInThePassOfAnotherIsEachThreadsOwnObject() throws Exception {
    Error failure = new AssertionError("for the test");
    List<FutureTask<float[]>> results = runThreeOfWhichTheFirstLeads(failure);
    assertThat(failureOf(results.get(0))).isSameAs(failure);
    for (int i = 1; i < 3; i++) {
      assertThat(failureOf(results.get(i)))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("a pass shared with others failed: java.lang.AssertionError: for the test")
          .hasCause(failure);
    }
    assertThat(failureOf(results.get(1))).isNotSameAs(failureOf(results.get(2)));
    assertThat(run(10)).hasSize(vocabSize);
  }
}
