package dev.gemma4j.constraint;

import java.math.BigDecimal;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Map.Entry;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** Typed access to the parts of a schema, which may be anything, and what two schemas share. */
final class Schemas {
  /** How deep two schemas are compared; schemas that differ further down count as alike. */
  private static final int MAX_DEPTH = 16;

  /** How much of schemas is compared; unions of unions would take for ever. */
  private static final int MAX_COMPARED = 1_000_000;

  private static final List<String> TYPES =
      List.of("object", "array", "string", "number", "integer", "boolean", "null");

  static final Set<String> ANNOTATIONS =
      Set.of(
          "$schema",
          "$id",
          "$comment",
          "$defs",
          "definitions",
          "title",
          "description",
          "default",
          "examples",
          "deprecated",
          "readOnly",
          "writeOnly");

  static final Set<String> BOUNDS =
      Set.of("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum");

  /** By type; format and allOf are left out, as they are not of one type alone. */
  static final Map<String, Set<String>> KEYWORDS =
      Map.of(
          "object",
              Set.of(
                  "properties",
                  "required",
                  "additionalProperties",
                  "patternProperties",
                  "propertyNames"),
          "array", Set.of("prefixItems", "items", "minItems", "maxItems"),
          "string", Set.of("minLength", "maxLength", "pattern", "contentEncoding"),
          "number", BOUNDS,
          "integer", BOUNDS,
          "boolean", Set.of(),
          "null", Set.of());

  private final Object root;
  private final Map<Object, Facts> known = new IdentityHashMap<>();
  private int compared;

  /**
   * What a comparison asks of a schema, read once: it may be compared with many.
   *
   * @param branches what the schema is a union of, or null; of a union there is nothing else
   * @param values as {@link #canonical} has them, or null when const and enum do not say
   * @param types of the values that are valid
   * @param written of those that are written
   */
  private record Facts(
      @Nullable List<?> branches,
      @Nullable Set<String> values,
      Set<String> types,
      Set<String> written,
      Map<String, Object> properties,
      Set<String> required) {}

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

  /** Refuses the keywords that are neither among these nor without effect. */
  static void allow(String at, Map<String, Object> schema, Set<String> keywords) {
    for (String keyword : schema.keySet()) {
      if (!keywords.contains(keyword) && !ANNOTATIONS.contains(keyword)) {
        throw refused(
            at,
            keyword + " is not supported here, expected " + keywords.stream().sorted().toList());
      }
    }
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

  /** The types of what is written: those that the schema names, or the one that it speaks of. */
  static List<String> written(String at, Map<String, Object> schema) {
    List<String> types = types(at, schema);
    if (!types.isEmpty()) {
      return types;
    }
    List<String> meant =
        Stream.of("object", "array", "string", "number")
            .filter(type -> KEYWORDS.get(type).stream().anyMatch(schema::containsKey))
            .toList();
    return meant.size() == 1 ? meant : List.of();
  }

  /** The schemas of the properties that are written, by name; none when any may be. */
  Map<String, Object> properties(String at, Map<String, Object> schema) {
    Map<String, Object> properties =
        schema.containsKey("properties")
            ? object(at + "/properties", schema.get("properties"))
            : Map.of();
    if (!properties.isEmpty() || !schema.containsKey("propertyNames")) {
      return properties;
    }
    Map<String, Object> listed = new LinkedHashMap<>();
    for (Entry<String, Map<String, Object>> names : names(at, schema).entrySet()) {
      List<?> values = values(names.getKey(), names.getValue());
      if (values == null) {
        return Map.of();
      }
      Object value = schema.getOrDefault("additionalProperties", true);
      values.forEach(name -> listed.put((String) name, value));
    }
    return listed;
  }

  /** The schemas of strings, by their places, that an object's schema of names is a union of. */
  Map<String, Map<String, Object>> names(String from, Map<String, Object> schema) {
    Map<String, Map<String, Object>> result = new LinkedHashMap<>();
    Set<String> seen = new HashSet<>();
    ArrayDeque<Entry<String, Object>> open = new ArrayDeque<>();
    open.add(Map.entry(from + "/propertyNames", schema.get("propertyNames")));
    while (!open.isEmpty()) { // a loop, as references may make chains of any length
      Network.checkInterrupt();
      String at = open.getFirst().getKey();
      Object node = open.remove().getValue();
      if (!seen.add(at) || node.equals(false)) {
        continue;
      }
      Map<String, Object> names = node.equals(true) ? Map.of() : object(at, node);
      if (names.containsKey("$ref")) {
        allow(at, names, Set.of("$ref"));
        String pointer = text(at, names, "$ref");
        open.add(Map.entry(pointer, resolve(at, pointer)));
      } else if (names.containsKey("anyOf")) {
        allow(at, names, Set.of("anyOf"));
        List<?> branches = list(at, names, "anyOf");
        for (int i = 0; i < branches.size(); i++) {
          open.add(Map.entry(at + "/anyOf/" + i, branches.get(i)));
        }
      } else if (names.containsKey("oneOf")) {
        throw refused(at, "oneOf is not supported of names; use anyOf");
      } else if (types(at, names).isEmpty() || types(at, names).contains("string")) {
        Map<String, Object> strings = new LinkedHashMap<>(names);
        strings.put("type", "string");
        result.put(at, strings);
      }
    }
    return result;
  }

  static Set<String> required(String at, Map<String, Object> schema) {
    Set<String> names = new HashSet<>();
    Object value = schema.getOrDefault("required", List.of());
    if (!(value instanceof List<?> list)) {
      throw refused(at, "required: found " + Json.text(value) + ", expected an array of strings");
    }
    for (Object name : list) {
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
      String wanted = canonical(constant);
      if (schema.containsKey("enum")
          && values.stream().noneMatch(v -> canonical(v).equals(wanted))) {
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

  /** The same text for values that JSON Schema takes for equal: 1 and 1.0 are the same number. */
  private static String canonical(Object value) {
    return Json.text(sorted(value));
  }

  private static Object sorted(Object value) {
    return switch (value) {
      case BigDecimal number -> number.stripTrailingZeros();
      case List<?> list -> list.stream().map(Schemas::sorted).toList();
      case Map<?, ?> map -> {
        Map<Object, Object> result = new TreeMap<>();
        map.forEach((key, child) -> result.put(key, sorted(child)));
        yield result;
      }
      default -> value;
    };
  }

  /**
   * A key as JSON pointers in a URI spell it (RFC 6901), but for characters that need no escape
   * here: as {@link #resolve} reads it.
   */
  static String escape(String key) {
    return key.replace("~", "~0").replace("/", "~1").replace("%", "%25");
  }

  private static String unescape(String at, String pointer, String part) {
    try {
      // A plus is itself in a URI, but not to this decoder of forms.
      return URLDecoder.decode(part.replace("+", "%2B"), StandardCharsets.UTF_8)
          .replace("~1", "/")
          .replace("~0", "~");
    } catch (IllegalArgumentException e) {
      throw refused(at, "$ref " + pointer + ", expected two hexadecimal digits after each %");
    }
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
      String key = unescape(at, pointer, part);
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
    Facts a = facts(at, left);
    Facts b = facts(at, right);
    if (a.branches != null) {
      return a.branches.stream().allMatch(branch -> disjoint(at, branch, right, depth - 1));
    }
    if (b.branches != null) {
      return disjoint(at, right, left, depth);
    }
    count(at, (a.values == null ? 0 : a.values.size()) + (b.values == null ? 0 : b.values.size()));
    if (a.values != null && b.values != null) {
      return Collections.disjoint(a.values, b.values);
    }
    Set<String> common = common(a.written, b.types);
    common.addAll(common(b.written, a.types));
    boolean objects = a.values == null && b.values == null && common.equals(Set.of("object"));
    return common.isEmpty() || objects && differ(at, a, b, depth);
  }

  private static Set<String> common(Set<String> written, Set<String> valid) {
    return written.stream()
        .filter(x -> valid.stream().anyMatch(y -> overlap(x, y) || overlap(y, x)))
        .collect(Collectors.toSet());
  }

  private Facts facts(String at, Object node) {
    Facts found = known.get(node);
    if (found == null) {
      found = read(at, object(at, node));
      known.put(node, found);
    }
    return found;
  }

  private Facts read(String at, Map<String, Object> schema) {
    List<?> branches = branches(at, schema);
    if (branches != null) {
      return new Facts(branches, null, Set.of(), Set.of(), Map.of(), Set.of());
    }
    List<?> values = values(at, schema);
    if (values != null) {
      Set<String> texts = values.stream().map(Schemas::canonical).collect(Collectors.toSet());
      Set<String> types = values.stream().map(Schemas::typeOf).collect(Collectors.toSet());
      return new Facts(null, texts, types, types, Map.of(), Set.of());
    }
    List<String> types = types(at, schema);
    List<String> written = written(at, schema);
    return new Facts(
        null,
        null,
        Set.copyOf(types.isEmpty() ? TYPES : types),
        Set.copyOf(written.isEmpty() ? TYPES : written),
        properties(at, schema),
        required(at, schema));
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
  private boolean differ(String at, Facts a, Facts b, int depth) {
    count(at, a.required.size() + b.required.size());
    boolean tagged =
        a.required.stream()
            .filter(b.required::contains)
            .filter(name -> a.properties.containsKey(name) && b.properties.containsKey(name))
            .anyMatch(
                name -> disjoint(at, a.properties.get(name), b.properties.get(name), depth - 1));
    // Only such properties are ever written; where a schema has none it requires none.
    return tagged
        || a.required.stream().anyMatch(name -> !b.properties.containsKey(name))
            && b.required.stream().anyMatch(name -> !a.properties.containsKey(name));
  }
}
