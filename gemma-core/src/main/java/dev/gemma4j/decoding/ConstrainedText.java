package dev.gemma4j.decoding;

import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.tokenizer.Tokenizer;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/** How far one generation has come in its constraint. */
public final class ConstrainedText {
  private final Tokenizer tokenizer;
  private final TokenMasks masks;
  private final Set<Integer> ends;
  private final BooleanSupplier cancelled;
  private Constraint.State state;
  private boolean atStart = true;
  private long @Nullable [] allowed; // in this state, once asked for

  /**
   * The beginning of a text.
   *
   * @param ends the tokens that end it, which only an accepting state allows
   * @param cancelled asked while it is computed what is allowed; that may take seconds in an
   *     ambiguous constraint
   */
  public ConstrainedText(
      Constraint constraint, TokenTries tries, Set<Integer> ends, BooleanSupplier cancelled) {
    this.tokenizer = tries.tokenizer();
    this.masks = tries.masks(constraint);
    this.ends = Set.copyOf(ends);
    this.cancelled = cancelled;
    this.state = masks.start();
  }

  private ConstrainedText(ConstrainedText other) {
    this.tokenizer = other.tokenizer;
    this.masks = other.masks;
    this.ends = other.ends;
    this.cancelled = other.cancelled;
    this.state = other.state;
    this.atStart = other.atStart;
    this.allowed = other.allowed;
  }

  /** The same text, to go on in its own way. */
  public ConstrainedText fork() {
    return new ConstrainedText(this);
  }

  /**
   * Computes what is allowed here, unless it is known: as all do that ask for it.
   *
   * @throws IllegalStateException when the vocabulary cannot go on from here
   * @throws CancellationException when cancelled, or the thread is interrupted, meanwhile
   */
  public void prepare() {
    allowed();
  }

  private long[] allowed() {
    long[] known = allowed;
    if (known == null) {
      known = masks.of(state, atStart, cancelled);
      if (isEmpty(known) && !state.isAccepting()) {
        throw new IllegalStateException(
            "no token of the vocabulary continues the text as its constraint wants");
      }
      allowed = known;
    }
    return known;
  }

  private static boolean isEmpty(long[] allowed) {
    for (long word : allowed) {
      if (word != 0) {
        return false;
      }
    }
    return true;
  }

  /** Whether the text is valid and nothing can follow. */
  public boolean isComplete() {
    return isEmpty(allowed());
  }

  /** Whether a token may come next. */
  public boolean allows(int id) {
    return ends.contains(id) ? state.isAccepting() : isSet(allowed(), id);
  }

  private static boolean isSet(long[] allowed, int id) {
    return id >> 6 < allowed.length && (allowed[id >> 6] >>> id & 1) != 0;
  }

  /** Forbids every token that the constraint does. */
  public void restrict(Logits logits) {
    long[] allowed = allowed();
    float[] kept = new float[ends.size()];
    int end = 0;
    for (int id : ends) {
      boolean possible = id < logits.size() && state.isAccepting();
      kept[end++] = possible ? logits.get(id) : Float.NEGATIVE_INFINITY;
    }
    for (int from = 0; from < logits.size(); from += 64) {
      int to = Math.min(logits.size(), from + 64);
      long word = from >> 6 < allowed.length ? allowed[from >> 6] : 0;
      if (word == -1) {
        continue;
      }
      for (int id = from; id < to; id++) {
        if ((word >>> id & 1) == 0) {
          logits.set(id, Float.NEGATIVE_INFINITY);
        }
      }
    }
    end = 0;
    for (int id : ends) {
      if (id < logits.size()) {
        logits.set(id, kept[end]);
      }
      end++;
    }
  }

  /**
   * Goes on by a token that it allows and that ends nothing.
   *
   * @throws IllegalStateException as {@link #prepare} of the state after it
   * @throws CancellationException too
   */
  public void append(int id) {
    byte[] bytes = tokenizer.bytes(id);
    for (byte b : atStart ? TokenTrie.atStart(tokenizer, id, bytes) : bytes) {
      Constraint.State reached = state.next(b & 0xff);
      if (reached == null) {
        throw new IllegalStateException("the constraint allowed token " + id + ", then not");
      }
      state = reached;
    }
    atStart = false;
    allowed = null;
    prepare();
  }
}
