package dev.gemma4j.examples;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.gemma4j.ChatMessage;
import dev.gemma4j.Role;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** A line of JSON input: typed values, unknown keys and wrong types refused by name. */
final class Request {
  private final ObjectNode object;

  Request(ObjectNode object) {
    this.object = object;
  }

  /** Refuses keys that the command does not know. */
  void allow(Set<String> keys) {
    allow(object, keys);
  }

  private static void allow(JsonNode object, Set<String> keys) {
    for (var entry : object.properties()) {
      if (!keys.contains(entry.getKey())) {
        throw new IllegalArgumentException(
            "unknown key "
                + entry.getKey()
                + ", expected some of "
                + keys.stream().sorted().toList());
      }
    }
  }

  boolean has(String key) {
    return object.hasNonNull(key);
  }

  private IllegalArgumentException wrong(String key, String expected) {
    JsonNode node = object.get(key);
    String found = node == null ? "nothing" : node.toString();
    return new IllegalArgumentException(
        key
            + ": found "
            + (found.length() > 60 ? found.substring(0, 60) + "..." : found)
            + ", expected "
            + expected);
  }

  String text(String key) {
    JsonNode node = object.get(key);
    if (node == null || !node.isTextual()) {
      throw wrong(key, "a string");
    }
    return node.textValue();
  }

  /** An object as its text, or a string that holds one. */
  String json(String key) {
    JsonNode node = object.get(key);
    if (node == null || !node.isObject() && !node.isTextual()) {
      throw wrong(key, "an object, or its text as a string");
    }
    return node.isTextual() ? node.textValue() : node.toString();
  }

  int[] ids(String key) {
    JsonNode node = object.get(key);
    if (node == null || !node.isArray()) {
      throw wrong(key, "an array of token ids");
    }
    int[] ids = new int[node.size()];
    for (int i = 0; i < ids.length; i++) {
      if (!node.get(i).isIntegralNumber() || !node.get(i).canConvertToInt()) {
        throw wrong(key, "an array of token ids");
      }
      ids[i] = node.get(i).intValue();
    }
    return ids;
  }

  int integer(String key, int otherwise) {
    JsonNode node = object.get(key);
    if (!has(key)) {
      return otherwise;
    }
    if (!node.isIntegralNumber() || !node.canConvertToInt()) {
      throw wrong(key, "an integer");
    }
    return node.intValue();
  }

  @Nullable Long longInteger(String key, @Nullable Long otherwise) {
    JsonNode node = object.get(key);
    if (!has(key)) {
      return otherwise;
    }
    if (!node.isIntegralNumber() || !node.canConvertToLong()) {
      throw wrong(key, "an integer");
    }
    return node.longValue();
  }

  float number(String key, float otherwise) {
    JsonNode node = object.get(key);
    if (!has(key)) {
      return otherwise;
    }
    if (!node.isNumber()) {
      throw wrong(key, "a number");
    }
    return node.floatValue();
  }

  boolean flag(String key, boolean otherwise) {
    JsonNode node = object.get(key);
    if (!has(key)) {
      return otherwise;
    }
    if (!node.isBoolean()) {
      throw wrong(key, "true or false");
    }
    return node.booleanValue();
  }

  /** A string or an array of strings. */
  List<String> texts(String key, List<String> otherwise) {
    JsonNode node = object.get(key);
    if (!has(key)) {
      return otherwise;
    }
    List<String> texts = new ArrayList<>();
    for (JsonNode item : node.isArray() ? node : List.of(node)) {
      if (!item.isTextual()) {
        throw wrong(key, "a string or an array of strings");
      }
      texts.add(item.textValue());
    }
    return texts;
  }

  List<ChatMessage> messages(String key) {
    JsonNode node = object.get(key);
    if (node == null || !node.isArray()) {
      throw wrong(key, "an array of {\"role\", \"content\"}");
    }
    List<ChatMessage> messages = new ArrayList<>();
    for (JsonNode item : node) {
      allow(item, Set.of("role", "content"));
      String role = item.path("role").asText();
      Role known =
          switch (role) {
            case "system" -> Role.SYSTEM;
            case "user" -> Role.USER;
            case "model", "assistant" -> Role.MODEL;
            default -> throw wrong(key, "roles system, user, model or assistant");
          };
      if (!item.path("content").isTextual()) {
        throw wrong(key, "a string as content");
      }
      messages.add(new ChatMessage(known, item.path("content").textValue()));
    }
    return messages;
  }
}
