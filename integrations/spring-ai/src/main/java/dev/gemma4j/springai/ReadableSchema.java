package dev.gemma4j.springai;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Narrows a JSON schema to what Spring AI reads into Java's types. The schemas that it makes of
 * them do not tell an int from a long, a LocalDateTime from an Instant, nor a Duration from a
 * Period.
 */
final class ReadableSchema {
  private static final ObjectMapper JSON = new ObjectMapper();

  private static final String DAY =
      "((000[1-9]|00[1-9]\\d|0[1-9]\\d\\d|[1-9]\\d{3})-("
          + "(0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)"
          + "|02-(0[1-9]|1\\d|2[0-8]))"
          + "|(\\d\\d(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)-02-29)";
  private static final String TIME = "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?";
  private static final String CLOCK =
      "T(\\d{1,6}H(\\d{1,6}M)?(\\d{1,6}S)?|\\d{1,6}M(\\d{1,6}S)?|\\d{1,6}S)";
  private static final String NAME = "[A-Za-z0-9]{1,20}(-[A-Za-z0-9]{1,10})?";

  /** Of the formats of which Jackson reads a part alone, or which Gemma does not know. */
  private static final Map<String, String> PATTERNS =
      Map.of(
          "date-time", "^" + DAY + "T" + TIME + "Z$", // which is local for a LocalDateTime
          "time", "^" + TIME + "$",
          "duration", "^P(\\d{1,6}D(" + CLOCK + ")?|" + CLOCK + ")$",
          "uri", "^https?://" + NAME + "(\\." + NAME + "){1,3}(/[A-Za-z0-9._~-]{0,20}){0,3}$");

  private ReadableSchema() {}

  /** A schema whose every value is valid for the given one, but for times without an offset. */
  static String of(String schema) {
    try {
      return JSON.writeValueAsString(narrowed(JSON.readValue(schema, Object.class)));
    } catch (JsonProcessingException e) {
      return schema; // which is refused for it
    }
  }

  private static @Nullable Object narrowed(@Nullable Object schema) {
    if (!(schema instanceof Map<?, ?> given)) {
      return schema; // true or false
    }
    Map<String, @Nullable Object> result = new LinkedHashMap<>();
    given.forEach(
        (keyword, value) -> result.put((String) keyword, within((String) keyword, value)));
    if (is(result, "integer") && !is(result, "number")) {
      bound(result);
    }
    String pattern = PATTERNS.get(String.valueOf(result.get("format")));
    if (is(result, "string") && pattern != null && !result.containsKey("pattern")) {
      result.remove("format");
      result.put("pattern", pattern);
    }
    return result;
  }

  /** The value of a keyword, with the schemas in it narrowed. */
  private static @Nullable Object within(String keyword, @Nullable Object value) {
    return switch (keyword) {
      case "items", "additionalProperties" -> narrowed(value);
      case "anyOf", "oneOf" ->
          value instanceof List<?> branches
              ? branches.stream().map(ReadableSchema::narrowed).toList()
              : value;
      case "properties", "$defs", "definitions" -> {
        Map<Object, @Nullable Object> children = new LinkedHashMap<>();
        if (value instanceof Map<?, ?> given) {
          given.forEach((name, child) -> children.put(name, narrowed(child)));
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
}
