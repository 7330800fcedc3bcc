package dev.gemma4j;

import java.time.Duration;

/**
 * The keys and values of all sessions together would exceed {@link LoadOptions#kvMemory}: those of
 * a text alone do ({@link #asked} exceeds {@link #limit}), others did not make room within {@link
 * LoadOptions#kvWait}, or a session, which does not wait, found none.
 */
public final class KvMemoryException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final long asked;
  private final long available;
  private final long limit;

  KvMemoryException(long asked, long available, long limit, Duration waited) {
    super(
        "keys and values: asked for "
            + asked
            + " bytes, "
            + available
            + " are left of kvMemory, which is "
            + limit
            + (waited.isZero() ? "" : ", after " + waited.toMillis() + " ms of waiting"));
    this.asked = asked;
    this.available = available;
    this.limit = limit;
  }

  /** Bytes that were asked for, without which the text or the session cannot go on. */
  public long asked() {
    return asked;
  }

  /** Bytes that were left. */
  public long available() {
    return available;
  }

  /** The limit in bytes. */
  public long limit() {
    return limit;
  }
}
