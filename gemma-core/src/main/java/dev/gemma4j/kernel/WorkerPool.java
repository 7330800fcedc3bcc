package dev.gemma4j.kernel;

import java.util.concurrent.ThreadFactory;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerFieldUpdater;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A fixed team of threads that runs one task at a time in parts, each by the member that is free
 * first; the caller is member 0. A forward pass has about five such tasks per layer, so members
 * spin for a moment between two tasks before they park. A member that gets no processor before the
 * others are done is not waited for. A pool of one member has no thread and keeps nothing: any
 * number of threads may call it at the same time.
 */
public final class WorkerPool implements AutoCloseable {
  /** One of as many parts of a task as there are members. */
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

  private static final AtomicIntegerFieldUpdater<WorkerPool> BUSY =
      AtomicIntegerFieldUpdater.newUpdater(WorkerPool.class, "busy");

  private final Thread[] workers;

  // A worker counts itself before it looks whether the task is open, and a caller closes the task
  // before it looks whether workers are left: so it sees those that run the task.
  private volatile boolean open;
  private volatile int busy;

  private final AtomicInteger nextTurn = new AtomicInteger();
  private volatile int epoch;
  private volatile boolean closed;
  private volatile @Nullable Thread caller;
  private volatile @Nullable Throwable failure;

  // The task, and what it is made of; the pool's own are made once.
  private Turn turn = (part, parts, member) -> {};
  private int turns;
  private final Turn wholes = this::takeWhole;
  private final Task shares = this::takeShare;
  private Task task = (part, parts) -> {};
  private Range range = (from, to) -> {};
  private int items;

  private WorkerPool(int threads) {
    workers = new Thread[threads - 1];
  }

  /**
   * Starts a pool.
   *
   * @param threads the members, the caller included; at least 1
   */
  public static WorkerPool start(int threads, String name) {
    return start(threads, Thread.ofPlatform().daemon().name(name + "-", 1).factory());
  }

  static WorkerPool start(int threads, ThreadFactory factory) {
    WorkerPool pool = new WorkerPool(threads);
    try {
      for (int i = 0; i < pool.workers.length; i++) {
        int member = i + 1;
        pool.workers[i] = factory.newThread(() -> pool.work(member));
        pool.workers[i].start();
      }
    } catch (Throwable t) { // such as no more threads on the machine
      pool.close();
      throw t;
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
    run(0, wholes);
  }

  private void takeWhole(int part, int parts, int member) {
    task.run(part, parts);
  }

  /** Runs {@code total} items, a run of neighbours in each part. */
  public void split(int total, Range task) {
    if (workers.length == 0) {
      task.run(0, total);
      return;
    }
    range = task;
    items = total;
    run(shares);
  }

  private void takeShare(int part, int parts) {
    range.run((int) ((long) items * part / parts), (int) ((long) items * (part + 1) / parts));
  }

  /**
   * Runs a task in smaller parts: a member that the machine slows down takes fewer, instead of
   * making the others wait. The first parts, one for each member, are half of the task, the next
   * ones half of what is left, and so on, so that there are few and the last are small. They begin
   * in order.
   *
   * @param halvings how often; 0 for one part for each member
   */
  public void turns(int halvings, Turn task) {
    if (workers.length == 0) {
      task.run(0, 1, 0);
      return;
    }
    run(halvings, task);
  }

  private void run(int halvings, Turn work) {
    turn = work;
    turns = (halvings + 1) * size();
    nextTurn.set(0);
    failure = null;
    caller = Thread.currentThread();
    open = true; // publishes the task
    epoch = epoch + 1; // only callers write it, one at a time
    boolean ended = false;
    try {
      for (Thread worker : workers) {
        LockSupport.unpark(worker);
      }
      takeTurns(0);
      awaitWorkers();
      ended = true;
    } finally {
      if (!ended) { // this thread's stack is at its end, and calls nothing more
        open = false;
        while (busy != 0) {
          // or workers would meet the next task
        }
      }
    }
    Throwable thrown = failure;
    if (thrown instanceof RuntimeException e) {
      throw e;
    }
    if (thrown != null) {
      throw new IllegalStateException("a part failed: " + thrown, thrown);
    }
  }

  private void takeTurns(int member) {
    int members = size();
    for (int t = nextTurn.getAndIncrement(); t < turns; t = nextTurn.getAndIncrement()) {
      boolean last = t >= turns - members; // as large as those before
      int halved = t / members + (last ? 0 : 1);
      int parts = members << halved;
      int first = last ? parts - members : parts - 2 * members;
      try {
        turn.run(first + t % members, parts, member);
      } catch (Throwable e) {
        failure = e;
        nextTurn.set(turns); // the rest would be for nothing
      }
    }
  }

  /** Until those that have begun are done; those that have not have missed it. */
  private void awaitWorkers() {
    long deadline = 0;
    boolean interrupted = false;
    open = false;
    for (int i = 0; busy != 0; i++) {
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

  private void work(int member) {
    int seen = 0;
    while (true) {
      seen = awaitTask(seen);
      if (closed) {
        return;
      }
      if (open) { // else the others are done, and need not wait until it has looked
        BUSY.incrementAndGet(this);
        if (open) {
          takeTurns(member);
        }
        if (BUSY.decrementAndGet(this) == 0 && !open) {
          LockSupport.unpark(caller);
        }
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
