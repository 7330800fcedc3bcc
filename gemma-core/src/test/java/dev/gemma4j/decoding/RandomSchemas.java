package dev.gemma4j.decoding;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.Random;
import java.util.regex.Pattern;
import java.util.stream.StreamSupport;

/** Makes schemas, and tells whether a value is valid, straight from the keywords' definitions. */
final class RandomSchemas {
  private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

  private final Random random;

  RandomSchemas(Random random) {
    this.random = random;
  }

  JsonNode schema(int depth) {
    ObjectNode schema = NODES.objectNode();
    switch (random.nextInt(depth == 0 ? 6 : 10)) {
      case 0 -> schema.put("type", "integer");
      case 1 -> schema.put("type", List.of("number", "boolean", "null").get(random.nextInt(3)));
      case 2 -> {
        schema.put("type", "string");
        int min = random.nextInt(4);
        schema.put("minLength", min);
        if (random.nextBoolean()) {
          schema.put("maxLength", min + random.nextInt(20));
        }
      }
      case 3 ->
          schema
              .put("type", "string")
              .put(
                  "pattern", List.of("^[a-z]+$", "é|\\d", "^\\W{2}", "\"$").get(random.nextInt(4)));
      case 4 -> schema.putArray("enum").add("a \"b\"\n").add(-1.5).add(true).addNull().add("é");
      case 5 -> schema.putArray("type").add("null").add("integer");
      case 6, 7 -> {
        schema.put("type", "object").put("additionalProperties", false);
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
      case 8 -> {
        schema.put("type", "array").set("items", schema(depth - 1));
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

  static boolean isValid(JsonNode schema, JsonNode value) {
    if (schema.has("anyOf")) {
      return children(schema.get("anyOf")).stream().anyMatch(branch -> isValid(branch, value));
    }
    if (schema.has("enum")) {
      return children(schema.get("enum")).contains(value);
    }
    JsonNode types = schema.get("type");
    return types.isArray()
        ? children(types).stream().anyMatch(type -> isValid(schema, type.asText(), value))
        : isValid(schema, types.asText(), value);
  }

  private static boolean isValid(JsonNode schema, String type, JsonNode value) {
    return switch (type) {
      case "null" -> value.isNull();
      case "boolean" -> value.isBoolean();
      case "integer" -> value.isIntegralNumber() && value.canConvertToLong();
      case "number" -> value.isNumber() && Double.isFinite(value.doubleValue());
      case "string" -> {
        String text = value.asText();
        int length = text.codePointCount(0, text.length());
        yield value.isTextual()
            && length >= schema.path("minLength").asInt(0)
            && length <= schema.path("maxLength").asInt(Integer.MAX_VALUE)
            && (!schema.has("pattern")
                || Pattern.compile(schema.get("pattern").asText()).matcher(text).find());
      }
      case "array" ->
          value.isArray()
              && value.size() >= schema.path("minItems").asInt(0)
              && value.size() <= schema.path("maxItems").asInt(Integer.MAX_VALUE)
              && children(value).stream().allMatch(item -> isValid(schema.get("items"), item));
      default ->
          value.isObject()
              && children(schema.get("required")).stream()
                  .allMatch(name -> value.has(name.asText()))
              && value.properties().stream()
                  .allMatch(
                      entry ->
                          schema.get("properties").has(entry.getKey())
                              && isValid(
                                  schema.get("properties").get(entry.getKey()), entry.getValue()));
    };
  }

  private static List<JsonNode> children(JsonNode node) {
    return StreamSupport.stream(node.spliterator(), false).toList();
  }
}
