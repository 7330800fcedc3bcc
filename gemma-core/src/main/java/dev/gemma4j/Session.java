package dev.gemma4j;

import dev.gemma4j.model.Adapter;
import dev.gemma4j.model.GemmaForward;
import dev.gemma4j.model.KvCache;
import dev.gemma4j.model.KvPool;
import dev.gemma4j.model.Scheduler;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.sampling.LogitsProcessor;
import dev.gemma4j.sampling.TokenHistory;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.BooleanSupplier;
import java.util.function.IntFunction;
import org.jspecify.annotations.Nullable;

/**
 * One sequence of tokens and its key/value cache: the base of custom decoding loops. Not
 * thread-safe; use by two threads at once is an {@link IllegalStateException}. Any number of
 * sessions share a {@link Gemma}, and appends of several threads the passes over its weights.
 *
 * <p>A session keeps its keys and values until it is closed. So it does not wait for memory, as
 * texts do ({@link LoadOptions#kvWait}): two sessions could wait for each other.
 */
public final class Session implements AutoCloseable {
  private final Gemma gemma;
  private final KvCache cache;
  private final Scheduler.Caller caller;
  private final AtomicReference<@Nullable Thread> user = new AtomicReference<>();
  private int[] tokens;
  private int length;
  private float @Nullable [] logits;
  private volatile boolean closed;
  private long queuedNanos;
  private int reused;
  private boolean givenUp; // the keys and values of all tokens, to be computed again

  Session(Gemma gemma, KvCache cache, int[] tokens, int length) {
    this.gemma = gemma;
    this.cache = cache;
    this.caller = gemma.scheduler().newCaller();
    this.tokens = tokens;
    this.length = length;
  }

  /** Hears the logits of each appended row. */
  @FunctionalInterface
  public interface RowVisitor {
    /**
     * One row.
     *
     * @param index into the appended ids
     * @param logits of the token after it, valid during the call
     */
    void row(int index, Logits logits);
  }

  /**
   * Appends tokens and returns the logits of the next one, valid until this session changes.
   *
   * @throws ContextLengthException when they do not fit; the session is unchanged
   * @throws KvMemoryException when their keys and values do not; the session is unchanged
   * @throws IllegalArgumentException when there are none, or an id is not in the vocabulary
   * @throws IllegalStateException when the session or the model is closed, or another thread uses
   *     it
   * @throws CancellationException when the thread was interrupted, which stays set; the session is
   *     unchanged
   */
  public Logits append(int... ids) {
    return append(ids, () -> false);
  }

  Logits append(int[] ids, BooleanSupplier cancelled) {
    ids = ids.clone(); // lest they change after the check: others share the pass
    enter();
    try {
      check(ids);
      float[] target = logitsBuffer();
      int last = ids.length - 1;
      run(ids, i -> i == last ? target : null, cancelled, (from, to) -> {});
      return Logits.of(target);
    } finally {
      leave();
    }
  }

  /**
   * The logits after the last token, which is run once more: nobody keeps them, and those that
   * {@link #append} returned may have been changed since. Leaves the session as it was.
   */
  Logits last(BooleanSupplier cancelled) {
    enter();
    try {
      if (length == 0) {
        throw new IllegalArgumentException("no tokens to go on from: the session is empty");
      }
      float[] target = logitsBuffer();
      int[] id = {tokens[length - 1]};
      long begin = System.nanoTime();
      length--;
      try { // what it writes is what is there, so that it may fail at any point
        Scheduler.Request request = request(id, 0, 1, i -> target, cancelled);
        gemma.run(List.of(request));
        queuedNanos = request.started() - begin;
      } finally {
        length++;
      }
      return Logits.of(target);
    } finally {
      leave();
    }
  }

  /**
   * Appends tokens and shows the logits after each of them, as scoring needs. Whatever it throws,
   * be it the visitor's, leaves the session unchanged.
   *
   * @param visitor must not use this session
   * @throws ContextLengthException as {@link #append(int...)}
   * @throws KvMemoryException as {@link #append(int...)}
   * @throws IllegalArgumentException as {@link #append(int...)}
   * @throws IllegalStateException as {@link #append(int...)}
   * @throws CancellationException as {@link #append(int...)}
   */
  public void append(int[] ids, RowVisitor visitor) {
    ids = ids.clone(); // as above, by the visitor too
    enter();
    int start = length;
    boolean done = false;
    try {
      check(ids);
      int rows = Math.min(ids.length, 32);
      float[][] targets = new float[rows][gemma.config().vocabSize()];
      for (int from = 0; from < ids.length; from += rows) {
        int first = from;
        int[] part = Arrays.copyOfRange(ids, from, Math.min(ids.length, from + rows));
        run(
            part,
            i -> targets[i],
            () -> false,
            (begin, end) -> {
              for (int i = begin; i < end; i++) {
                visitor.row(first + i, Logits.of(targets[i]));
              }
            });
      }
      done = true;
    } finally {
      if (!done) { // by the visitor, perhaps
        length = start;
        cache.truncate(start);
      }
      leave();
    }
  }

  /**
   * Appends the first of the ids and computes the logits after every one. If the text does go on by
   * the others, {@link #advance} takes them one by one; what is not taken is overwritten.
   *
   * @param ids at most {@link Scheduler#SHORT}, which run in one pass
   * @param targets one row for each id
   */
  void verify(int[] ids, float[][] targets, BooleanSupplier cancelled) {
    enter();
    try {
      check(ids);
      gemma.run(List.of(request(ids, 0, ids.length, i -> targets[i], cancelled)));
      length++;
    } finally {
      leave();
    }
  }

  /** Hears which of the ids a pass has run. */
  private interface PassListener {
    void ran(int from, int to);
  }

  /** Runs all ids, in one pass or more, or leaves the session as it was. */
  private void run(
      int[] ids,
      IntFunction<float @Nullable []> targets,
      BooleanSupplier cancelled,
      PassListener listener) {
    int start = length;
    long begin = System.nanoTime();
    boolean done = false;
    try {
      reserve(length + ids.length); // all or nothing
      for (int from = 0; from < ids.length; ) {
        int to = Math.min(ids.length, from + GemmaForward.MAX_ROWS);
        Scheduler.Request request = request(ids, from, to, targets, cancelled);
        gemma.run(List.of(request));
        if (from == 0) {
          queuedNanos = request.started() - begin;
        }
        length += request.taken();
        listener.ran(from, from + request.taken());
        from += request.taken();
      }
      done = true;
    } finally {
      if (!done) {
        length = start;
        cache.truncate(start);
      }
    }
  }

  boolean isOf(Gemma model) {
    return gemma == model;
  }

  boolean runsWith(Adapter adapter) {
    Adapter own = cache.adapter();
    return own != null && own.id().equals(adapter.id());
  }

  /** A request for {@code ids[from..to)} at the end of this session, whose room is reserved. */
  Scheduler.Request request(
      int[] ids,
      int from,
      int to,
      IntFunction<float @Nullable []> targets,
      BooleanSupplier cancelled) {
    int end = length + to - from;
    reserve(end);
    if (tokens.length < end) {
      tokens = Arrays.copyOf(tokens, Math.max(end, 2 * tokens.length));
    }
    System.arraycopy(ids, from, tokens, length, to - from);
    return new Scheduler.Request(caller, cache, ids, from, to, length, targets, cancelled);
  }

  private void reserve(int end) {
    try {
      cache.reserve(length, end);
    } catch (KvPool.FullException e) {
      throw new KvMemoryException(e, gemma, Duration.ZERO);
    }
  }

  /**
   * Waits until there is room for a text that is to be appended to this session, which is empty.
   *
   * @param least tokens without which it cannot begin
   * @param most tokens that it can become, those of forks together
   * @throws KvMemoryException when {@code least} never fit, or others did not make room in time
   * @throws CancellationException when cancelled or interrupted
   */
  void awaitRoom(int least, long most, BooleanSupplier cancelled) {
    Duration longest = gemma.kvWait();
    try {
      cache.awaitRoom(least, most, TimeUnit.NANOSECONDS.convert(longest), cancelled);
    } catch (KvPool.FullException e) {
      Duration waited = e.asked() > gemma.kvMemory() ? Duration.ZERO : longest;
      throw new KvMemoryException(e, gemma, waited);
    }
  }

  /** Takes room for so many tokens, those that are there included, unless it would have to wait. */
  boolean tryRoom(long end) {
    return cache.hasRoom() || cache.tryRoom(end, end);
  }

  /**
   * Appends a prompt when there is room for it and the text that follows; in an empty session takes
   * over what an earlier one left of its beginning, and leaves it in turn. A session that has
   * tokens gives up their keys and values when it must wait, and computes them again if they are
   * not there any more: nobody waits for what somebody holds who waits too.
   *
   * @param maxTokens of the text
   */
  Logits appendPrompt(int[] ids, int maxTokens, BooleanSupplier cancelled) {
    int before = length;
    int[] rest = ids;
    long start = System.nanoTime();
    long waited = 0;
    boolean anew = false;
    enter();
    try {
      if (!cache.wake()) {
        givenUp = true;
      }
      check(ids);
      reused = 0;
      int least = before + ids.length;
      // The last token is never run.
      long most = Math.min(gemma.contextLength(), (long) least + maxTokens - 1);
      if (!cache.hasRoom() && (before == 0 || givenUp || !cache.tryRoom(least, most))) {
        if (before > 0 && !givenUp) {
          remember();
          cache.truncate(0);
          givenUp = true;
        }
        awaitRoom(least, most, cancelled);
        waited = System.nanoTime() - start;
        anew = true;
        tokens = ChatTemplate.concat(tokens(), ids);
        length = cache.reuse(tokens);
        reused = Math.max(0, length - before);
        rest = Arrays.copyOfRange(tokens, length, tokens.length);
      }
    } finally {
      leave();
    }
    boolean done = false;
    try {
      Logits logits = append(rest, cancelled);
      done = true;
      givenUp = false;
      queuedNanos += waited;
      remember();
      return logits;
    } finally {
      if (!done) {
        if (anew) {
          cache.truncate(0);
          length = before;
        }
        cache.leaveRoom();
      }
    }
  }

  /** Leaves what this session has computed to later prompts that begin with the same tokens. */
  void remember() {
    cache.remember(tokens, length);
  }

  /** Tokens of the last prompt that were not computed. */
  int reused() {
    return reused;
  }

  /** How long the last append waited for its first pass to begin. */
  long queuedNanos() {
    return queuedNanos;
  }

  /** Says that no token will be appended soon, so that nobody waits for it. */
  void pause() {
    gemma.scheduler().leave(caller);
  }

  /**
   * Says that the text has ended and the next prompt may be long in coming: others may have the
   * keys and values until then, if they need the memory.
   */
  void rest() {
    if (!closed) {
      pause();
      cache.rest();
    }
  }

  void check(int... ids) {
    if (ids.length == 0) {
      throw new IllegalArgumentException("no tokens to append");
    }
    int vocabSize = gemma.config().vocabSize();
    for (int id : ids) {
      if (id < 0 || id >= vocabSize) {
        throw new IllegalArgumentException(
            "token id must be in [0, " + vocabSize + "), but is " + id);
      }
    }
    if (ids.length > gemma.contextLength() - length) {
      throw new ContextLengthException(length, ids.length, gemma.contextLength());
    }
  }

  float[] logitsBuffer() {
    float[] buffer = logits;
    if (buffer == null) {
      buffer = new float[gemma.config().vocabSize()];
      logits = buffer;
    }
    return buffer;
  }

  void advance(int count) {
    length += count;
  }

  /** The number of tokens so far, which is the next one's position. */
  public int position() {
    return length;
  }

  /** A copy of the tokens so far. */
  public int[] tokens() {
    return Arrays.copyOf(tokens, length);
  }

  /**
   * A view of the tokens so far, as a {@link LogitsProcessor} looks at them; it grows with them.
   */
  public TokenHistory history() {
    return new TokenHistory() {
      @Override
      public int size() {
        return length;
      }

      @Override
      public int get(int index) {
        return tokens[Objects.checkIndex(index, length)];
      }
    };
  }

  /**
   * Forgets all tokens from a position on.
   *
   * @param position in [0, position()]
   * @throws IllegalArgumentException when it is not
   * @throws IllegalStateException when the session is closed, or another thread uses it
   */
  public void truncate(int position) {
    enter();
    try {
      if (position < 0 || position > length) {
        throw new IllegalArgumentException(
            "position must be in [0, " + length + "], but is " + position);
      }
      if (!cache.wake()) { // else the pool might take the pages meanwhile
        givenUp = true;
      }
      cache.truncate(position);
      length = position;
    } finally {
      leave();
    }
  }

  /**
   * A session with the same tokens that goes its own way, with the same adapter; the common cache
   * is shared, not copied. Close it, too.
   *
   * @throws IllegalStateException when the session is closed, or another thread uses it
   */
  public Session fork() {
    enter();
    try {
      return new Session(gemma, cache.fork(), tokens.clone(), length);
    } finally {
      leave();
    }
  }

  /**
   * Writes tokens, keys and values to a file, from which {@link Gemma#restore} continues. The file
   * appears whole or not at all.
   *
   * @throws IOException when it cannot be written, or a file of the model has become shorter
   * @throws IllegalStateException when the session or the model is closed, or another thread uses
   *     the session
   */
  public void save(Path path) throws IOException {
    enter();
    try {
      SessionFile.write(path, fingerprint(), tokens(), cache, gemma.config());
    } finally {
      leave();
    }
  }

  /** What must be the same to go on with the keys and values. */
  byte[] fingerprint() throws IOException {
    return SessionFile.withAdapter(gemma.fingerprint(), cache.adapter());
  }

  KvCache restore(int[] ids) {
    reserve(ids.length);
    tokens = Arrays.copyOf(ids, Math.max(16, ids.length));
    length = ids.length;
    return cache;
  }

  void enter() {
    occupy();
    if (closed) {
      leave();
      throw new IllegalStateException("session is closed");
    }
  }

  private void occupy() {
    Thread me = Thread.currentThread();
    if (!user.compareAndSet(null, me)) {
      throw new IllegalStateException(
          user.get() == me
              ? "session is used by the visitor that it is calling"
              : "session is used by two threads at once");
    }
  }

  void leave() {
    user.set(null);
  }

  /**
   * Frees the cache. Harmless when repeated.
   *
   * @throws IllegalStateException when another thread uses it; it stays open then
   */
  @Override
  public void close() {
    occupy();
    try {
      if (!closed) {
        closed = true;
        pause();
        cache.close();
      }
    } finally {
      leave();
    }
  }
}
