package dev.gemma4j.examples.server;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.StreamSupport;
import org.jspecify.annotations.Nullable;

/** Typed access to the fields of an object; null and absent are the same. */
record Fields(JsonNode json) {
  /**
   * @param name what the request calls the object
   */
  static Fields of(String name, JsonNode json) {
    if (!json.isObject()) {
      throw wrong(name, "an object", json);
    }
    return new Fields(json);
  }

  static Fields ofBody(JsonNode json) {
    if (!json.isObject()) {
      throw ApiException.badRequest("expected a JSON object as the body", null);
    }
    return new Fields(json);
  }

  /**
   * Refuses other fields.
   *
   * @param at what stands before a field's name in messages
   * @param neutral values, as JSON, with which another field is allowed
   */
  void allowOnly(String at, Set<String> names, Map<String, Set<String>> neutral) {
    for (Map.Entry<String, JsonNode> field : json.properties()) {
      String name = field.getKey();
      JsonNode value = field.getValue();
      if (!names.contains(name)
          && !value.isNull()
          && !neutral.getOrDefault(name, Set.of()).contains(value.toString())) {
        throw ApiException.badRequest(
            "Unsupported request argument supplied: " + at + name, at + name);
      }
    }
  }

  @Nullable JsonNode get(String name) {
    JsonNode node = json.get(name);
    return node == null || node.isNull() ? null : node;
  }

  boolean flag(String name) {
    JsonNode node = get(name);
    if (node != null && !node.isBoolean()) {
      throw wrong(name, "true or false", node);
    }
    return node != null && node.booleanValue();
  }

  @Nullable String text(String name) {
    JsonNode node = get(name);
    if (node != null && !node.isTextual()) {
      throw wrong(name, "a string", node);
    }
    return node == null ? null : node.textValue();
  }

  int integer(String name, int low, int high, int otherwise) {
    JsonNode node = get(name);
    if (node == null) {
      return otherwise;
    }
    if (!node.canConvertToInt()
        || !node.isIntegralNumber()
        || node.intValue() < low
        || node.intValue() > high) {
      throw wrong(name, "an integer in [" + low + ", " + high + "]", node);
    }
    return node.intValue();
  }

  @Nullable Long longInteger(String name) {
    JsonNode node = get(name);
    if (node != null && (!node.isIntegralNumber() || !node.canConvertToLong())) {
      throw wrong(name, "an integer", node);
    }
    return node == null ? null : Long.valueOf(node.longValue());
  }

  float number(String name, float low, float high, float otherwise) {
    JsonNode node = get(name);
    if (node == null) {
      return otherwise;
    }
    if (!node.isNumber() || !(node.floatValue() >= low && node.floatValue() <= high)) {
      throw wrong(name, "a number in [" + low + ", " + high + "]", node);
    }
    return node.floatValue();
  }

  /** One string or a list of them. */
  List<String> texts(String name, int most) {
    JsonNode node = get(name);
    if (node == null) {
      return List.of();
    }
    List<String> texts = new ArrayList<>();
    for (JsonNode item : node.isArray() ? node : List.of(node)) {
      if (!item.isTextual() || item.textValue().isEmpty() || texts.size() == most) {
        throw wrong(name, "a string or at most " + most + " of them, none empty", node);
      }
      texts.add(item.textValue());
    }
    return texts;
  }

  static List<JsonNode> list(JsonNode array) {
    return StreamSupport.stream(array.spliterator(), false).toList();
  }

  static ApiException wrong(String name, String expected, JsonNode found) {
    String text = found.isMissingNode() ? "nothing" : found.toString();
    text = text.length() > 100 ? text.substring(0, 100) + "..." : text;
    return ApiException.badRequest(
        "Invalid '" + name + "': expected " + expected + ", but found " + text, name);
  }
}
