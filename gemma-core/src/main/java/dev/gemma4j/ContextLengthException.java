package dev.gemma4j;

/** More tokens than the context has positions. */
public final class ContextLengthException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  ContextLengthException(int position, int added, int limit) {
    super(
        added
            + " tokens at position "
            + position
            + " exceed the context of "
            + limit
            + " positions");
  }
}
