package dev.gemma4j.constraint;

import static dev.gemma4j.constraint.RegexTest.accepts;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class JsonSchemaTest {
  private static void check(String schema, List<String> valid, List<String> invalid) {
    Constraint constraint = Constraints.jsonSchema(schema.replace('\'', '"'));
    for (String text : valid) {
      assertThat(accepts(constraint, text.replace('\'', '"'))).as(text).isTrue();
    }
    for (String text : invalid) {
      assertThat(accepts(constraint, text.replace('\'', '"'))).as(text).isFalse();
    }
  }

  @Test
  void anyObject() {
    for (String text : List.of("{}", "{\"a\": [1, {\"b\":null}, []],\"c\": \"\\n\"}")) {
      assertThat(accepts(Constraints.jsonObject(), text)).as(text).isTrue();
    }
    for (String text : List.of("", "[]", "1", "{a:1}", "{\"a\":}", "{\"a\":1,}", "{}{}", "{[}]")) {
      assertThat(accepts(Constraints.jsonObject(), text)).as(text).isFalse();
    }
  }

  @Test
  void numbers() {
    check(
        "{'type': 'integer'}",
        List.of("0", "-1", "10", "999999999999999999", "-999999999999999999"),
        List.of("", "-", "01", "-0", "1.0", "1e3", "+1", "1 ", "1000000000000000000"));
    check(
        "{'type': 'number'}",
        List.of("0", "-0", "0.5", "-12.25", "1e9", "1.5E-07", "3e+2"),
        List.of("", ".5", "1.", "1e", "00", "1e100", "NaN", "0x1"));
    check("{'type': ['boolean', 'null']}", List.of("true", "false", "null"), List.of("0", "nul"));
  }

  @Test
  void strings() {
    check(
        "{'type': 'string'}",
        List.of("''", "'a b'", "'é€😀'", "'\\n\\t\\b\\f\\r\\\\\\\"'", "'\\u0000\\u001f'"),
        List.of("'", "a", "'\n'", "'\\a'", "'\\u0041'", "'\\'", "'a' "));
    check(
        "{'type': 'string', 'minLength': 2, 'maxLength': 3}",
        List.of("'ab'", "'😀é\\n'"),
        List.of("'a'", "'abcd'", "''"));
    check(
        "{'type': 'string', 'pattern': '^[a-z\\\"\\n]+-.*x'}",
        List.of("'a-x'", "'\\n\\\"b-yxz'", "'a-\\\\x'"),
        List.of("'A-x'", "'a-y'", "'\n-x'"));
    check("{'type': 'string', 'pattern': 'b'}", List.of("'b'", "'a\\nb\\n'"), List.of("'a'", "''"));
  }

  @Test
  void valuesOfEnumAndConst() {
    check(
        "{'enum': ['a\\n', 1.50, null, true, [1, {'k': 'v'}]]}",
        List.of("'a\\n'", "1.50", "null", "true", "[1,{'k':'v'}]"),
        List.of("'a'", "1.5", "false", "[]"));
    check("{'const': 'x'}", List.of("'x'"), List.of("x", "'y'"));
    check("{'type': 'integer', 'enum': ['a', 1, 2.5]}", List.of("1"), List.of("2.5", "'a'"));
  }

  @Test
  void arrays() {
    String items = "{'type': 'array', 'items': {'type': 'integer'}";
    check(
        items + "}",
        List.of("[]", "[1]", "[1,2]", "[1, 2,3]"),
        List.of("[1,]", "[,1]", "[1 ]", "["));
    check(items + ", 'minItems': 2}", List.of("[1,2]", "[1,2,3]"), List.of("[]", "[1]"));
    check(items + ", 'maxItems': 2}", List.of("[]", "[1]", "[1,2]"), List.of("[1,2,3]"));
    check(items + ", 'maxItems': 0}", List.of("[]"), List.of("[1]"));
    check(items + ", 'minItems': 1, 'maxItems': 1}", List.of("[1]"), List.of("[]", "[1,2]"));
  }

  @Test
  void objects() {
    String three =
        "{'type': 'object', 'properties': {'a': {'const': 1}, 'b': {'const': 2}, 'c': {'const':"
            + " 3}}";
    check(
        three + "}",
        List.of("{}", "{'a':1}", "{'b': 2}", "{'a':1,'c':3}", "{'a': 1, 'b': 2, 'c': 3}"),
        List.of("{'b':2,'a':1}", "{'a':1,}", "{,'a':1}", "{'a':1,'a':1}", "{'d':1}", "{'a':2}"));
    check(
        three + ", 'required': ['b'], 'additionalProperties': false}",
        List.of("{'b':2}", "{'a':1,'b':2}", "{'b':2,'c':3}", "{'a':1,'b':2,'c':3}"),
        List.of("{}", "{'a':1}", "{'a':1,'c':3}"));
    check("{'type': 'object'}", List.of("{}"), List.of("{'a':1}", "{ }"));
    check(
        "{'type': 'object', 'properties': {'a/b~\\\"': {'type': 'null'}}}",
        List.of("{'a/b~\\\"':null}"),
        List.of("{'a':null}"));
  }

  @Test
  void referencesMayRecur() {
    check(
        """
        {'$ref': '#/$defs/tree', '$defs': {'tree': {'type': 'object', 'required': ['v'], 'properties':
          {'v': {'type': 'integer'}, 'kids': {'type': 'array', 'items': {'$ref': '#/$defs/tree'}}}}}}
        """,
        List.of(
            "{'v':1}", "{'v':1,'kids':[]}", "{'v':1,'kids':[{'v':2,'kids':[{'v':3}]},{'v':4}]}"),
        List.of("{'v':1,'kids':[{}]}", "{'v':1,'kids':[{'v':2}}"));
    check(
        "{'anyOf': [{'type': 'integer'}, {'type': 'array', 'items': {'$ref': '#'}}]}",
        List.of("1", "[]", "[[1],[[[2]]]]", "[".repeat(3000) + "]".repeat(3000)),
        List.of("[[1]", "[1]]"));
    // It may be itself, which adds nothing.
    check("{'anyOf': [{'$ref': '#'}, {'const': 1}]}", List.of("1"), List.of("", "11"));
  }

  @Test
  void exactlyOneBranchIsAnyWhenTheyDiffer() {
    String shapes =
        """
        {'oneOf': [
          {'type': 'object', 'required': ['kind', 'r'],
           'properties': {'kind': {'const': 'circle'}, 'r': {'type': 'number'}}},
          {'type': 'object', 'required': ['kind', 'w'],
           'properties': {'kind': {'enum': ['square', 'box']}, 'w': {'type': 'number'}}},
          {'type': 'null'}]}
        """;
    check(
        shapes,
        List.of("{'kind':'circle','r':1}", "{'kind': 'box', 'w': 2.5}", "null"),
        List.of("{'kind':'circle','w':1}", "{'kind':'box'}"));
    check(
        "{'oneOf': [{'type':'object','properties':{'a':{'type':'integer'}},'required':['a']},"
            + "{'type':'object','properties':{'b':{'type':'integer'}},'required':['b']}]}",
        List.of("{'a':1}", "{'b':1}"),
        List.of("{}", "{'a':1,'b':1}"));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          {'type': 'integer', 'minimum': 3}                          | schema at #: minimum is not supported here
          {'type': 'string', 'format': 'date'}                       | schema at #: format
          {'type': 'string', 'minItems': 3}                          | schema at #: minItems
          {'type': 'object', 'additionalProperties': true}           | additionalProperties is supported as false alone
          {'type': 'object', 'properties': {'a': {'not': {}}}}       | schema at #/properties/a: found [not], expected type
          {'type': 'object', 'properties': {'a/b': true}}            | schema at #/properties/a~1b: found true, expected an object
          {'type': 'object', 'required': ['a']}                      | required a is not among
          {'type': 'array'}                                          | an array needs items
          {'type': 'array', 'items': {'type': 'null'}, 'uniqueItems': true} | uniqueItems
          {'type': 'array', 'items': {'type': 'null'}, 'minItems': 3, 'maxItems': 2} | minItems 3 is above maxItems 2
          {'type': 'string', 'maxLength': -1}                        | maxLength: found -1
          {'type': 'string', 'pattern': '(?=a)'}                     | schema at #/pattern: regular expression
          {'type': 'string', 'pattern': 'a', 'maxLength': 3}         | pattern beside
          {'type': 'text'}                                           | type text
          {'properties': {}}                                         | expected type
          {}                                                         | expected type
          {'allOf': [{'type': 'null'}]}                              | expected type
          {'type': 'null', 'anyOf': []}                              | type is not supported here
          {'anyOf': []}                                              | anyOf: expected an array that is not empty
          {'enum': ['a'], 'type': 'integer'}                         | no value of const and enum
          {'$ref': 'http://x/y'}                                     | $ref http://x/y, expected #
          {'$ref': '#/$defs/x'}                                      | points to nothing
          {'$ref': '#'}                                              | allows no text at all
          {'oneOf': [{'type': 'integer'}, {'type': 'number'}]}       | branches 0 and 1 may match the same value
          {'oneOf': [{'type': 'string'}, {'const': 'a'}]}            | branches 0 and 1 may match the same value
          {'oneOf': [{'enum': [1, 2]}, {'const': 2.0}]}              | branches 0 and 1 may match the same value
          {'oneOf': [{'type': 'object', 'properties': {'a': {'const': 1}}}, {'type': 'object', 'properties': {'a': {'const': 2}}}]} | may match the same value
          {'type': 'object', 'properties': {'a': {'$ref': '#'}}, 'required': ['a']} | allows no text at all
          {'type': 'null', 'type': 'null'}                           | Duplicate
          [1]                                                        | expected an object
          {'type': 'null'} x                                         | schema: Unrecognized token
          ``                                                         | found no JSON
          """)
  void theRestIsRefusedByName(String schema, String message) {
    assertThatThrownBy(() -> Constraints.jsonSchema(schema.replace('\'', '"')))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining(message);
  }
}
