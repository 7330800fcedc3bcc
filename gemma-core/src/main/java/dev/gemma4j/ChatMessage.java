package dev.gemma4j;

import java.util.Objects;

/** One turn of a chat. */
public record ChatMessage(Role role, String text) {
  public ChatMessage {
    Objects.requireNonNull(role, "role");
    Objects.requireNonNull(text, "text");
  }
}
