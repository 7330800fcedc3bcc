package dev.gemma4j.langchain4j;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Narrows a JSON schema to what LangChain4j reads into Java's types. The schemas that it makes of
 * them do not tell an int from a long, let dates and times be incomplete, and describe a UUID in
 * words alone.
 */
final class ReadableSchema {
  private ReadableSchema() {}

  /** A schema, as maps and lists, whose every value is valid for the given one. */
  static @Nullable Object of(@Nullable Object schema) {
    if (!(schema instanceof Map<?, ?> given)) {
      return schema; // true or false
    }
    Map<String, @Nullable Object> result = new LinkedHashMap<>();
    given.forEach(
        (keyword, value) -> result.put((String) keyword, within((String) keyword, value)));
    if (is(result, "integer") && !is(result, "number")) {
      bound(result);
    }
    if (is(result, "string") && "String in a UUID format".equals(result.get("description"))) {
      result.putIfAbsent("format", "uuid");
    }
    return result.get("properties") instanceof Map<?, ?> properties
        ? ofTime(result, properties.keySet())
        : result;
  }

  /** The value of a keyword, with the schemas in it narrowed. */
  private static @Nullable Object within(String keyword, @Nullable Object value) {
    return switch (keyword) {
      case "items", "additionalProperties" -> of(value);
      case "anyOf", "oneOf" ->
          value instanceof List<?> branches
              ? branches.stream().map(ReadableSchema::of).toList()
              : value;
      case "properties", "$defs", "definitions" -> {
        Map<Object, @Nullable Object> children = new LinkedHashMap<>();
        if (value instanceof Map<?, ?> given) {
          given.forEach((name, child) -> children.put(name, of(child)));
        }
        yield value instanceof Map<?, ?> ? children : value;
      }
      default -> value;
    };
  }

  private static boolean is(Map<String, @Nullable Object> schema, String type) {
    Object types = schema.get("type");
    return type.equals(types) || types instanceof List<?> several && several.contains(type);
  }

  /** Makes integers fit an int, unless they have bounds or are listed. */
  private static void bound(Map<String, @Nullable Object> schema) {
    for (String other :
        List.of("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "const")) {
      if (schema.containsKey(other)) {
        return;
      }
    }
    schema.put("minimum", Integer.MIN_VALUE);
    schema.put("maximum", Integer.MAX_VALUE);
  }

  /** What LangChain4j takes LocalDate, LocalTime and LocalDateTime for, made complete and valid. */
  private static Map<String, @Nullable Object> ofTime(
      Map<String, @Nullable Object> schema, Set<?> names) {
    if (names.equals(Set.of("year", "month", "day"))) {
      return Map.of(
          "anyOf",
          List.of(
              date(List.of(1, 3, 5, 7, 8, 10, 12), 31),
              date(List.of(4, 6, 9, 11), 30),
              date(List.of(2), 28)));
    }
    if (names.equals(Set.of("hour", "minute", "second", "nano"))) {
      Map<String, Object> parts = new LinkedHashMap<>();
      parts.put("hour", integer(0, 23));
      parts.put("minute", integer(0, 59));
      parts.put("second", integer(0, 59));
      parts.put("nano", integer(0, 999_999_999));
      return complete(parts);
    }
    if (names.equals(Set.of("date", "time"))) {
      schema.put("required", List.of("date", "time"));
    }
    return schema;
  }

  private static Map<String, @Nullable Object> date(List<Integer> months, int days) {
    Map<String, Object> parts = new LinkedHashMap<>();
    parts.put("year", integer(1, 9999));
    parts.put("month", Map.of("enum", months));
    parts.put("day", integer(1, days));
    return complete(parts);
  }

  private static Map<String, Object> integer(int low, int high) {
    return Map.of("type", "integer", "minimum", low, "maximum", high);
  }

  private static Map<String, @Nullable Object> complete(Map<String, Object> properties) {
    return Map.of(
        "type", "object", "properties", properties, "required", List.copyOf(properties.keySet()));
  }
}
