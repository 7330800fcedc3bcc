package dev.gemma4j;

import dev.gemma4j.tokenizer.Tokenizer;
import java.util.List;
import java.util.Objects;

/** What a generation starts from: text to continue, ids, or the turns of a chat. */
public sealed interface Prompt {
  /**
   * Text to continue; the beginning-of-text token goes in front unless the options or the model's
   * files say no. Control tokens that it spells, such as {@code <end_of_turn>}, steer the model;
   * text from people who must not do that goes into {@link #chat}, or through {@link
   * Tokenizer#encodeLiteral} into {@link #ofIds}.
   */
  static Prompt of(String text) {
    return new Text(text);
  }

  /** Ids, taken as they are: no beginning-of-text token is added. */
  static Prompt ofIds(int... ids) {
    return new Ids(ids);
  }

  /** A chat in the template of the instruction-tuned checkpoints; the model answers. */
  static Prompt chat(List<ChatMessage> messages) {
    return new Turns(messages);
  }

  /** See {@link Prompt#of}. */
  record Text(String text) implements Prompt {
    public Text {
      Objects.requireNonNull(text, "text");
    }
  }

  /** See {@link Prompt#ofIds}. */
  record Ids(int[] ids) implements Prompt {
    public Ids {
      ids = ids.clone();
    }

    /** A copy. */
    @Override
    public int[] ids() {
      return ids.clone();
    }
  }

  /** See {@link Prompt#chat}. */
  record Turns(List<ChatMessage> messages) implements Prompt {
    public Turns {
      messages = List.copyOf(messages);
    }
  }
}
