package dev.gemma4j.decoding;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.math.BigDecimal;
import java.net.Inet4Address;
import java.net.Inet6Address;
import java.net.URI;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.OffsetTime;
import java.time.Period;
import java.util.List;
import java.util.Random;
import java.util.UUID;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/** Makes schemas, and tells whether a value is valid, straight from the keywords' definitions. */
final class RandomSchemas {
  private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

  private static final List<String> FORMATS =
      List.of(
          "date",
          "time",
          "date-time",
          "duration",
          "uuid",
          "ipv4",
          "ipv6",
          "hostname",
          "email",
          "uri",
          "uri-reference");

  private final Random random;

  RandomSchemas(Random random) {
    this.random = random;
  }

  JsonNode schema(int depth) {
    ObjectNode schema = NODES.objectNode();
    switch (random.nextInt(depth == 0 ? 9 : 14)) {
      case 0 -> bounds(schema.put("type", "integer"), 0);
      case 1 -> schema.put("type", List.of("number", "boolean", "null").get(random.nextInt(3)));
      case 6 -> bounds(schema.put("type", "number"), random.nextInt(4));
      case 7 -> {
        schema.put("type", "string").put("format", FORMATS.get(random.nextInt(FORMATS.size())));
        if (random.nextInt(4) == 0) {
          schema.put("maxLength", random.nextInt(40, 200)).put("pattern", "[0-9]|^[a-z]+:");
        }
      }
      case 8 -> {
        if (random.nextBoolean()) {
          return NODES.booleanNode(true);
        }
        if (random.nextBoolean()) {
          schema.put("type", List.of("array", "object").get(random.nextInt(2)));
        }
      }
      case 2 -> {
        schema.put("type", "string");
        int min = random.nextInt(4);
        schema.put("minLength", min);
        if (random.nextBoolean()) {
          schema.put("maxLength", min + random.nextInt(20));
        }
      }
      case 3 -> {
        schema
            .put("type", "string")
            .put("pattern", List.of("^[a-z]+$", "é|\\d", "^\\W{2}", "\"$").get(random.nextInt(4)));
        if (random.nextBoolean()) {
          schema.put("minLength", random.nextInt(3)).put("maxLength", random.nextInt(3, 20));
        }
      }
      case 4 -> schema.putArray("enum").add("a \"b\"\n").add(-1.5).add(true).addNull().add("é");
      case 5 -> schema.putArray("type").add("null").add("integer");
      case 9, 10 -> {
        schema.put("type", "object").put("additionalProperties", random.nextBoolean());
        ObjectNode properties = schema.putObject("properties");
        ArrayNode required = schema.putArray("required");
        for (int i = random.nextInt(5); i > 0; i--) {
          String name = "p" + i + (random.nextInt(4) == 0 ? "\"ä" : "");
          properties.set(name, schema(depth - 1));
          if (random.nextBoolean()) {
            required.add(name);
          }
        }
      }
      case 11 -> {
        schema.put("type", "object").set("additionalProperties", schema(depth - 1));
        switch (random.nextInt(4)) {
          case 0 -> schema.putObject("propertyNames").putArray("enum").add("é").add("b").add("c");
          case 1 -> schema.putObject("propertyNames").put("pattern", "^[a-z]").put("maxLength", 9);
          default -> {}
        }
      }
      case 12 -> {
        schema.put("type", "array").set("items", schema(depth - 1));
        if (random.nextInt(3) == 0) {
          schema.putArray("prefixItems").add(schema(depth - 1)).add(schema(depth - 1));
        }
        int min = random.nextInt(3);
        schema.put("minItems", min);
        if (random.nextBoolean()) {
          schema.put("maxItems", min + random.nextInt(3));
        }
      }
      default -> schema.putArray("anyOf").add(schema(depth - 1)).add(schema(depth - 1));
    }
    return schema;
  }

  private void bounds(ObjectNode schema, int scale) {
    int low = random.nextInt(-2000, 2000);
    int high = low + 2 + random.nextInt(random.nextBoolean() ? 3 : 3000);
    if (random.nextInt(4) > 0) {
      schema.put(
          random.nextBoolean() ? "minimum" : "exclusiveMinimum", BigDecimal.valueOf(low, scale));
    }
    if (random.nextInt(4) > 0) {
      schema.put(
          random.nextBoolean() ? "maximum" : "exclusiveMaximum", BigDecimal.valueOf(high, scale));
    }
  }

  static boolean isValid(JsonNode schema, JsonNode value) {
    if (schema.isBoolean()) {
      return schema.booleanValue();
    }
    if (schema.has("anyOf")) {
      return children(schema.get("anyOf")).stream().anyMatch(branch -> isValid(branch, value));
    }
    if (schema.has("enum")) {
      return children(schema.get("enum")).contains(value);
    }
    JsonNode types = schema.get("type");
    if (types == null) {
      return true;
    }
    return types.isArray()
        ? children(types).stream().anyMatch(type -> isValid(schema, type.asText(), value))
        : isValid(schema, types.asText(), value);
  }

  private static boolean isValid(JsonNode schema, String type, JsonNode value) {
    return switch (type) {
      case "null" -> value.isNull();
      case "boolean" -> value.isBoolean();
      case "integer" ->
          value.isIntegralNumber() && value.canConvertToLong() && isWithin(schema, value);
      case "number" ->
          value.isNumber() && Double.isFinite(value.doubleValue()) && isWithin(schema, value);
      case "string" -> {
        String text = value.asText();
        int length = text.codePointCount(0, text.length());
        yield value.isTextual()
            && length >= schema.path("minLength").asInt(0)
            && length <= schema.path("maxLength").asInt(Integer.MAX_VALUE)
            && (!schema.has("pattern")
                || Pattern.compile(schema.get("pattern").asText()).matcher(text).find())
            && (!schema.has("format") || hasFormat(schema.get("format").asText(), text));
      }
      case "array" ->
          value.isArray()
              && value.size() >= schema.path("minItems").asInt(0)
              && value.size() <= schema.path("maxItems").asInt(Integer.MAX_VALUE)
              && areValid(schema, children(value));
      default ->
          value.isObject()
              && children(schema.path("required")).stream()
                  .allMatch(name -> value.has(name.asText()))
              && value.properties().stream()
                  .allMatch(
                      entry -> {
                        if (schema.has("propertyNames")
                            && !isName(schema.get("propertyNames"), entry.getKey())) {
                          return false;
                        }
                        JsonNode listed = schema.path("properties").get(entry.getKey());
                        JsonNode others = schema.path("additionalProperties");
                        return listed != null
                            ? isValid(listed, entry.getValue())
                            : others.isMissingNode() || isValid(others, entry.getValue());
                      });
    };
  }

  private static boolean areValid(JsonNode schema, List<JsonNode> items) {
    List<JsonNode> first = children(schema.path("prefixItems"));
    for (int i = 0; i < items.size(); i++) {
      JsonNode of = i < first.size() ? first.get(i) : schema.path("items");
      if (!of.isMissingNode() && !isValid(of, items.get(i))) {
        return false;
      }
    }
    return true;
  }

  private static boolean isName(JsonNode schema, String name) {
    return schema.has("enum")
        ? isValid(schema, NODES.textNode(name))
        : isValid(schema, "string", NODES.textNode(name));
  }

  private static boolean isWithin(JsonNode schema, JsonNode value) {
    BigDecimal number = value.decimalValue();
    return (!schema.has("minimum") || number.compareTo(schema.get("minimum").decimalValue()) >= 0)
        && (!schema.has("maximum") || number.compareTo(schema.get("maximum").decimalValue()) <= 0)
        && (!schema.has("exclusiveMinimum")
            || number.compareTo(schema.get("exclusiveMinimum").decimalValue()) > 0)
        && (!schema.has("exclusiveMaximum")
            || number.compareTo(schema.get("exclusiveMaximum").decimalValue()) < 0);
  }

  /** By other readers than regular expressions. */
  private static boolean hasFormat(String format, String text) {
    try {
      return isRead(format, text);
    } catch (DateTimeException | IllegalArgumentException e) {
      return false;
    }
  }

  private static boolean isRead(String format, String text) {
    switch (format) {
      case "date" -> LocalDate.parse(text);
      case "time" -> OffsetTime.parse(text);
      case "date-time" -> OffsetDateTime.parse(text);
      case "duration" -> {
        int time = text.indexOf('T');
        if (time != 1) {
          Period.parse(time < 0 ? text : text.substring(0, time));
        }
        if (time > 0) {
          Duration.parse("P" + text.substring(time));
        }
      }
      case "uuid" -> UUID.fromString(text);
      case "ipv4" -> Inet4Address.ofLiteral(text);
      case "ipv6" -> Inet6Address.ofLiteral(text);
      case "uri" -> {
        return URI.create(text).isAbsolute();
      }
      case "uri-reference" -> URI.create(text);
      case "hostname" -> {
        return isHost(text);
      }
      default -> {
        String[] parts = text.split("@", -1);
        return parts.length == 2 && parts[0].length() <= 64 && isHost(parts[1]);
      }
    }
    return true;
  }

  private static boolean isHost(String text) {
    return text.length() <= 253
        && Stream.of(text.split("\\.", -1))
            .allMatch(
                label ->
                    !label.isEmpty()
                        && label.length() <= 63
                        && !label.startsWith("-")
                        && !label.endsWith("-")
                        && label
                            .chars()
                            .allMatch(c -> c < 0x80 && (Character.isLetterOrDigit(c) || c == '-')));
  }

  private static List<JsonNode> children(JsonNode node) {
    return StreamSupport.stream(node.spliterator(), false).toList();
  }
}
