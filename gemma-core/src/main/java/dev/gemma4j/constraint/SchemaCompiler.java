package dev.gemma4j.constraint;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Map.Entry;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.CancellationException;

/** Turns the JSON schemas that {@link Constraints#jsonSchema} documents into a grammar. */
final class SchemaCompiler {
  /** Of strings, which a schema and the parts of its allOf may have. */
  private static final Set<String> CONDITIONS =
      Set.of("pattern", "format", "contentEncoding", "minLength", "maxLength");

  private static final Set<String> FORMATTED = Set.of("string", "number", "integer");

  private static final Expression COMMA = RegexParser.constant(", ?");
  private static final Expression COLON = RegexParser.constant(": ?");
  private static final Expression INTEGER = RegexParser.constant("0|-?[1-9][0-9]{0,17}");
  private static final Expression NUMBER =
      RegexParser.constant("-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?");
  private static final Expression CHARACTER =
      new Expression.InString(new Expression.OneOf(CodePoints.ALL));
  private static final Expression QUOTE = new Expression.Literal("\"");
  private static final Expression STRING =
      Expression.sequence(QUOTE, Expression.any(CHARACTER), QUOTE);
  private static final Expression BOOLEAN = RegexParser.constant("true|false");
  private static final Expression NULL = new Expression.Literal("null");
  private static final Expression NOTHING = new Expression.Choice(List.of());

  private static final Expression ANY_VALUE = new Expression.Reference("any value");
  private static final Expression ANY_OBJECT = map(STRING, ANY_VALUE);
  private static final Map<String, Expression> ANY =
      Map.of(
          "any value",
          Expression.choice(ANY_OBJECT, list("[", ANY_VALUE, "]"), STRING, NUMBER, BOOLEAN, NULL));

  private final Schemas schemas;
  private final Map<String, Expression> rules = new HashMap<>(ANY);
  private final Set<String> known = new HashSet<>(); // pointers that have a rule, or will
  private final ArrayDeque<Entry<String, Object>> unread = new ArrayDeque<>();

  private SchemaCompiler(Schemas schemas) {
    this.schemas = schemas;
  }

  /**
   * The machine of a schema.
   *
   * @throws IllegalArgumentException that names the place and the keyword
   * @throws CancellationException when the thread is interrupted, which stays so
   */
  static Automaton compile(String schema) {
    Object root = Json.parse(schema);
    SchemaCompiler compiler = new SchemaCompiler(new Schemas(root));
    Expression start = compiler.rule("#", root);
    // A loop, as references may make chains of any length.
    while (!compiler.unread.isEmpty()) {
      Network.checkInterrupt();
      Entry<String, Object> next = compiler.unread.remove();
      compiler.rules.put(next.getKey(), compiler.expression(next.getKey(), next.getValue()));
    }
    return new Automaton(List.of("schema", schema), start, compiler.rules);
  }

  /** The machine of any JSON object. */
  static Automaton anyObject() {
    return new Automaton(List.of("object"), ANY_OBJECT, ANY);
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
    if (known.add(pointer)) {
      unread.add(Map.entry(pointer, schema));
    }
    return new Expression.Reference(pointer);
  }

  private Expression expression(String at, Object node) {
    if (node instanceof Boolean any) {
      return any ? ANY_VALUE : NOTHING;
    }
    Map<String, Object> schema = Schemas.object(at, node);
    if (schema.containsKey("$ref")) {
      Schemas.allow(at, schema, Set.of("$ref"));
      String pointer = Schemas.text(at, schema, "$ref");
      return rule(pointer, schemas.resolve(at, pointer));
    }
    for (String union : List.of("anyOf", "oneOf")) {
      if (schema.containsKey(union)) {
        Schemas.allow(
            at, schema, Set.of(union, "discriminator")); // OpenAPI's, which adds no condition
        return union(at + "/" + union, Schemas.list(at, schema, union), union.equals("oneOf"));
      }
    }
    if (schema.containsKey("const") || schema.containsKey("enum")) {
      Schemas.allow(at, schema, Set.of("const", "enum", "type"));
      return values(at, schema);
    }
    List<String> types = Schemas.written(at, schema);
    if (types.isEmpty()) {
      if (Schemas.ANNOTATIONS.containsAll(schema.keySet())) {
        return ANY_VALUE;
      }
      throw Schemas.refused(
          at, "found " + schema.keySet() + ", expected type, enum, const, anyOf, oneOf or $ref");
    }
    Set<String> allowed = new HashSet<>(Set.of("type"));
    for (String type : types) {
      allowed.addAll(Schemas.KEYWORDS.getOrDefault(type, Set.of()));
      if (FORMATTED.contains(type)) {
        allowed.add("format");
      }
      if (type.equals("string")) {
        allowed.add("allOf");
      }
    }
    Schemas.allow(at, schema, allowed);
    return new Expression.Choice(types.stream().map(type -> ofType(at, schema, type)).toList());
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
      case "number", "integer" -> number(at, schema, type.equals("integer"));
      case "boolean" -> BOOLEAN;
      case "null" -> NULL;
      default -> throw new AssertionError(type);
    };
  }

  private static Expression number(String at, Map<String, Object> schema, boolean integer) {
    String format = schema.containsKey("format") ? Schemas.text(at, schema, "format") : "double";
    int bits =
        switch (format) {
          case "int32" -> 32;
          case "int64" -> 64;
          case "float", "double" -> 0;
          default -> {
            if (!Formats.names().contains(format)) { // of strings, which are no numbers' concern
              throw Schemas.refused(
                  at, "format " + format + ", expected int32, int64, float or double of a number");
            }
            yield 0;
          }
        };
    if (bits == 0 && schema.keySet().stream().noneMatch(Schemas.BOUNDS::contains)) {
      return integer ? INTEGER : NUMBER;
    }
    return NumberRange.of(at, schema, integer || bits > 0 ? 0 : NumberRange.DECIMALS, bits);
  }

  private static Expression string(String at, Map<String, Object> schema) {
    List<Expression> conditions = new ArrayList<>();
    addConditions(at, schema, conditions);
    if (schema.containsKey("allOf")) {
      List<?> all = Schemas.list(at, schema, "allOf");
      for (int i = 0; i < all.size(); i++) {
        String part = at + "/allOf/" + i;
        Map<String, Object> more = Schemas.object(part, all.get(i));
        Schemas.allow(part, more, CONDITIONS);
        addConditions(part, more, conditions);
      }
    }
    Expression content =
        conditions.isEmpty() ? Expression.any(CHARACTER) : Expression.allOf(conditions);
    return Expression.sequence(QUOTE, new Expression.InString(content), QUOTE);
  }

  /** What a schema says of a string, without what follows from the conditions before. */
  private static void addConditions(
      String at, Map<String, Object> schema, List<Expression> conditions) {
    int min = Schemas.count(at, schema, "minLength", 0);
    int max = Schemas.count(at, schema, "maxLength", Expression.UNLIMITED);
    checkOrder(at, "minLength", min, "maxLength", max);
    double longest = max == Expression.UNLIMITED ? Double.POSITIVE_INFINITY : max;
    if (schema.containsKey("pattern")) {
      String pattern = Schemas.text(at, schema, "pattern");
      try {
        conditions.add(RegexParser.parse(pattern, true));
      } catch (IllegalArgumentException e) {
        throw Schemas.refused(at + "/pattern", String.valueOf(e.getMessage()));
      }
    }
    if (schema.containsKey("format")) {
      String format = Schemas.text(at, schema, "format");
      Expression known = Formats.of(format, longest);
      if (known != null) {
        conditions.add(known);
      } else if (Formats.isDefined(format)
          || !schema.containsKey("pattern") && !schema.containsKey("allOf")) {
        throw Schemas.refused(at, "format " + format + ", expected some of " + Formats.names());
      }
    }
    if (schema.containsKey("contentEncoding")) {
      String encoding = Schemas.text(at, schema, "contentEncoding");
      if (!encoding.equals("base64") && !encoding.equals("base64url")) {
        throw Schemas.refused(at, "contentEncoding " + encoding + ", expected base64 or base64url");
      }
      if (!encoding.equals(schema.get("format"))) {
        conditions.add(Objects.requireNonNull(Formats.of(encoding, longest)));
      }
    }
    Expression others = Expression.allOf(conditions);
    if (min > others.length(false) || longest < others.length(true)) {
      conditions.add(new Expression.Repeat(CHARACTER, min, max));
    }
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
    List<?> first =
        schema.containsKey("prefixItems") ? Schemas.list(at, schema, "prefixItems") : List.of();
    Expression item = rule(at + "/items", schema.getOrDefault("items", true));
    int prefix = max == Expression.UNLIMITED ? first.size() : Math.min(first.size(), max);
    // From the last item back: what may follow when something stands before it.
    Expression items =
        new Expression.Repeat(
            Expression.sequence(COMMA, item),
            Math.max(0, min - Math.max(1, prefix)),
            max == Expression.UNLIMITED ? max : Math.max(0, max - Math.max(1, prefix)));
    if (prefix == 0) {
      items = Expression.sequence(item, items);
    }
    for (int i = prefix - 1; i >= 0; i--) {
      Expression here = rule(at + "/prefixItems/" + i, first.get(i));
      Expression rest = i + 1 < prefix && min <= i + 1 ? Expression.optional(items) : items;
      items =
          shared(i == 0 ? Expression.sequence(here, rest) : Expression.sequence(COMMA, here, rest));
    }
    return Expression.sequence(
        new Expression.Literal("["),
        max == 0 ? new Expression.Literal("") : min == 0 ? Expression.optional(items) : items,
        new Expression.Literal("]"));
  }

  private Expression object(String at, Map<String, Object> schema) {
    Map<String, Object> properties = schemas.properties(at, schema);
    Set<String> required = Schemas.required(at, schema);
    for (String name : required) {
      if (!properties.containsKey(name)) {
        throw Schemas.refused(at, "required " + name + " is not among the properties");
      }
    }
    Object others = schema.getOrDefault("additionalProperties", true);
    boolean listed = !Map.of().equals(schema.getOrDefault("properties", Map.of()));
    boolean named = schema.containsKey("propertyNames");
    boolean patterned = schema.containsKey("patternProperties");
    if (listed && (named || patterned) || named && patterned) {
      throw Schemas.refused(
          at, "only one of properties, propertyNames and patternProperties is supported");
    }
    if (listed && !(others instanceof Boolean) && !others.equals(Map.of())) {
      throw Schemas.refused(
          at, "additionalProperties beside properties is supported as true, false or {} alone");
    }
    if (patterned) {
      return patternProperties(at, schema);
    }
    Expression name = named ? names(at, schema) : STRING;
    if (properties.isEmpty()) {
      return map(name, rule(at + "/additionalProperties", others));
    }
    // From the last property back: what may follow when nothing stands before it, and when
    // something does.
    Expression first = new Expression.Literal("");
    Expression rest = first;
    for (String key : new ArrayList<>(properties.keySet()).reversed()) {
      Expression member =
          Expression.sequence(
              new Expression.Literal(Json.text(key)),
              COLON,
              rule(
                  at + (listed ? "/properties/" + Schemas.escape(key) : "/additionalProperties"),
                  properties.get(key)));
      Expression here = Expression.sequence(member, rest);
      Expression following = Expression.sequence(COMMA, here);
      if (required.contains(key)) {
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

  private static Expression map(Expression name, Expression value) {
    return list("{", Expression.sequence(name, COLON, value), "}");
  }

  private Expression names(String at, Map<String, Object> schema) {
    List<Expression> names = new ArrayList<>();
    schemas.names(at, schema).forEach((place, strings) -> names.add(expression(place, strings)));
    return new Expression.Choice(names);
  }

  /** Only names that match are written, as with properties only those that are listed. */
  private Expression patternProperties(String at, Map<String, Object> schema) {
    Map<String, Object> patterns =
        Schemas.object(at + "/patternProperties", schema.get("patternProperties"));
    if (patterns.size() != 1) {
      throw Schemas.refused(at, "patternProperties is supported with one pattern alone");
    }
    String pattern = patterns.keySet().iterator().next();
    String place = at + "/patternProperties/" + Schemas.escape(pattern);
    return map(string(place, Map.of("pattern", pattern)), rule(place, patterns.get(pattern)));
  }

  /** A rule of its own for what is used more than once. */
  private Expression shared(Expression expression) {
    String name = "rule " + rules.size(); // pointers begin with #
    rules.put(name, expression);
    return new Expression.Reference(name);
  }
}
