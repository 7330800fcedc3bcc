package dev.gemma4j;

import dev.gemma4j.sampling.TokenHistory;

/** See {@link Speculation#promptLookup}. */
final class PromptLookup {
  private static final int SHORTEST_MATCH = 2;
  private static final int LONGEST_MATCH = 4;

  private PromptLookup() {}

  static int[] draft(TokenHistory history, int most) {
    int size = history.size();
    int longest = SHORTEST_MATCH - 1;
    int from = size; // of the guess
    for (int next = size - 1; next > 0 && longest < LONGEST_MATCH; next--) {
      int length = 0;
      while (length < Math.min(next, LONGEST_MATCH)
          && history.get(next - 1 - length) == history.get(size - 1 - length)) {
        length++;
      }
      if (length > longest) {
        longest = length;
        from = next;
      }
    }
    int[] guess = new int[from < size ? most : 0];
    for (int i = 0; i < guess.length; i++) {
      // Beyond the history's end what repeats itself is taken to go on so.
      guess[i] = from + i < size ? history.get(from + i) : guess[from + i - size];
    }
    return guess;
  }
}
