package dev.gemma4j;

import java.util.Comparator;
import java.util.List;
import java.util.PriorityQueue;

/**
 * How probable the model found a token and the best ones in its place: its own distribution,
 * softmax(logits), before any constraint, processor, temperature or other limit.
 *
 * @param chosen the token that was generated
 * @param best the most probable tokens, best first, which may include the chosen one
 */
public record TokenLogProbabilities(LogProbability chosen, List<LogProbability> best) {
  private static final Comparator<LogProbability> WORST_FIRST =
      Comparator.comparingDouble(LogProbability::value)
          .thenComparing(LogProbability::id, Comparator.reverseOrder());

  public TokenLogProbabilities {
    best = List.copyOf(best);
  }

  static TokenLogProbabilities of(float[] logs, int id, int count) {
    return new TokenLogProbabilities(new LogProbability(id, logs[id]), best(logs, count));
  }

  /** The most probable tokens, the best first, lower ids first among equals. */
  static List<LogProbability> best(float[] logs, int most) {
    int count = Math.min(most, logs.length); // there are no more, and the queue takes its room
    PriorityQueue<LogProbability> kept = new PriorityQueue<>(count + 1, WORST_FIRST);
    for (int id = 0; id < logs.length && count > 0; id++) {
      if (logs[id] > Float.NEGATIVE_INFINITY
          && (kept.size() < count || logs[id] > kept.element().value())) {
        kept.add(new LogProbability(id, logs[id]));
        if (kept.size() > count) {
          kept.remove();
        }
      }
    }
    return kept.stream().sorted(WORST_FIRST.reversed()).toList();
  }
}
