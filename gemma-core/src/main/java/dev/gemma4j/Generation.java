package dev.gemma4j;

import java.util.List;

/**
 * A finished generation.
 *
 * @param text the generated text, without the prompt
 * @param tokens the generated ids, without an end-of-text token
 */
public record Generation(
    String text, List<Integer> tokens, FinishReason finishReason, Usage usage) {
  public Generation {
    tokens = List.copyOf(tokens);
  }
}
