package dev.gemma4j;

import dev.gemma4j.sampling.Logits;
import dev.gemma4j.sampling.TokenHistory;
import java.util.function.BooleanSupplier;

/** See {@link Speculation#draftModel}. */
final class ModelDrafter implements Speculation.Drafter {
  private final Gemma gemma;
  private final int tokens;
  private final Session session;
  private BooleanSupplier cancelled = () -> false;
  private int known; // the session's tokens before it are the text's; after it they were guesses

  ModelDrafter(Gemma gemma, int tokens) {
    this.gemma = gemma;
    this.tokens = tokens;
    try {
      this.session = gemma.newSession();
    } catch (IllegalStateException e) {
      throw named(e);
    }
  }

  /** Says when the text is cancelled, which ends a guess under way. */
  void cancelledBy(BooleanSupplier asked) {
    cancelled = asked;
  }

  @Override
  public int[] draft(TokenHistory history, int most) {
    try {
      return guess(history, most);
    } catch (IllegalStateException e) {
      throw named(e);
    }
  }

  private IllegalStateException named(IllegalStateException e) {
    return gemma.isClosed() ? new IllegalStateException("draft model is closed", e) : e;
  }

  private int[] guess(TokenHistory history, int most) {
    int[] guess = new int[Math.min(tokens, most)];
    if (history.size() + guess.length - 1 > gemma.contextLength()) {
      return new int[0];
    }
    TokenHistory held = session.history();
    while (known < held.size()
        && known < history.size() - 1
        && held.get(known) == history.get(known)) {
      known++;
    }
    session.truncate(known);
    int[] rest = new int[history.size() - known];
    for (int i = 0; i < rest.length; i++) {
      rest[i] = history.get(known + i);
    }
    try {
      Logits logits = session.append(rest, cancelled);
      known = history.size();
      for (int i = 0; i < guess.length; i++) {
        guess[i] = logits.argmax();
        if (i + 1 < guess.length) {
          logits = session.append(new int[] {guess[i]}, cancelled);
        }
      }
    } catch (KvMemoryException e) {
      return new int[0]; // the text goes on without guesses
    }
    return guess;
  }

  @Override
  public void close() {
    session.close();
  }
}
