package dev.gemma4j.decoding;

import dev.gemma4j.constraint.Constraint;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;

/** The tokens that each state of one constraint allows; those of the states met last are kept. */
final class TokenMasks {
  private static final int MAX_KEPT = 256; // 32 KB each with Gemma's vocabulary

  private record Key(Constraint.State state, boolean atStart) {}

  private final Constraint constraint;
  private final TokenTries tries;
  private final ReentrantLock lock = new ReentrantLock();
  private final StateTable states = new StateTable();
  private final Map<Key, long[]> kept =
      new LinkedHashMap<>(16, 0.75f, true) {
        private static final long serialVersionUID = 1;

        @Override
        protected boolean removeEldestEntry(Map.Entry<Key, long[]> eldest) {
          return size() > MAX_KEPT;
        }
      };

  TokenMasks(Constraint constraint, TokenTries tries) {
    this.constraint = constraint;
    this.tries = tries;
  }

  /** The state before the first byte: another constraint's states may equal none of these. */
  Constraint.State start() {
    return constraint.start();
  }

  /**
   * Bits by id, not to be changed.
   *
   * @param cancelled asked while they are computed, or another thread computes
   * @throws CancellationException when cancelled or interrupted meanwhile
   */
  long[] of(Constraint.State state, boolean atStart, BooleanSupplier cancelled) {
    lock(cancelled);
    try {
      Key key = new Key(state, atStart);
      long[] mask = kept.get(key);
      if (mask == null) {
        mask = tries.get(atStart).allowed(state, states, cancelled);
        kept.put(key, mask);
      }
      return mask;
    } finally {
      lock.unlock();
    }
  }

  private void lock(BooleanSupplier cancelled) {
    boolean locked = lock.tryLock();
    while (!locked) {
      check(cancelled);
      try {
        locked = lock.tryLock(10, TimeUnit.MILLISECONDS);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt(); // the check's concern
      }
    }
  }

  static void check(BooleanSupplier cancelled) {
    if (cancelled.getAsBoolean() || Thread.currentThread().isInterrupted()) {
      throw new CancellationException("cancelled while a constraint's tokens were computed");
    }
  }
}
