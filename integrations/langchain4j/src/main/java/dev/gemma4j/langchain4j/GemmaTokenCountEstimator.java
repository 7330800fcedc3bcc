package dev.gemma4j.langchain4j;

import dev.gemma4j.ChatMessage;
import dev.gemma4j.Gemma;
import dev.gemma4j.tokenizer.Tokenizer;
import dev.langchain4j.model.TokenCountEstimator;

/**
 * Counts tokens as Gemma's chat template does, so that a {@code TokenWindowChatMemory} keeps a chat
 * within the model's context: leave room in it for the answer. A system message alone may take a
 * token more or less in its place, where the user's text follows. Safe for any number of threads.
 */
public final class GemmaTokenCountEstimator implements TokenCountEstimator {
  private final Tokenizer tokenizer;

  /** Of a model's tokenizer. */
  public GemmaTokenCountEstimator(Gemma gemma) {
    tokenizer = gemma.tokenizer();
  }

  @Override
  public int estimateTokenCountInText(String text) {
    return tokenizer.encodeLiteral(text).length;
  }

  @Override
  public int estimateTokenCountInMessage(dev.langchain4j.data.message.ChatMessage message) {
    ChatMessage turn = Conversion.message(message);
    String text = turn.text().strip();
    return switch (turn.role()) {
      case SYSTEM -> estimateTokenCountInText(text + "\n\n"); // a part of the user's turn
      case USER -> turn("user\n" + text);
      case MODEL -> turn("model\n" + text);
    };
  }

  private int turn(String text) {
    int markers = 2;
    return markers + estimateTokenCountInText(text) + estimateTokenCountInText("\n");
  }

  /** Of a chat that the model is to answer. */
  @Override
  public int estimateTokenCountInMessages(
      Iterable<dev.langchain4j.data.message.ChatMessage> messages) {
    int beginning = 1;
    int answer = 1 + estimateTokenCountInText("model\n");
    int count = beginning + answer;
    for (dev.langchain4j.data.message.ChatMessage message : messages) {
      count += estimateTokenCountInMessage(message);
    }
    return count;
  }
}
