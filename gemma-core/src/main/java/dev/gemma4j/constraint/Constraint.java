package dev.gemma4j.constraint;

import org.jspecify.annotations.Nullable;

/**
 * What a generated text must look like, as a machine that reads its UTF-8 byte by byte. Every token
 * is tried against it, and only those are allowed after which the text can still become valid; the
 * text may end in an accepting state alone. {@link Constraints} makes the usual ones.
 *
 * <p>An implementation is immutable: one constraint serves any number of generations at once, and
 * may stand for those that equal it. A text of more than ASCII needs states within its characters,
 * and one that allows malformed UTF-8 gets U+FFFD.
 */
@FunctionalInterface
public interface Constraint {
  /** The state before the first byte. */
  State start();

  /**
   * A state of the machine: immutable, and equal to another only if both allow the same texts from
   * here on, for the tokens that a state allows are remembered by it; the more are equal, the less
   * is computed. From every state an accepting one must be reachable.
   */
  interface State {
    /**
     * The state after one more byte, or null when no valid text goes on with it.
     *
     * @param b in [0, 255]
     */
    @Nullable State next(int b);

    /** Whether the text may end here. */
    boolean isAccepting();
  }
}
