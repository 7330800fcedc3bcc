package dev.gemma4j;

import dev.gemma4j.model.KvPool;
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

  KvMemoryException(KvPool.FullException full, Gemma gemma, Duration waited) {
    super(
        "keys and values: asked for "
            + full.asked()
            + " bytes, "
            + full.available()
            + " are left of kvMemory, which is "
            + gemma.kvMemory()
            + (gemma.limitsKvMemory() ? "" : " (half of -Xmx, as LoadOptions.kvMemory was not set)")
            + (waited.isZero() ? "" : ", after " + waited.toMillis() + " ms of waiting")
            + (full.available() < full.asked() ? "" : ", behind others who ask for more")
            + (full.asked() == full.least()
                ? ""
                : "; the prompt needs " + full.least() + ", so that a smaller maxTokens may fit"));
    this.asked = full.asked();
    this.available = full.available();
    this.limit = gemma.kvMemory();
  }

  /**
   * Bytes that were asked for: for a text that has waited, those of its prompt and all of its
   * maxTokens; else those without which the text or the session cannot go on.
   */
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
