package dev.gemma4j.constraint;

import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** Typed access to the parts of a schema, which may be anything, and what two schemas share. */
final class Schemas {
  /** How deep two schemas are compared; schemas that differ further down count as alike. */
  private static final int MAX_DEPTH = 16;

  /** How much of schemas is compared; unions of unions would take for ever. */
  private static final int MAX_COMPARED = 1_000_000;

  private static final List<String> TYPES =
      List.of("object", "array", "string", "number", "integer", "boolean", "null");

  private final Object root;
  private int compared;

  Schemas(Object root) {
    this.root = root;
  }

  static IllegalArgumentException refused(String at, String what) {
    return new IllegalArgumentException("schema at " + at + ": " + what);
  }

  @SuppressWarnings("unchecked") // keys of JSON objects are strings
  static Map<String, Object> object(String at, @Nullable Object node) {
    if (!(node instanceof Map<?, ?> map)) {
      String found = node == null ? "nothing" : Json.text(node);
      throw refused(at, "found " + found + ", expected an object");
    }
    return (Map<String, Object>) map;
  }

  static String text(String at, Map<String, Object> schema, String keyword) {
    if (schema.get(keyword) instanceof String text) {
      return text;
    }
    throw refused(at, keyword + ": expected a string");
  }

  static List<?> list(String at, Map<String, Object> schema, String keyword) {
    if (schema.get(keyword) instanceof List<?> list && !list.isEmpty()) {
      return list;
    }
    throw refused(at, keyword + ": expected an array that is not empty");
  }

  static int count(String at, Map<String, Object> schema, String keyword, int otherwise) {
    Object value = schema.get(keyword);
    if (value == null) {
      return otherwise;
    }
    if (value instanceof BigDecimal number
        && number.signum() >= 0
        && number.compareTo(BigDecimal.valueOf(100_000)) <= 0
        && number.stripTrailingZeros().scale() <= 0) {
      return number.intValue();
    }
    throw refused(at, keyword + ": found " + Json.text(value) + ", expected 0 to 100000");
  }

  /** The type, or the types; none when the schema does not say. */
  static List<String> types(String at, Map<String, Object> schema) {
    Set<String> types = new LinkedHashSet<>();
    Object found = schema.getOrDefault("type", List.of());
    for (Object type : found instanceof List<?> list ? list : List.of(found)) {
      if (!TYPES.contains(type)) {
        String name = type instanceof String text ? text : Json.text(type);
        throw refused(at, "type " + name + ", expected some of " + TYPES);
      }
      types.add((String) type);
    }
    if (types.isEmpty() && schema.containsKey("type")) {
      throw refused(at, "type: expected some of " + TYPES);
    }
    return List.copyOf(types);
  }

  static Map<String, Object> properties(String at, Map<String, Object> schema) {
    return schema.containsKey("properties")
        ? object(at + "/properties", schema.get("properties"))
        : Map.of();
  }

  static Set<String> required(String at, Map<String, Object> schema) {
    Set<String> names = new HashSet<>();
    Object value = schema.getOrDefault("required", List.of());
    for (Object name : value instanceof List<?> list ? list : List.of(value)) {
      if (!(name instanceof String text)) {
        throw refused(at, "required: expected an array of strings");
      }
      names.add(text);
    }
    return names;
  }

  /** The values that const and enum allow and the type too; null when there is neither. */
  static @Nullable List<?> values(String at, Map<String, Object> schema) {
    List<Object> values = new ArrayList<>();
    if (schema.containsKey("enum")) {
      values.addAll(list(at, schema, "enum"));
    }
    Object constant = schema.get("const");
    if (constant != null) {
      Object wanted = comparable(constant);
      if (schema.containsKey("enum")
          && values.stream().noneMatch(v -> comparable(v).equals(wanted))) {
        return List.of();
      }
      values = new ArrayList<>(List.of(constant));
    }
    if (values.isEmpty()) {
      return null;
    }
    List<String> types = types(at, schema);
    values.removeIf(
        value ->
            !types.isEmpty() && types.stream().noneMatch(type -> overlap(type, typeOf(value))));
    return values;
  }

  private static String typeOf(Object value) {
    return switch (value) {
      case Map<?, ?> map -> "object";
      case List<?> list -> "array";
      case String text -> "string";
      case BigDecimal n -> n.stripTrailingZeros().scale() <= 0 ? "integer" : "number";
      case Boolean b -> "boolean";
      default -> "null";
    };
  }

  /** Every integer is a number. */
  private static boolean overlap(String schemaType, String type) {
    return schemaType.equals(type) || schemaType.equals("number") && type.equals("integer");
  }

  /** Equal for values that JSON Schema takes for equal: 1 and 1.0 are the same number. */
  private static Object comparable(Object value) {
    return switch (value) {
      case BigDecimal number -> number.stripTrailingZeros();
      case List<?> list -> list.stream().map(Schemas::comparable).toList();
      case Map<?, ?> map -> {
        Map<Object, Object> result = new HashMap<>();
        map.forEach((key, child) -> result.put(key, comparable(child)));
        yield result;
      }
      default -> value;
    };
  }

  /** A key as JSON pointers spell it (RFC 6901). */
  static String escape(String key) {
    return key.replace("~", "~0").replace("/", "~1");
  }

  /** The schema that a reference within the document points to. */
  Object resolve(String at, String pointer) {
    if (!pointer.equals("#") && !pointer.startsWith("#/")) {
      throw refused(at, "$ref " + pointer + ", expected # or #/...");
    }
    Object node = root;
    String path = pointer.substring(1);
    for (String part :
        path.isEmpty() ? List.<String>of() : List.of(path.substring(1).split("/", -1))) {
      String key = part.replace("~1", "/").replace("~0", "~");
      Object child =
          node instanceof Map<?, ?> map
              ? map.get(key)
              : node instanceof List<?> list && key.matches("[0-9]{1,6}")
                  ? Integer.parseInt(key) < list.size() ? list.get(Integer.parseInt(key)) : null
                  : null;
      if (child == null) {
        throw refused(at, "$ref " + pointer + " points to nothing");
      }
      node = child;
    }
    return node;
  }

  private void count(String at, int more) {
    Network.checkInterrupt();
    compared += more;
    if (compared > MAX_COMPARED) {
      throw refused(at, "oneOf has too much to compare; use anyOf");
    }
  }

  /** Whether surely no text that is generated for one of two schemas is valid for the other. */
  boolean disjoint(String at, Object a, Object b) {
    return disjoint(at, a, b, MAX_DEPTH);
  }

  private boolean disjoint(String at, Object left, Object right, int depth) {
    if (depth == 0) {
      return false;
    }
    count(at, 1);
    if (left instanceof Boolean || right instanceof Boolean) {
      return left.equals(false) || right.equals(false);
    }
    Map<String, Object> a = object(at, left);
    Map<String, Object> b = object(at, right);
    List<?> branches = branches(at, a);
    if (branches != null) {
      return branches.stream().allMatch(branch -> disjoint(at, branch, b, depth - 1));
    }
    if (branches(at, b) != null) {
      return disjoint(at, b, a, depth);
    }
    List<?> valuesA = values(at, a);
    List<?> valuesB = values(at, b);
    count(at, (valuesA == null ? 0 : valuesA.size()) + (valuesB == null ? 0 : valuesB.size()));
    if (valuesA != null && valuesB != null) {
      Set<Object> ofA = new HashSet<>(valuesA.stream().map(Schemas::comparable).toList());
      return valuesB.stream().noneMatch(value -> ofA.contains(comparable(value)));
    }
    Set<String> common = new HashSet<>();
    for (String x : typesOf(at, a, valuesA)) {
      for (String y : typesOf(at, b, valuesB)) {
        if (overlap(x, y) || overlap(y, x)) {
          common.add(x);
        }
      }
    }
    boolean objects = valuesA == null && valuesB == null && common.equals(Set.of("object"));
    return common.isEmpty() || objects && differ(at, a, b, depth);
  }

  private static Set<String> typesOf(
      String at, Map<String, Object> schema, @Nullable List<?> values) {
    if (values != null) {
      return values.stream().map(Schemas::typeOf).collect(Collectors.toSet());
    }
    List<String> types = types(at, schema);
    return Set.copyOf(types.isEmpty() ? TYPES : types);
  }

  /** What a schema is a union of, if it is one. */
  private @Nullable List<?> branches(String at, Map<String, Object> schema) {
    if (schema.containsKey("$ref")) {
      return List.of(resolve(at, text(at, schema, "$ref")));
    }
    for (String union : List.of("anyOf", "oneOf")) {
      if (schema.containsKey(union)) {
        return list(at, schema, union);
      }
    }
    return null;
  }

  /** Whether a property that must be there tells two objects apart. */
  private boolean differ(String at, Map<String, Object> a, Map<String, Object> b, int depth) {
    Map<String, Object> ofA = properties(at, a);
    Map<String, Object> ofB = properties(at, b);
    Set<String> requiredA = required(at, a);
    Set<String> requiredB = required(at, b);
    count(at, requiredA.size() + requiredB.size());
    boolean tagged =
        requiredA.stream()
            .filter(requiredB::contains)
            .filter(name -> ofA.containsKey(name) && ofB.containsKey(name))
            .anyMatch(name -> disjoint(at, ofA.get(name), ofB.get(name), depth - 1));
    // Only properties that a schema lists are ever written; where it lists none it requires none.
    return tagged
        || requiredA.stream().anyMatch(name -> !ofB.containsKey(name))
            && requiredB.stream().anyMatch(name -> !ofA.containsKey(name));
  }
}
