package dev.gemma4j.examples.spark;

import dev.gemma4j.ChatMessage;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.Prompt;
import dev.gemma4j.Role;
import dev.gemma4j.constraint.Constraint;
import java.io.Serializable;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * All that an answer depends on besides its row. They are stored beside the results, so that a
 * rerun does not mix those of different settings.
 *
 * @param chat whether a prompt is a user's message, not a text to continue
 * @param system a text before the message; of no effect without chat
 * @param jsonSchema what the texts must be valid for; null for no limits
 */
record Settings(
    ModelSettings model,
    boolean chat,
    String system,
    int maxTokens,
    float temperature,
    int topK,
    float topP,
    float minP,
    float repetitionPenalty,
    long seed,
    List<String> stop,
    @Nullable String jsonSchema)
    implements Serializable {

  Settings {
    stop = List.copyOf(stop);
  }

  Prompt prompt(String text) {
    if (!chat) {
      return Prompt.of(text);
    }
    List<ChatMessage> messages = new ArrayList<>();
    if (!system.isEmpty()) {
      messages.add(new ChatMessage(Role.SYSTEM, system));
    }
    messages.add(new ChatMessage(Role.USER, text));
    return Prompt.chat(messages);
  }

  /**
   * The options for a row.
   *
   * @param constraint the compiled schema
   */
  GenerationOptions options(String id, @Nullable Constraint constraint) {
    GenerationOptions.Builder builder =
        GenerationOptions.builder()
            .maxTokens(maxTokens)
            .temperature(temperature)
            .topK(topK)
            .topP(topP)
            .minP(minP)
            .repetitionPenalty(repetitionPenalty)
            .seed(rowSeed(id))
            .stop(stop.toArray(String[]::new));
    if (constraint != null) {
      builder.constraint(constraint);
    }
    return builder.build();
  }

  /** From the id, so that a row's answer depends neither on its partition nor on other rows. */
  private long rowSeed(String id) {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      digest.update(ByteBuffer.allocate(Long.BYTES).putLong(seed).flip());
      return ByteBuffer.wrap(digest.digest(id.getBytes(StandardCharsets.UTF_8))).getLong();
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e); // every JDK has it
    }
  }
}
