package dev.gemma4j;

import dev.gemma4j.tokenizer.Tokenizer;
import java.util.List;
import java.util.stream.IntStream;

/**
 * The turns of the instruction-tuned checkpoints: {@code
 * <start_of_turn>user\n{text}<end_of_turn>\n}. Markers are put in as ids; text, whoever wrote it,
 * is encoded literally and never becomes one.
 */
final class ChatTemplate {
  private ChatTemplate() {}

  static int[] promptIds(Prompt prompt, GenerationOptions options, Tokenizer tokenizer) {
    return switch (prompt) {
      case Prompt.Ids ids -> ids.ids();
      case Prompt.Text text -> {
        int[] ids = tokenizer.encode(text.text());
        yield options.bos() ? withBos(ids, tokenizer) : ids;
      }
      case Prompt.Turns turns -> chatIds(turns.messages(), tokenizer);
    };
  }

  /** A text with the beginning-of-text token, where the model's texts have one. */
  static int[] withBos(int[] ids, Tokenizer tokenizer) {
    return tokenizer.addsBos() ? concat(bos(tokenizer), ids) : ids;
  }

  /** The beginning-of-text token, alone. */
  static int[] bos(Tokenizer tokenizer) {
    if (tokenizer.bosId() < 0) {
      throw new IllegalArgumentException(
          "this model's tokenizer has no beginning-of-text token, as a GGUF file without"
              + " tokenizer.ggml.bos_token_id; a text to continue may do without: see"
              + " GenerationOptions.bos");
    }
    return new int[] {tokenizer.bosId()};
  }

  private static int[] chatIds(List<ChatMessage> messages, Tokenizer tokenizer) {
    if (messages.isEmpty() || messages.getLast().role() != Role.USER) {
      throw new IllegalArgumentException("a chat prompt must end with a user message");
    }
    IntStream.Builder ids = IntStream.builder().add(bos(tokenizer)[0]);
    StringBuilder system = new StringBuilder();
    for (ChatMessage message : messages) {
      String text = message.text().strip();
      switch (message.role()) {
        case SYSTEM -> system.append(text).append("\n\n");
        case USER -> {
          IntStream.of(turn("user", system + text, tokenizer)).forEach(ids);
          system.setLength(0);
        }
        case MODEL -> IntStream.of(turn("model", text, tokenizer)).forEach(ids);
      }
    }
    IntStream.of(opening("model", "", tokenizer)).forEach(ids);
    return ids.build().toArray();
  }

  /** A user's turn and the opening of the model's. */
  static int[] question(String text, Tokenizer tokenizer) {
    return concat(turn("user", text.strip(), tokenizer), opening("model", "", tokenizer));
  }

  /** What ends a turn: the marker and a new line. */
  static int[] closing(Tokenizer tokenizer) {
    return concat(new int[] {endOfTurn(tokenizer)}, tokenizer.encodeLiteral("\n"));
  }

  static int endOfTurn(Tokenizer tokenizer) {
    return marker("<end_of_turn>", tokenizer);
  }

  private static int[] turn(String role, String text, Tokenizer tokenizer) {
    return concat(opening(role, text, tokenizer), closing(tokenizer));
  }

  private static int[] opening(String role, String text, Tokenizer tokenizer) {
    int[] start = {marker("<start_of_turn>", tokenizer)};
    return concat(start, tokenizer.encodeLiteral(role + "\n" + text));
  }

  private static int marker(String piece, Tokenizer tokenizer) {
    int id = tokenizer.idOf(piece);
    if (id < 0) {
      throw new IllegalArgumentException("this model cannot chat: its vocabulary has no " + piece);
    }
    return id;
  }

  static int[] concat(int[] a, int[] b) {
    return IntStream.concat(IntStream.of(a), IntStream.of(b)).toArray();
  }
}
