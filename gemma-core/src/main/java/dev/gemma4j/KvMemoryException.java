package dev.gemma4j;

/** The keys and values of all sessions together would exceed {@link LoadOptions#kvMemory}. */
public final class KvMemoryException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final long asked;
  private final long available;
  private final long limit;

  KvMemoryException(long asked, long available, long limit) {
    super(
        "keys and values: asked for "
            + asked
            + " bytes, "
            + available
            + " are left of kvMemory, which is "
            + limit);
    this.asked = asked;
    this.available = available;
    this.limit = limit;
  }

  /** Bytes that were asked for. */
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
