package dev.gemma4j;

/** Why a generation ended. */
public enum FinishReason {
  /** The model ended its text, or its constraint allows nothing more. */
  EOS,
  /** A stop string appeared; the text ends before it. */
  STOP,
  /** maxTokens, or the end of the context. */
  LENGTH,
  /** Cancelled or closed, or its thread was interrupted. */
  CANCELLED
}
