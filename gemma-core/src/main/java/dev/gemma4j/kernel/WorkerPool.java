package dev.gemma4j.kernel;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A fixed team of threads that runs one task at a time, each member its own part; the caller is
 * member 0. A forward pass has about five such tasks per layer, so members spin for a moment
 * between two tasks before they park. A pool of one member has no thread and keeps nothing: any
 * number of threads may call it at the same time.
 */
public final class WorkerPool implements AutoCloseable {
  /** One member's share of a task. */
  @FunctionalInterface
  public interface Task {
    void run(int part, int parts);
  }

  /** One of the parts that members take by turns. */
  @FunctionalInterface
  public interface Turn {
    /** Number {@code part} of {@code parts} equal ones, by a member, so numbered. */
    void run(int part, int parts, int member);
  }

  /** A member's share of so many items. */
  @FunctionalInterface
  public interface Range {
    /** Items [from, to). */
    void run(int from, int to);
  }

  // Longer than the serial stretches of a decode step, far shorter than a time slice.
  private static final long SPIN_NANOS = 100_000;

  private final Thread[] workers;
  private final AtomicInteger pending = new AtomicInteger();
  private final AtomicInteger nextTurn = new AtomicInteger();
  private volatile int epoch;
  private volatile boolean closed;
  private volatile @Nullable Thread caller;
  private volatile @Nullable Throwable failure;
  private @Nullable Task task;

  // Of a task that is run by turns, and of one that is split; the pool's own tasks are made once.
  private final Task turns = this::takeTurns;
  private final Task shares = this::takeShare;
  private Turn turn = (part, parts, member) -> {};
  private Range range = (from, to) -> {};
  private int total;

  private WorkerPool(int threads) {
    workers = new Thread[threads - 1];
  }

  /**
   * Starts a pool.
   *
   * @param threads the members, the caller included; at least 1
   */
  public static WorkerPool start(int threads, String name) {
    WorkerPool pool = new WorkerPool(threads);
    for (int i = 0; i < pool.workers.length; i++) {
      int part = i + 1;
      pool.workers[i] =
          Thread.ofPlatform().daemon().name(name + "-" + part).start(() -> pool.work(part));
    }
    return pool;
  }

  /** The members, the caller included. */
  public int size() {
    return workers.length + 1;
  }

  /** Runs the task's parts and returns when all are done. One caller at a time. */
  public void run(Task work) {
    if (workers.length == 0) {
      work.run(0, 1);
      return;
    }
    task = work;
    failure = null;
    caller = Thread.currentThread();
    pending.set(workers.length);
    epoch = epoch + 1; // publishes the task; only callers write it, one at a time
    for (Thread worker : workers) {
      LockSupport.unpark(worker);
    }
    try {
      work.run(0, workers.length + 1);
    } finally {
      awaitWorkers();
    }
    Throwable thrown = failure;
    if (thrown instanceof RuntimeException e) {
      throw e;
    }
    if (thrown != null) {
      throw new IllegalStateException("a worker failed: " + thrown, thrown);
    }
  }

  /** Runs {@code total} items, a run of neighbours in each member. */
  public void split(int total, Range task) {
    if (workers.length == 0) {
      task.run(0, total);
      return;
    }
    range = task;
    this.total = total;
    run(shares);
  }

  private void takeShare(int part, int parts) {
    range.run((int) ((long) total * part / parts), (int) ((long) total * (part + 1) / parts));
  }

  /**
   * Runs a task in parts, each by the member that is free first: a member that the machine slows
   * down takes fewer, instead of making the others wait. The first parts, one for each member, are
   * half of the task, the next ones half of what is left, and so on, so that there are few and the
   * last are small. They begin in order.
   *
   * @param halvings how often; 0 for one part for each member
   */
  public void turns(int halvings, Turn task) {
    int members = workers.length + 1;
    if (members == 1) {
      task.run(0, 1, 0);
      return;
    }
    turn = task;
    total = (halvings + 1) * members;
    nextTurn.set(0);
    run(turns);
  }

  private void takeTurns(int member, int members) {
    for (int t = nextTurn.getAndIncrement(); t < total; t = nextTurn.getAndIncrement()) {
      boolean last = t >= total - members; // as large as those before
      int halvings = t / members + (last ? 0 : 1);
      int parts = members << halvings;
      int first = last ? parts - members : parts - 2 * members;
      turn.run(first + t % members, parts, member);
    }
  }

  private void awaitWorkers() {
    long deadline = 0;
    boolean interrupted = false;
    for (int i = 0; pending.get() > 0; i++) {
      Thread.onSpinWait();
      if ((i & 255) == 255) {
        long now = System.nanoTime();
        deadline = deadline == 0 ? now + SPIN_NANOS : deadline;
        if (now > deadline) {
          LockSupport.parkNanos(this, SPIN_NANOS);
          // park returns at once while the flag is set, so take it down until the work is done
          interrupted |= Thread.interrupted();
        }
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private void work(int part) {
    int seen = 0;
    while (true) {
      seen = awaitTask(seen);
      if (closed) {
        return;
      }
      try {
        Task current = task;
        if (current != null) {
          current.run(part, workers.length + 1);
        }
      } catch (Throwable t) {
        failure = t;
      }
      if (pending.decrementAndGet() == 0) {
        LockSupport.unpark(caller);
      }
    }
  }

  private int awaitTask(int seen) {
    long deadline = 0;
    for (int i = 0; epoch == seen && !closed; i++) {
      Thread.onSpinWait();
      if ((i & 255) == 255) {
        long now = System.nanoTime();
        deadline = deadline == 0 ? now + SPIN_NANOS : deadline;
        if (now > deadline) {
          LockSupport.park(this);
        }
      }
    }
    return epoch;
  }

  /** Ends the threads. No task may be running. */
  @Override
  public void close() {
    closed = true;
    for (Thread worker : workers) {
      LockSupport.unpark(worker);
    }
  }
}
