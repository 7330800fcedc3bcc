package dev.gemma4j;

import dev.gemma4j.model.Batch;
import dev.gemma4j.model.GemmaForward;
import dev.gemma4j.model.KvCache;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.sampling.TokenHistory;
import java.util.Arrays;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/**
 * One sequence of tokens and its key/value cache: the base of custom decoding loops. Not
 * thread-safe; use by two threads at once is an {@link IllegalStateException}. Any number of
 * sessions share a {@link Gemma}.
 */
public final class Session implements AutoCloseable {
  private final Gemma gemma;
  private final KvCache cache;
  private final AtomicBoolean busy = new AtomicBoolean();
  private int[] tokens;
  private int length;
  private float @Nullable [] logits;
  private boolean closed;

  Session(Gemma gemma, KvCache cache, int[] tokens, int length) {
    this.gemma = gemma;
    this.cache = cache;
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
   * @throws IllegalArgumentException when there are none, or an id is not in the vocabulary
   * @throws IllegalStateException when the session or the model is closed, or another thread uses
   *     it
   */
  public Logits append(int... ids) {
    return append(ids, () -> false);
  }

  Logits append(int[] ids, BooleanSupplier cancelled) {
    enter();
    try {
      check(ids);
      float[] target = logitsBuffer();
      int start = length;
      boolean done = false;
      try {
        for (int from = 0; from < ids.length; from += GemmaForward.MAX_ROWS) {
          int to = Math.min(ids.length, from + GemmaForward.MAX_ROWS);
          Batch batch = new Batch();
          for (int i = from; i < to; i++) {
            stage(batch, ids[i], i == ids.length - 1 ? target : null, i - from, to - from);
          }
          gemma.run(batch, cancelled);
          length += to - from;
        }
        done = true;
      } finally {
        length = done ? length : start; // all or nothing
      }
      return Logits.of(target);
    } finally {
      leave();
    }
  }

  /**
   * Appends tokens and shows the logits after each of them, as scoring needs.
   *
   * @throws ContextLengthException as {@link #append(int...)}
   */
  public void append(int[] ids, RowVisitor visitor) {
    enter();
    try {
      check(ids);
      int rows = Math.min(ids.length, 32);
      float[][] targets = new float[rows][gemma.config().vocabSize()];
      for (int from = 0; from < ids.length; from += rows) {
        int count = Math.min(rows, ids.length - from);
        Batch batch = new Batch();
        for (int i = 0; i < count; i++) {
          stage(batch, ids[from + i], targets[i], i, count);
        }
        gemma.run(batch, () -> false);
        length += count;
        for (int i = 0; i < count; i++) {
          visitor.row(from + i, Logits.of(targets[i]));
        }
      }
    } finally {
      leave();
    }
  }

  /**
   * Appends the first of the ids and computes the logits after every one. If the text does go on by
   * the others, {@link #advance} takes them one by one; what is not taken is overwritten.
   *
   * @param targets one row for each id
   */
  void verify(int[] ids, float[][] targets, BooleanSupplier cancelled) {
    enter();
    try {
      check(ids);
      Batch batch = new Batch();
      for (int i = 0; i < ids.length; i++) {
        stage(batch, ids[i], targets[i], i, ids.length);
      }
      gemma.run(batch, cancelled);
      length++;
    } finally {
      leave();
    }
  }

  /** Adds row {@code index} of {@code count} that this session appends in one pass. */
  void stage(Batch batch, int id, float @Nullable [] target, int index, int count) {
    int position = length + index;
    if (index == 0) {
      cache.reserve(length, length + count);
      if (tokens.length < length + count) {
        tokens = Arrays.copyOf(tokens, Math.max(length + count, 2 * tokens.length));
      }
    }
    tokens[position] = id;
    batch.add(id, position, cache, target);
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

  void advance() {
    length++;
  }

  /** The number of tokens so far, which is the next one's position. */
  public int position() {
    return length;
  }

  /** A copy of the tokens so far. */
  public int[] tokens() {
    return Arrays.copyOf(tokens, length);
  }

  TokenHistory history() {
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
   */
  public void truncate(int position) {
    enter();
    try {
      if (position < 0 || position > length) {
        throw new IllegalArgumentException(
            "position must be in [0, " + length + "], but is " + position);
      }
      cache.truncate(position);
      length = position;
    } finally {
      leave();
    }
  }

  /**
   * A session with the same tokens that goes its own way; the common cache is shared, not copied.
   */
  public Session fork() {
    enter();
    try {
      return new Session(gemma, cache.fork(), tokens.clone(), length);
    } finally {
      leave();
    }
  }

  void enter() {
    if (!busy.compareAndSet(false, true)) {
      throw new IllegalStateException("session is used by two threads at once");
    }
    if (closed) {
      busy.set(false);
      throw new IllegalStateException("session is closed");
    }
  }

  void leave() {
    busy.set(false);
  }

  /** Frees the cache. Harmless when repeated. */
  @Override
  public void close() {
    if (!busy.compareAndSet(false, true)) {
      throw new IllegalStateException("session is used by two threads at once");
    }
    try {
      if (!closed) {
        closed = true;
        cache.close();
      }
    } finally {
      leave();
    }
  }
}
