package dev.gemma4j.constraint;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Turns the JSON schemas that {@link Constraints#jsonSchema} documents into a grammar. */
final class SchemaCompiler {
  private static final Set<String> ANNOTATIONS =
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

  private static final Map<String, Set<String>> KEYWORDS =
      Map.of(
          "object", Set.of("properties", "required", "additionalProperties"),
          "array", Set.of("items", "minItems", "maxItems"),
          "string", Set.of("minLength", "maxLength", "pattern"),
          "number", Set.of(),
          "integer", Set.of(),
          "boolean", Set.of(),
          "null", Set.of());

  private static final Expression COMMA = RegexParser.parse(", ?", false);
  private static final Expression COLON = RegexParser.parse(": ?", false);
  private static final Expression INTEGER = RegexParser.parse("0|-?[1-9][0-9]{0,17}", false);
  private static final Expression NUMBER =
      RegexParser.parse("-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?", false);
  private static final Expression CHARACTER = Json.inString(new Expression.OneOf(CodePoints.ALL));
  private static final Expression QUOTE = new Expression.Literal("\"");

  private final Schemas schemas;
  private final Map<String, Expression> rules = new HashMap<>();

  private SchemaCompiler(Schemas schemas) {
    this.schemas = schemas;
  }

  /**
   * The machine of a schema.
   *
   * @throws IllegalArgumentException that names the place and the keyword
   */
  static Automaton compile(String schema) {
    Object root = Json.parse(schema);
    SchemaCompiler compiler = new SchemaCompiler(new Schemas(root));
    Expression start = compiler.rule("#", root);
    return new Automaton(start, compiler.rules);
  }

  /** The machine of any JSON object. */
  static Automaton anyObject() {
    Expression value = new Expression.Reference("value");
    Expression string = Expression.sequence(QUOTE, Expression.any(CHARACTER), QUOTE);
    Expression object = list("{", Expression.sequence(string, COLON, value), "}");
    Expression constant = RegexParser.parse("true|false|null", false);
    return new Automaton(
        object,
        Map.of(
            "value", Expression.choice(object, list("[", value, "]"), string, NUMBER, constant)));
  }

  private static Expression list(String open, Expression item, String close) {
    Expression more = Expression.any(Expression.sequence(COMMA, item));
    return Expression.sequence(
        new Expression.Literal(open),
        Expression.optional(Expression.sequence(item, more)),
        new Expression.Literal(close));
  }

  /** A rule for the schema at a pointer, which may refer to itself. */
  private Expression rule(String pointer, Object schema) {
    if (!rules.containsKey(pointer)) {
      rules.put(pointer, new Expression.Literal("")); // holds the place against recursion
      rules.put(pointer, expression(pointer, schema));
    }
    return new Expression.Reference(pointer);
  }

  private Expression expression(String at, Object node) {
    Map<String, Object> schema = Schemas.object(at, node);
    if (schema.containsKey("$ref")) {
      allow(at, schema, Set.of("$ref"));
      String pointer = Schemas.text(at, schema, "$ref");
      return rule(pointer, schemas.resolve(at, pointer));
    }
    for (String union : List.of("anyOf", "oneOf")) {
      if (schema.containsKey(union)) {
        allow(at, schema, Set.of(union));
        return union(at + "/" + union, Schemas.list(at, schema, union), union.equals("oneOf"));
      }
    }
    if (schema.containsKey("const") || schema.containsKey("enum")) {
      allow(at, schema, Set.of("const", "enum", "type"));
      return values(at, schema);
    }
    List<String> types = Schemas.types(at, schema);
    if (types.isEmpty()) {
      throw Schemas.refused(
          at, "found " + schema.keySet() + ", expected type, enum, const, anyOf, oneOf or $ref");
    }
    Set<String> allowed = new HashSet<>(Set.of("type"));
    types.forEach(type -> allowed.addAll(KEYWORDS.getOrDefault(type, Set.of())));
    allow(at, schema, allowed);
    return new Expression.Choice(types.stream().map(type -> ofType(at, schema, type)).toList());
  }

  private static void allow(String at, Map<String, Object> schema, Set<String> keywords) {
    for (String keyword : schema.keySet()) {
      if (!keywords.contains(keyword) && !ANNOTATIONS.contains(keyword)) {
        throw Schemas.refused(
            at,
            keyword + " is not supported here, expected " + keywords.stream().sorted().toList());
      }
    }
  }

  private Expression union(String at, List<?> branches, boolean exactlyOne) {
    List<Expression> options = new ArrayList<>();
    for (int i = 0; i < branches.size(); i++) {
      options.add(rule(at + "/" + i, branches.get(i)));
      for (int j = 0; exactlyOne && j < i; j++) {
        if (!schemas.disjoint(at, branches.get(j), branches.get(i))) {
          throw Schemas.refused(
              at, "branches " + j + " and " + i + " may match the same value; use anyOf");
        }
      }
    }
    return new Expression.Choice(options);
  }

  private static Expression values(String at, Map<String, Object> schema) {
    List<?> values = Schemas.values(at, schema);
    if (values == null || values.isEmpty()) {
      throw Schemas.refused(at, "no value of const and enum has the type");
    }
    return new Expression.Choice(
        values.stream().<Expression>map(v -> new Expression.Literal(Json.text(v))).toList());
  }

  private Expression ofType(String at, Map<String, Object> schema, String type) {
    return switch (type) {
      case "object" -> object(at, schema);
      case "array" -> array(at, schema);
      case "string" -> string(at, schema);
      case "number" -> NUMBER;
      case "integer" -> INTEGER;
      case "boolean" -> RegexParser.parse("true|false", false);
      case "null" -> new Expression.Literal("null");
      default ->
          throw Schemas.refused(at, "type " + type + ", expected some of " + KEYWORDS.keySet());
    };
  }

  private static Expression string(String at, Map<String, Object> schema) {
    Expression content;
    int min = Schemas.count(at, schema, "minLength", 0);
    int max = Schemas.count(at, schema, "maxLength", Expression.UNLIMITED);
    checkOrder(at, "minLength", min, "maxLength", max);
    if (schema.containsKey("pattern")) {
      if (schema.containsKey("minLength") || schema.containsKey("maxLength")) {
        throw Schemas.refused(at, "pattern beside minLength or maxLength is not supported");
      }
      try {
        content = Json.inString(RegexParser.parse(Schemas.text(at, schema, "pattern"), true));
      } catch (IllegalArgumentException e) {
        throw Schemas.refused(at + "/pattern", String.valueOf(e.getMessage()));
      }
    } else {
      content = new Expression.Repeat(CHARACTER, min, max);
    }
    return Expression.sequence(QUOTE, content, QUOTE);
  }

  private static void checkOrder(String at, String low, int min, String high, int max) {
    if (max != Expression.UNLIMITED && min > max) {
      throw Schemas.refused(at, low + " " + min + " is above " + high + " " + max);
    }
  }

  private Expression array(String at, Map<String, Object> schema) {
    int min = Schemas.count(at, schema, "minItems", 0);
    int max = Schemas.count(at, schema, "maxItems", Expression.UNLIMITED);
    checkOrder(at, "minItems", min, "maxItems", max);
    Object itemSchema = schema.get("items");
    if (itemSchema == null) {
      throw Schemas.refused(at, "an array needs items");
    }
    Expression item = rule(at + "/items", itemSchema);
    Expression more =
        new Expression.Repeat(
            Expression.sequence(COMMA, item),
            Math.max(0, min - 1),
            max == Expression.UNLIMITED ? max : Math.max(0, max - 1));
    Expression items = Expression.sequence(item, more);
    return Expression.sequence(
        new Expression.Literal("["),
        max == 0 ? new Expression.Literal("") : min == 0 ? Expression.optional(items) : items,
        new Expression.Literal("]"));
  }

  private Expression object(String at, Map<String, Object> schema) {
    Object additional = schema.getOrDefault("additionalProperties", false);
    if (!additional.equals(false)) {
      throw Schemas.refused(at, "additionalProperties is supported as false alone");
    }
    Map<String, Object> properties = Schemas.properties(at, schema);
    Set<String> required = Schemas.required(at, schema);
    for (String name : required) {
      if (!properties.containsKey(name)) {
        throw Schemas.refused(at, "required " + name + " is not among the properties");
      }
    }
    // From the last property back: what may follow when nothing stands before it, and when
    // something does.
    Expression first = new Expression.Literal("");
    Expression rest = first;
    for (String name : new ArrayList<>(properties.keySet()).reversed()) {
      Expression member =
          Expression.sequence(
              new Expression.Literal(Json.text(name)),
              COLON,
              rule(at + "/properties/" + Schemas.escape(name), properties.get(name)));
      Expression here = Expression.sequence(member, rest);
      Expression following = Expression.sequence(COMMA, here);
      if (required.contains(name)) {
        first = here;
        rest = following;
      } else {
        first = Expression.choice(here, first);
        rest = Expression.choice(following, rest);
      }
      first = shared(first);
      rest = shared(rest);
    }
    return Expression.sequence(new Expression.Literal("{"), first, new Expression.Literal("}"));
  }

  /** A rule of its own for what is used more than once. */
  private Expression shared(Expression expression) {
    String name = "rule " + rules.size(); // pointers begin with #
    rules.put(name, expression);
    return new Expression.Reference(name);
  }
}
