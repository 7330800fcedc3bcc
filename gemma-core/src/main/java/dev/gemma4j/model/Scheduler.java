package dev.gemma4j.model;

import dev.gemma4j.io.MappedFault;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;
import java.util.function.IntFunction;
import org.jspecify.annotations.Nullable;

/**
 * Lets all callers of a model share passes over its weights (continuous batching, <a
 * href="https://www.usenix.org/conference/osdi22/presentation/yu">Orca</a>). There is no thread of
 * its own: whoever comes first leads, puts what is waiting into one {@link Batch} and runs it,
 * while the others sleep; a caller that is alone just runs its pass.
 *
 * <p>Requests are served in the order in which they came. A long one gets a part of its rows in
 * each pass and asks again behind the others, so nobody starves; while somebody decodes, all long
 * ones together get {@value #PREFILL_ROWS} rows of a pass, so that a token does not wait for a
 * whole prompt. The leader looks after each layer for requests that were cancelled, and lets them
 * go.
 */
public final class Scheduler {
  /** Rows up to which a request counts as a step of decoding and always gets all of them. */
  public static final int SHORT = 16;

  /** Rows of long requests in one pass while others decode. */
  static final int PREFILL_ROWS = 32;

  private static final int STACK_FRAMES = 250; // 4 kB when compiled, 26 kB when interpreted

  private static final long MIN_GATHER_NANOS = 300_000;
  private static final long MAX_GATHER_NANOS = 250_000_000;

  private final GemmaForward forward;
  private final KvCache sink; // where rows of cancelled requests go
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition gathered = lock.newCondition();
  private final Condition idle = lock.newCondition();

  // All guarded by lock.
  private final ArrayDeque<Request> queue = new ArrayDeque<>();
  private @Nullable Request leader;
  private @Nullable Pass pass; // the one under way
  private final Pass onlyPass = new Pass(); // is under way or empty, so that none is made anew
  private final List<Caller> lastCallers = new ArrayList<>();
  private int away; // callers of the last pass that are expected back and have not come yet
  private long lastPassEnd;
  private long lastPassNanos;
  private boolean closed;
  // A page of the weights was gone, so that no other pass may read them, whatever the file is now.
  private @Nullable InternalError fault;

  public Scheduler(GemmaForward forward, KvCache.Shape shape) {
    this.forward = forward;
    this.sink = KvCache.sink(shape, GemmaForward.MAX_ROWS);
  }

  /** One sequence, as the scheduler remembers it between two of its requests. */
  public static final class Caller {
    private final Condition changed;
    private boolean expected;
    private boolean slow; // did not come back in time
    private long left; // when its last pass ended, 0 at first

    private Caller(Condition changed) {
      this.changed = changed;
    }
  }

  /** A new sequence. */
  public Caller newCaller() {
    return new Caller(lock.newCondition());
  }

  /** Rows of one sequence to run: its tokens from {@code from} to {@code to}. */
  public static final class Request {
    private final Caller caller;
    private final KvCache cache;
    private final int[] ids;
    private final int from;
    private final int to;
    private final int position;
    private final IntFunction<float @Nullable []> targets;
    private boolean hidden;
    private final BooleanSupplier cancelled;
    private final Thread thread = Thread.currentThread();
    private Condition changed; // signalled when it is done or its thread is to lead
    private boolean interrupted;
    private boolean done;
    private int taken;
    private long started;
    private @Nullable Throwable failure;
    private boolean failedElsewhere; // it is that of another thread

    /**
     * @param cache reserved for all rows
     * @param position of the first row
     * @param targets [vocabSize] to be filled with the logits of a row, by index into ids, or null
     * @param cancelled asked after each layer, by whatever thread leads
     */
    public Request(
        Caller caller,
        KvCache cache,
        int[] ids,
        int from,
        int to,
        int position,
        IntFunction<float @Nullable []> targets,
        BooleanSupplier cancelled) {
      this.caller = caller;
      this.cache = cache;
      this.ids = ids;
      this.from = from;
      this.to = to;
      this.position = position;
      this.targets = targets;
      this.cancelled = cancelled;
      this.changed = caller.changed;
    }

    /** Asks for states after the final norm, [hiddenSize] for every row, instead of logits. */
    public Request forHidden() {
      hidden = true;
      return this;
    }

    private int rows() {
      return to - from;
    }

    private boolean isCancelled() {
      return interrupted || thread.isInterrupted() || cancelled.getAsBoolean();
    }

    /** When its pass began, by {@link System#nanoTime}. */
    public long started() {
      return started;
    }

    /** How many of the rows, from the first on, have been run. */
    public int taken() {
      return taken;
    }
  }

  /** A pass under way and where each request's rows are in it. */
  private static final class Pass {
    final Batch batch = new Batch();
    final List<Request> requests = new ArrayList<>();
    final List<Integer> firstRows = new ArrayList<>();
    long start;
    boolean begun;
    @Nullable PassEvent event;

    void begin() {
      clear();
      start = System.nanoTime();
      begun = false;
    }

    void clear() {
      batch.clear();
      requests.clear();
      firstRows.clear();
      event = null;
    }

    /** Should it fail, the request is in the pass, or is as it was. */
    void add(Request request, int rows) {
      requests.add(request);
      request.taken = rows;
      request.started = start;
      firstRows.add(batch.size());
      for (int i = 0; i < rows; i++) {
        int index = request.from + i;
        float[] target = request.targets.apply(index);
        int position = request.position + i;
        if (request.hidden && target != null) {
          batch.addHidden(request.ids[index], position, request.cache, target);
        } else {
          batch.add(request.ids[index], position, request.cache, target);
        }
      }
    }
  }

  /**
   * Runs each request in one pass, at least its first row, together with those of other threads;
   * returns when all are done.
   *
   * @throws CancellationException when one was cancelled or the thread interrupted, which stays so;
   *     the caches hold nothing new of value then
   * @throws IllegalStateException when the model is closed, or when a pass has failed that another
   *     thread led, of which it names the cause
   * @throws InternalError when memory that is mapped could not be read, in this pass or an earlier
   *     one
   */
  public void run(List<Request> requests) {
    requireStack(STACK_FRAMES);
    lock.lock();
    try {
      requireUsable();
      long now = System.nanoTime();
      try {
        for (Request request : requests) {
          arrive(request.caller, now);
          request.changed = requests.getFirst().changed; // one for the thread, which sleeps once
          queue.add(request);
        }
      } catch (Error e) { // no memory: who does not wait must not be made the leader
        queue.removeAll(requests);
        throw e;
      }
      if (leader != null && away == 0) {
        gathered.signal();
      }
      for (Request request : requests) {
        await(request);
      }
    } finally {
      lock.unlock();
    }
    for (Request request : requests) {
      Throwable failure = request.failure;
      if (failure != null && request.failedElsewhere) { // no two threads throw the same object
        if (fault(failure) instanceof InternalError e) {
          throw faulted(e);
        }
        throw new IllegalStateException("a pass shared with others failed: " + failure, failure);
      }
      if (failure instanceof Error e) {
        throw e;
      }
      if (failure instanceof RuntimeException e) {
        throw e;
      }
    }
  }

  /**
   * Overflows a stack that is nearly at its end now, while nobody depends on this thread: a pass
   * that does so later leaves enough of it to put things in order.
   */
  private static void requireStack(int frames) {
    if (frames > 0) {
      requireStack(frames - 1);
    }
  }

  private void requireUsable() {
    if (closed) {
      throw closedModel();
    }
    if (fault != null) {
      throw faulted(fault);
    }
  }

  private static @Nullable InternalError fault(Throwable failure) {
    Throwable cause = failure instanceof InternalError ? failure : failure.getCause(); // a worker's
    return cause instanceof InternalError e && MappedFault.is(e) ? e : null;
  }

  private static InternalError faulted(InternalError fault) {
    return new InternalError(fault.getMessage(), fault); // of this thread
  }

  /** Says that the caller will not come back soon. */
  public void leave(Caller caller) {
    lock.lock();
    try {
      if (caller.expected) {
        caller.expected = false;
        away--;
        if (away == 0) {
          gathered.signal();
        }
      }
    } finally {
      lock.unlock();
    }
  }

  private void arrive(Caller caller, long now) {
    // Those that take their time are not waited for, until they are quick again.
    caller.slow = caller.left != 0 && now - caller.left > gatherNanos();
    if (caller.expected) {
      caller.expected = false;
      away--;
    }
  }

  private void await(Request request) {
    boolean interrupted = false;
    while (!request.done) {
      if (leader == null || leader.thread == request.thread) {
        leader = request;
        lead(request);
        continue;
      }
      try {
        request.changed.await();
      } catch (InterruptedException e) {
        interrupted = true;
        request.interrupted = true; // else the leader lets it go after the layer
        if (queue.remove(request)) {
          finish(request, cancellation());
        }
      }
    }
    if (leader != null && leader.thread == request.thread) { // named, but needs no more
      handOver();
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /**
   * Runs passes until the request is done, or has failed. Holds the lock but while a layer is
   * computed.
   */
  private void lead(Request own) {
    try {
      while (!own.done) {
        Pass current = pass;
        if (current == null) {
          gather(own);
          if (own.done) {
            return;
          }
          current = compose();
          pass = current;
        }
        step(own, current);
      }
    } catch (RuntimeException | Error e) { // such as no memory for the pass
      abandon(own, e);
    } finally {
      handOver();
    }
  }

  /**
   * Ends a pass that has failed, so that nobody waits for ever: fails all that is in it, and the
   * leader's own request; or, where one thread asked too much, what that one asked, and has the
   * others run again. Without lambdas, as linking one takes much of a stack.
   */
  private void abandon(Request own, Throwable failure) {
    Thread culprit = culprit(own, failure);
    for (int i = onlyPass.requests.size() - 1; i >= 0; i--) {
      Request request = onlyPass.requests.get(i);
      queue.remove(request); // where it still is when the pass could not be made
      if (request.done) {
        continue;
      }
      if (culprit != null && request.thread != culprit) {
        request.taken = 0;
        queue.addFirst(request);
      } else {
        fail(request, failure);
      }
    }
    endPass();
    if (!own.done && (culprit == null || culprit == own.thread)) {
      queue.remove(own);
      fail(own, failure);
    }
  }

  /**
   * Who alone is to fail: the leader, whose stack was too small, or whose rows in the pass are the
   * most, when there was no memory for them; null for all.
   */
  private @Nullable Thread culprit(Request own, Throwable failure) {
    if (isOf(StackOverflowError.class, failure)) {
      return own.thread;
    }
    if (!isOf(OutOfMemoryError.class, failure)) {
      return null;
    }
    Thread culprit = own.thread;
    int most = 0;
    for (Request first : onlyPass.requests) {
      int rows = 0;
      for (Request request : onlyPass.requests) {
        rows += request.thread == first.thread && !request.done ? request.taken : 0;
      }
      if (rows > most) {
        most = rows;
        culprit = first.thread;
      }
    }
    return culprit;
  }

  private static boolean isOf(Class<? extends Error> type, Throwable failure) {
    return type.isInstance(failure) || type.isInstance(failure.getCause()); // in a part of a task
  }

  private void endPass() {
    pass = null;
    onlyPass.clear();
    forward.end();
  }

  private void step(Request own, Pass current) {
    boolean more = false;
    Throwable failure = null;
    lock.unlock();
    try {
      if (!current.begun) {
        current.begun = true;
        if (Recorder.isOn() && PassEvent.isOn()) {
          current.event = new PassEvent();
          current.event.begin();
          current.event.rows = current.batch.size();
          current.event.sequences = current.requests.size();
        }
        forward.begin(current.batch);
      }
      more = forward.advance();
    } catch (RuntimeException | Error e) {
      failure = e;
    } finally {
      lock.lock();
    }
    if (failure != null && fault(failure) instanceof InternalError e) {
      fault = e;
    }
    sweep(current);
    if (failure != null && culprit(own, failure) != null) {
      abandon(own, failure);
    } else if (failure != null || closed || !more || current.requests.isEmpty()) {
      if (current.event != null) {
        current.event.waiting = queue.size();
        current.event.commit();
      }
      lastPassEnd = System.nanoTime();
      lastPassNanos = lastPassEnd - current.start;
      for (Request request : current.requests) {
        if (closed) {
          finish(request, closedModel());
        } else if (failure != null) {
          fail(request, failure);
        } else {
          finish(request, null);
        }
        expect(request.caller);
      }
      endPass();
    }
  }

  private void expect(Caller caller) {
    caller.left = lastPassEnd;
    lastCallers.add(caller);
    if (!caller.slow && !caller.expected) {
      caller.expected = true;
      away++;
    }
  }

  /** Lets cancelled requests go, between two layers. */
  private void sweep(@Nullable Pass current) {
    queue.removeIf(
        request -> {
          boolean cancelled = request.isCancelled();
          if (cancelled) {
            finish(request, cancellation());
          }
          return cancelled;
        });
    for (int i = current == null ? -1 : current.requests.size() - 1; i >= 0; i--) {
      Request request = current.requests.get(i);
      if (request.isCancelled()) {
        int first = current.firstRows.get(i);
        current.batch.detach(first, first + request.taken, sink);
        current.requests.remove(i);
        current.firstRows.remove(i);
        finish(request, cancellation());
      }
    }
  }

  private static CancellationException cancellation() {
    return new CancellationException("cancelled");
  }

  private static IllegalStateException closedModel() {
    return new IllegalStateException("model is closed");
  }

  /** Ends a request by what has failed in this thread. Makes no objects: the heap may be full. */
  private static void fail(Request request, Throwable failure) {
    request.failedElsewhere = request.thread != Thread.currentThread();
    finish(request, failure);
  }

  private static void finish(Request request, @Nullable Throwable failure) {
    request.failure = failure;
    request.done = true;
    request.changed.signal();
  }

  /** Waits a moment for those that are choosing their next token, so that one pass serves all. */
  private void gather(Request own) {
    sweep(null);
    long wait = lastPassEnd + gatherNanos() - System.nanoTime();
    while (away > 0 && wait > 0 && !own.done && !closed) {
      try {
        wait = gathered.awaitNanos(wait);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        sweep(null); // which ends the own request
        return;
      }
    }
    for (Caller caller : lastCallers) {
      caller.expected = false;
    }
    lastCallers.clear();
    away = 0;
    if (closed || fault != null) {
      failQueue();
    } else {
      sweep(null);
    }
  }

  /** Half a pass at most: a pass more for a late row would cost a whole one. */
  private long gatherNanos() {
    return Math.clamp(lastPassNanos / 2, MIN_GATHER_NANOS, MAX_GATHER_NANOS);
  }

  /** The next pass: short requests whole, of long ones what fits, in order of arrival. */
  private Pass compose() {
    Pass next = onlyPass;
    next.begin();
    boolean decoding = false;
    for (Request request : queue) {
      decoding |= request.rows() <= SHORT;
    }
    int room = GemmaForward.MAX_ROWS;
    int prefill = decoding ? PREFILL_ROWS : room;
    for (Request request : queue) {
      boolean isShort = request.rows() <= SHORT;
      int rows = Math.min(request.rows(), isShort ? room : Math.min(room, prefill));
      if (rows == 0 || isShort && rows < request.rows()) {
        continue;
      }
      next.add(request, rows);
      room -= rows;
      prefill -= isShort ? 0 : rows;
    }
    queue.removeIf(request -> request.taken > 0);
    return next;
  }

  /** Names the next leader: somebody in the pass under way, else who waits longest. */
  private void handOver() {
    Pass current = pass;
    leader = current != null ? current.requests.getFirst() : queue.peek();
    if (leader == null) {
      idle.signalAll();
    } else {
      leader.changed.signal();
    }
  }

  private void failQueue() {
    for (Request request : queue) {
      finish(request, fault == null || closed ? closedModel() : faulted(fault));
    }
    queue.clear();
  }

  /** Fails what is waiting, and waits for the layer that is being computed. */
  public void close() {
    lock.lock();
    try {
      closed = true;
      failQueue();
      gathered.signal();
      while (leader != null) {
        idle.awaitUninterruptibly();
      }
    } finally {
      lock.unlock();
    }
  }
}
