package dev.gemma4j;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * How probable a model finds a text; see {@link Gemma#score(Prompt, String)}.
 *
 * @param tokens one for each token of the text, in order
 */
public record Score(List<TokenLogProbabilities> tokens) {
  public Score {
    tokens = List.copyOf(tokens);
  }

  /** The natural logarithm of the whole text's probability after its prompt. */
  public double logProbability() {
    return tokens.stream().mapToDouble(token -> token.chosen().value()).sum();
  }

  /** The inverse of the tokens' geometric mean probability; 1 for no tokens. */
  public double perplexity() {
    return tokens.isEmpty() ? 1 : Math.exp(-logProbability() / tokens.size());
  }

  static Score of(
      Gemma gemma, @Nullable LoraAdapter adapter, int[] prompt, int[] ids, int alternatives) {
    if (alternatives < 0) {
      throw new IllegalArgumentException("alternatives must be 0 or more, but is " + alternatives);
    }
    if (prompt.length == 0) {
      throw new IllegalArgumentException("a text is scored after a prompt of at least one token");
    }
    List<TokenLogProbabilities> scored = new ArrayList<>();
    long start = System.nanoTime();
    Events.Prefill event = Events.prefill();
    try (Session session = gemma.newSession(adapter)) {
      int[] all = ChatTemplate.concat(prompt, ids);
      int run = Math.max(prompt.length, all.length - 1); // nobody asks what follows the last
      session.check(Arrays.copyOf(all, run)); // before any is computed
      session.check(all[all.length - 1]);
      if (ids.length > 0) {
        session.awaitRoom(run, run, () -> false);
      }
      long queued = System.nanoTime() - start;
      if (prompt.length > 1 && ids.length > 0) {
        session.append(Arrays.copyOf(prompt, prompt.length - 1));
        queued += session.queuedNanos();
      }
      if (ids.length > 0) {
        int[] before = ChatTemplate.concat(new int[] {prompt[prompt.length - 1]}, ids);
        session.append(
            Arrays.copyOf(before, ids.length),
            (i, logits) ->
                scored.add(TokenLogProbabilities.of(logits.logSoftmax(), ids[i], alternatives)));
      }
      if (event != null) {
        event.end(prompt.length + ids.length, 0, queued);
      }
    }
    return new Score(scored);
  }
}
