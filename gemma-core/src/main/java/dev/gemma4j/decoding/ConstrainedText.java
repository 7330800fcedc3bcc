package dev.gemma4j.decoding;

import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.tokenizer.Tokenizer;
import java.util.Set;

/** How far one generation has come in its constraint. */
public final class ConstrainedText {
  private final Tokenizer tokenizer;
  private final TokenMasks masks;
  private final Set<Integer> ends;
  private Constraint.State state;
  private boolean atStart = true;
  private long[] allowed;
  private boolean complete;

  /**
   * The beginning of a text.
   *
   * @param ends the tokens that end it, which only an accepting state allows
   * @throws IllegalStateException when the vocabulary cannot begin it
   */
  public ConstrainedText(Constraint constraint, TokenTries tries, Set<Integer> ends) {
    this.tokenizer = tries.tokenizer();
    this.masks = tries.masks(constraint);
    this.ends = Set.copyOf(ends);
    this.state = masks.start();
    this.allowed = masks.of(state, true);
    look();
  }

  private ConstrainedText(ConstrainedText other) {
    this.tokenizer = other.tokenizer;
    this.masks = other.masks;
    this.ends = other.ends;
    this.state = other.state;
    this.atStart = other.atStart;
    this.allowed = other.allowed;
    this.complete = other.complete;
  }

  /** The same text, to go on in its own way. */
  public ConstrainedText fork() {
    return new ConstrainedText(this);
  }

  private void look() {
    boolean continues = false;
    for (long word : allowed) {
      continues |= word != 0;
    }
    if (!continues && !state.isAccepting()) {
      throw new IllegalStateException(
          "no token of the vocabulary continues the text as its constraint wants");
    }
    complete = !continues;
  }

  /** Whether the text is valid and nothing can follow. */
  public boolean isComplete() {
    return complete;
  }

  /** Whether a token may come next. */
  public boolean allows(int id) {
    return ends.contains(id) ? state.isAccepting() : isSet(id);
  }

  private boolean isSet(int id) {
    return id >> 6 < allowed.length && (allowed[id >> 6] >>> id & 1) != 0;
  }

  /** Forbids every token that the constraint does. */
  public void restrict(Logits logits) {
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
   * @throws IllegalStateException when the vocabulary cannot go on from there
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
    allowed = masks.of(state, false);
    look();
  }
}
