package dev.gemma4j.constraint;

import static dev.gemma4j.constraint.RegexTest.accepts;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.time.YearMonth;
import java.util.List;
import java.util.function.Function;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
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
  void numbersOfOpenApisFormats() {
    check(
        "{'type': 'integer', 'format': 'int32'}",
        List.of("0", "-7", "2147483647", "-2147483648"),
        List.of("2147483648", "-2147483649", "1.0", "-0"));
    check(
        "{'type': ['null', 'integer'], 'format': 'int64', 'minimum': 3}",
        List.of("null", "3", "9223372036854775807"),
        List.of("2", "9223372036854775808"));
    check(
        "{'type': 'integer', 'format': 'int32', 'maximum': 5e9}",
        List.of("5"),
        List.of("5000000000"));
    check("{'type': 'number', 'format': 'int32'}", List.of("5"), List.of("5.5", "2147483648"));
    for (String format : List.of("float", "double")) {
      check(
          "{'type': 'number', 'format': '" + format + "'}", List.of("0.5", "1e9"), List.of("'a'"));
      check(
          "{'type': 'number', 'format': '" + format + "', 'maximum': 1}",
          List.of("0.5"),
          List.of("1.5"));
    }
    check(
        "{'type': ['number', 'string'], 'format': 'date'}",
        List.of("0.5", "'2024-02-29'"),
        List.of("'a'"));
  }

  @Test
  void theTypeMayGoWithoutSaying() {
    check(
        "{'properties': {'a': {'type': 'null'}}, 'required': ['a']}",
        List.of("{'a':null}"),
        List.of("{}", "1", "[]"));
    check(
        "{'additionalProperties': {'type': 'null'}}",
        List.of("{'b':null}"),
        List.of("{'a':1}", "1"));
    check("{'items': {'type': 'null'}}", List.of("[]", "[null]"), List.of("[1]", "null"));
    check("{'minItems': 1}", List.of("[1]"), List.of("[]", "1"));
    check("{'pattern': '^a'}", List.of("'ab'"), List.of("'b'", "1"));
    check("{'maxLength': 2, 'title': 'x'}", List.of("'ab'"), List.of("'abc'", "1"));
    check("{'minimum': 2, 'format': 'double'}", List.of("2", "2.5"), List.of("1", "'ab'"));
    // Any null is valid for the first, so both would be; an object is valid for one alone.
    assertThatThrownBy(
            () ->
                Constraints.jsonSchema("{\"oneOf\": [{\"properties\": {}}, {\"type\": \"null\"}]}"))
        .hasMessageContaining("branches 0 and 1 may match the same value");
    check(
        "{'oneOf': [{'properties': {'k': {'const': 1}}, 'required': ['k']},"
            + "{'properties': {'k': {'const': 2}}, 'required': ['k']}]}",
        List.of("{'k':1}", "{'k':2}"),
        List.of("{}", "1"));
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
    check(
        "{'type': 'object', 'properties': {'a/b~\\\"': {'type': 'null'}}}",
        List.of("{'a/b~\\\"':null}"),
        List.of("{'a':null}"));
  }

  @Test
  void whatIsNotSaidIsAnyValue() {
    List<String> values =
        List.of("1", "'a'", "null", "true", "[]", "[1, ['x'],{}]", "{}", "{'a': {'b':[-0.5]}}");
    List<String> none = List.of("", "{'a'}", "[1,]", "nul", "{'a':1,}", "1 ");
    for (String any : List.of("true", "{}", "{'title': 'Anything', 'description': 'x'}")) {
      check(any, values, none);
      check(
          "{'type': 'object', 'properties': {'a': " + any + "}, 'required': ['a']}",
          values.stream().map(value -> "{'a':" + value + "}").toList(),
          List.of("{}", "{'b':1}", "{'a':1,'b':1}"));
    }
    check("{'type': 'array'}", List.of("[]", "[1,'a', {'b':null}]"), List.of("{}", "1", "[,]"));
    check("{'type': 'array', 'items': false}", List.of("[]"), List.of("[1]", "[null]"));
  }

  @Test
  void anObjectWithoutPropertiesIsAnyOrAMap() {
    List<String> objects = List.of("{}", "{'a':1}", "{'a\\n': [1], 'b':{'c':null}}");
    for (String any :
        List.of("", ", 'properties': {}", ", 'additionalProperties': true", ", 'required': []")) {
      check("{'type': 'object'" + any + "}", objects, List.of("[]", "{ }", "{'a'}", "null", ""));
    }
    check(
        "{'type': 'object', 'additionalProperties': {'type': 'integer'}}",
        List.of("{}", "{'a':1}", "{'a': 1, 'b':-2}"),
        List.of("{'a':'b'}", "{'a':null}", "{'a':1.5}"));
    check(
        "{'type': 'object', 'additionalProperties': false}",
        List.of("{}"),
        List.of("{'a':1}", "{ }"));
    check(
        "{'type': 'object', 'additionalProperties': true, 'properties': {'a': {'type': 'null'}}}",
        List.of("{}", "{'a':null}"),
        List.of("{'a':1}", "{'b':null}"));
  }

  @Test
  void clientsNameTheTagOfAUnion() {
    check(
        "{'discriminator': {'propertyName': 'k'}, 'oneOf': [{'type': 'object', 'required': ['k'],"
            + " 'properties': {'k': {'const': 'a'}}}, {'type': 'null'}]}",
        List.of("{'k':'a'}", "null"),
        List.of("{'k':'b'}", "{}"));
  }

  @Test
  void whatPydanticWritesIsUnderstood() {
    check(
        """
        {'$defs': {'Mood': {'enum': ['glad', 'sad'], 'title': 'Mood', 'type': 'string'}},
         'properties': {
          'name': {'maxLength': 20, 'minLength': 1, 'title': 'Name', 'type': 'string'},
          'age': {'maximum': 150, 'minimum': 0, 'title': 'Age', 'type': 'integer'},
          'height': {'anyOf': [{'exclusiveMinimum': 0, 'type': 'number'}, {'type': 'null'}], 'default': null, 'title': 'Height'},
          'born': {'format': 'date', 'title': 'Born', 'type': 'string'},
          'mood': {'$ref': '#/$defs/Mood'},
          'scores': {'additionalProperties': {'type': 'integer'}, 'title': 'Scores', 'type': 'object'},
          'other': {'additionalProperties': true, 'title': 'Other', 'type': 'object'},
          'any': {'title': 'Any'}},
         'required': ['name', 'age', 'born', 'mood', 'scores', 'other', 'any'],
         'title': 'Person', 'type': 'object'}
        """,
        List.of(
            "{'name':'Ann','age':150,'height':1.75,'born':'2000-02-29','mood':'sad','scores':{'a':1},'other':{'x':[]},'any':null}",
            "{'name':'Ann','age':0,'height':null,'born':'1999-12-31','mood':'glad','scores':{},'other':{},'any':[1]}"),
        List.of(
            "{'name':'Ann','age':151,'born':'2000-02-29','mood':'sad','scores':{},'other':{},'any':1}",
            "{'name':'Ann','age':1,'height':0,'born':'2000-02-29','mood':'sad','scores':{},'other':{},'any':1}",
            "{'name':'Ann','age':1,'born':'2001-02-29','mood':'sad','scores':{},'other':{},'any':1}",
            "{'name':'Ann','age':1,'born':'2000-02-29','mood':'sad','scores':{'a':'b'},'other':{},'any':1}"));
  }

  private static String written(String name) throws IOException {
    try (InputStream file = JsonSchemaTest.class.getResourceAsStream(name)) {
      return new String(file.readAllBytes(), StandardCharsets.UTF_8).replace("'", "\\u0027");
    }
  }

  /** By toJSONSchema of Zod 4.6. */
  @Test
  void whatZodWritesIsUnderstood() throws IOException {
    String start =
        "{'site':'https://a.de/b','mail':'ann@example.org','id':'123e4567-e89b-42d3-a456-426614174000',"
            + "'born':'2024-02-29','at':'2024-02-29T10:00:00.5+01:00','hour':'10:00','length':'P1DT2H','count':7,"
            + "'net':'10.0.0.0/8',";
    String end = ",'words':{'ab':null},'pair':['a',1.5],'rest':[true,null,null],'open':{'a':null}}";
    check(
        written("zod.json"),
        List.of(
            start + "'code':'A-yz','marks':{'en':1,'de':2},'some':{}" + end,
            start + "'code':'A-xyzz','marks':{'en':1,'de':2},'some':{'b':true}" + end),
        List.of(
            start + "'code':'A-z','marks':{'en':1,'de':2},'some':{}" + end,
            start + "'code':'A-wxyzz','marks':{'en':1,'de':2},'some':{}" + end,
            start + "'code':'A-yx','marks':{'en':1,'de':2},'some':{}" + end,
            start + "'code':'A-yz','marks':{'en':1},'some':{}" + end,
            start + "'code':'A-yz','marks':{'en':1,'de':2},'some':{'c':true}" + end));
  }

  /** By model_json_schema of Pydantic 2.13. */
  @Test
  void whatPydanticWritesOfItsTypesIsUnderstood() throws IOException {
    String start =
        "{'site':'https://a.de/b','other':'urn:a:b','mail':'ann@example.org',"
            + "'id':'123e4567-e89b-12d3-a456-426614174000',"
            + "'key':'123e4567-e89b-42d3-a456-426614174000','born':'2024-02-29',"
            + "'at':'2024-02-29T10:00:00Z','hour':'10:00:00Z','length':'P1DT2H','price':'1.50',";
    String rest = ",'marks':{},'titles':{},'words':{},'short':{}";
    String end =
        ",'days':{'2024-02-29':true},'pair':[1,'a'],'secret':'x',"
            + "'amount':'-123.45','data':'QQ==','url':'-_-_'}";
    check(
        written("pydantic.json"),
        List.of(
            start
                + "'code':'AB-cd','marks':{'b':1},'titles':{'de':'x'},'words':{'ab':true},'short':{'Abc':true}"
                + end,
            start + "'code':'A-'" + rest + end,
            start + "'code':'A-'" + rest + end.replace("-123.45", "+0012.5000")),
        List.of(
            start + "'code':'A-'" + rest + end.replace("-123.45", "1234.5"),
            start + "'code':'A-'" + rest + end.replace("-123.45", "1.234"),
            start + "'code':'A-'" + rest + end.replace("-123.45", "12x"),
            start + "'code':'A-'" + rest + end.replace("QQ==", "QQ="),
            start + "'code':'A-'" + rest + end.replace("-_-_", "-_-/"),
            start + "'code':'AB-cde','marks':{},'titles':{},'words':{},'short':{}" + end,
            start.replace("1.50", ".")
                + "'code':'A-','marks':{},'titles':{},'words':{},'short':{}"
                + end,
            start + "'code':'-','marks':{},'titles':{},'words':{},'short':{}" + end,
            start + "'code':'A-','marks':{'c':1},'titles':{},'words':{},'short':{}" + end,
            start + "'code':'A-','marks':{},'titles':{'fr':'x'},'words':{},'short':{}" + end,
            start + "'code':'A-','marks':{},'titles':{},'words':{'A':true},'short':{}" + end,
            start + "'code':'A-','marks':{},'titles':{},'words':{},'short':{'abcd':true}" + end));
  }

  @Test
  void conditionsOfAStringHoldTogether() {
    check(
        "{'type': 'string', 'pattern': '^[a-z\\n]+$', 'minLength': 2, 'maxLength': 3}",
        List.of("'ab'", "'abc'", "'a\\n'"),
        List.of("'a'", "'abcd'", "'aB'", "''"));
    check(
        "{'type': ['string', 'null'], 'format': 'date', 'pattern': '^20', 'maxLength': 10}",
        List.of("null", "'2024-02-29'"),
        List.of("'1999-12-31'", "'2023-02-29'", "'20'"));
    check(
        "{'type': 'string', 'pattern': 'é', 'allOf': [{'pattern': '^a'}, {'maxLength': 3}]}",
        List.of("'aé'", "'aéé'", "'axé'"),
        List.of("'a'", "'é'", "'aéxx'"));
    check(
        "{'type': 'string', 'format': 'starts_with', 'pattern': '^a.*'}",
        List.of("'a'", "'ab'"),
        List.of("'ba'"));
    check(
        "{'type': 'string', 'contentEncoding': 'base64', 'format': 'base64', 'maxLength': 4,"
            + " 'pattern': '^[A-Z=]+$'}",
        List.of("'QQ=='", "'QUI='", "'QUID'"),
        List.of("'QR=='", "'Qw=='", "'QUIDQUID'", "''"));
    check(
        "{'contentEncoding': 'base64url'}",
        List.of("''", "'-_-_'"),
        List.of("'+/+/'", "'QQ'", "1"));
    check(
        "{'type': 'string', 'format': 'uri', 'maxLength': 20}",
        List.of("'http://example.org/a'", "'a://b'"),
        List.of("'http://example.org/ab'", "'example'"));
    // No text that has begun is without an end.
    Constraint both =
        Constraints.jsonSchema(
            "{\"type\": \"string\","
                + " \"allOf\": [{\"pattern\": \"^a+(b|c)$\"}, {\"pattern\": \"^(a+b|ac+d)$\"}]}");
    HostileConstraintsTest.walk(both);
    assertThat(accepts(both, "\"aab\"")).isTrue();
    assertThat(both.start().next('"').next('a').next('c')).isNull();
  }

  @Test
  void namesOfAMap() {
    check(
        "{'propertyNames': {'enum': ['b', 'a', 1]}, 'additionalProperties': {'type': 'null'}}",
        List.of("{}", "{'b':null,'a':null}", "{'a':null}"),
        List.of("{'a':null,'b':null}", "{'a':null,'a':null}", "{'c':null}", "{'a':1}"));
    check(
        "{'propertyNames': {'anyOf': [{'$ref': '#/$defs/x'}, {'const': 'b'}]}, 'required': ['b'],"
            + " '$defs': {'x': {'anyOf': [{'$ref': '#/$defs/x'}, {'const': 'a'}]}}}",
        List.of("{'b':[]}", "{'b':1,'a':{}}"),
        List.of("{}", "{'a':1}"));
    check(
        "{'type': 'object', 'propertyNames': {'anyOf': [{'const': 'x'}, {'minLength': 3}]},"
            + " 'additionalProperties': {'type': 'null'}}",
        List.of("{}", "{'x':null}", "{'abc':null,'x':null}"),
        List.of("{'ab':null}", "{'x':1}"));
    check(
        "{'propertyNames': {'type': ['null', 'string'], 'format': 'date'}}",
        List.of("{'2024-02-29':1}"),
        List.of("{'2023-02-29':1}"));
    check("{'propertyNames': true}", List.of("{'a':1}"), List.of("1"));
    for (String none : List.of("false", "{'type': 'integer'}")) {
      check("{'propertyNames': " + none + "}", List.of("{}"), List.of("{'a':1}", "{'1':1}"));
    }
    check(
        "{'patternProperties': {'^x/': {'type': 'null'}}}",
        List.of("{}", "{'x/y':null,'x/':null}"),
        List.of("{'y':null}", "{'x/':1}"));
    check(
        "{'oneOf': [{'propertyNames': {'const': 'a'}, 'required': ['a']},"
            + "{'propertyNames': {'const': 'b'}, 'required': ['b']}]}",
        List.of("{'a':1}", "{'b':1}"),
        List.of("{}"));
  }

  @Test
  void firstItems() {
    String two = "{'type': 'array', 'prefixItems': [{'type': 'null'}, {'type': 'boolean'}]";
    check(
        two + "}",
        List.of("[]", "[null]", "[null, true]", "[null,true,1,'a']"),
        List.of("[true]", "[null,1]", "[null,]"));
    check(
        two + ", 'items': {'const': 1}, 'minItems': 1, 'maxItems': 3}",
        List.of("[null]", "[null,true]", "[null,true,1]"),
        List.of("[]", "[null,true,2]", "[null,true,1,1]"));
    check(
        two + ", 'items': false, 'minItems': 2}",
        List.of("[null,true]"),
        List.of("[null]", "[null,true,1]"));
    check(two + ", 'minItems': 3}", List.of("[null,true,1]"), List.of("[null,true]"));
    check(two + ", 'maxItems': 1}", List.of("[]", "[null]"), List.of("[null,true]"));
    check(two + ", 'maxItems': 0}", List.of("[]"), List.of("[null]"));
  }

  @Test
  void manyValuesAreFewPlaces() {
    List<String> values = IntStream.range(0, 20_000).mapToObj(i -> "'v" + i * 7 + "'").toList();
    check(
        "{'enum': [" + String.join(",", values) + "]}",
        List.of("'v0'", "'v7'", "'v77'", "'v139993'"),
        List.of("'v1'", "'v'", "'v140000'"));
  }

  @Test
  void dates() {
    Constraint date = Constraints.jsonSchema("{\"type\": \"string\", \"format\": \"date\"}");
    for (int year = 0; year < 10_000; year += year >= 1890 && year < 2110 ? 1 : 13) {
      for (int month = 0; month <= 13; month++) {
        for (int day = month == 2 ? 27 : 0; day <= 32; day++) {
          String text = String.format("%04d-%02d-%02d", year, month, day);
          assertThat(accepts(date, '"' + text + '"'))
              .as(text)
              .isEqualTo(year > 0 && isDate(year, month, day));
        }
      }
    }
  }

  private static boolean isDate(int year, int month, int day) {
    return month >= 1
        && month <= 12
        && day >= 1
        && day <= YearMonth.of(year, month).lengthOfMonth();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          date      | 2024-02-29 0004-02-29 2000-02-29 0001-01-01 | 1900-02-29 2023-02-29 24-01-01 2024-1-01 0000-02-29
          time      | 00:00:00Z 23:59:59.123456+05:30 12:00:00.5-08:00 | 24:00:00Z 12:60:00Z 12:00:00 12:00Z 12:00:00.Z 23:59:60Z
          date-time | 2026-11-26T20:12:06Z 2024-02-29T00:00:00.1+00:00 | 2026-11-26 2026-11-26T20:12:06 2023-02-29T00:00:00Z 2026-11-26t20:12:06Z
          duration  | P1D P1Y2M3D P1YT1S PT1H2M3S P2W PT5M P1M PT36H | P PT P1YT P1Y3D PT1H3S P1W1D 1D P-1D P1.5D
          uuid      | 123e4567-e89b-12d3-a456-426614174000 00000000-0000-0000-0000-00000000000F | 123e4567e89b12d3a456426614174000 123e4567-e89b-12d3-a456-42661417400
          ipv4      | 0.0.0.0 255.255.255.255 192.168.1.10 | 256.1.1.1 1.2.3 01.2.3.4 1.2.3.4.5 1..2.3
          ipv6      | :: ::1 1:: 1:2:3:4:5:6:7:8 fe80::1:2 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8 1::3:4:5:6:7:8 | : ::: 1:2:3:4:5:6:7 1:2:3:4:5:6:7:8:9 1::2::3 12345:: 1:2:3:4:5:6:7::8 :1::
          hostname  | a localhost a-b.example.com x1.y2.z3.w4 EXAMPLE.org | -a a- a..b .a a. a_b ä.de a.b.c.d.e
          uri       | https://en.wikipedia.org/wiki/Foo_(bar)?a=%C3%A9&b=/#c http://localhost:65535 ftp://a-b.example/x//y urn:isbn:0451450523 mailto:a.b@c.de file:///etc/x | example.org /a a://b:65536 http://a/%g1 http://ä.de http://a/## # http://a/[ 1a://b
          uri-reference | ../a/b?c#d /a/ a?b:c http://a/b / | //a: a:b% ?a #b a#b#c
          uuid4     | 123e4567-e89b-42d3-a456-426614174000 | 123e4567-e89b-12d3-a456-426614174000 123e4567-e89b-42d3-c456-426614174000
          ipvanyaddress | 1.2.3.4 ::1 | 1.2.3 :
          base64    | QQ== QUI= QUJD QUJDQQ== +/+/ | Q QQ QQ= QUI QR== QUJ= QQ==QQ== -_-_ ====
          base64url | QQ== QUI= -_-_ | QQ +/+/
          byte      | QQ== QUI= +/+/ | QQ -_-_
          email     | a@b.cd first.last+tag@sub.example.org o'x@example.com | a@b @b.cd a@ a.b.cd .a@b.cd a..b@c.de a.@b.cd a@-b.cd a@b.c1
          """)
  void formats(String format, String valid, String invalid) {
    Function<String, List<String>> texts =
        list -> Stream.of(list.split(" ")).map(text -> '"' + text + '"').toList();
    Constraint constraint =
        Constraints.jsonSchema("{\"type\": \"string\", \"format\": \"" + format + "\"}");
    assertThat(texts.apply(valid)).allMatch(text -> accepts(constraint, text));
    assertThat(texts.apply(invalid)).noneMatch(text -> accepts(constraint, text));
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
    // A reference is part of a URI.
    check(
        "{'$ref': '#/%24defs/My%20Type+%C3%A9~1%7E0%25', '$defs': {'My Type+é/~%': {'const': 1}}}",
        List.of("1"), List.of("2"));
    check("{'$ref': '#/$defs/a b', '$defs': {'a b': {'const': 1}}}", List.of("1"), List.of("2"));
    check(
        "{'type': 'object', 'properties': {'a%20b': {'const': 1}, 'a b': {'const': 2},"
            + "'c': {'$ref': '#/properties/a%20b'}, 'd': {'$ref': '#/properties/a%2520b'}}}",
        List.of("{'a%20b':1,'a b':2,'c':2,'d':1}"), List.of("{'a%20b':2}", "{'c':1}", "{'d':2}"));
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

  /** A second; minutes if each value was read again for each branch that it is compared with. */
  @Test
  @Timeout(60)
  void largeValuesOfManyBranchesAreSoonCompared() {
    List<String> branches =
        IntStream.range(0, 800)
            .mapToObj(i -> "{\"const\":[" + i + ",[]".repeat(2000) + "]}")
            .toList();
    assertThatThrownBy(
            () -> Constraints.jsonSchema("{\"oneOf\":[" + String.join(",", branches) + "]}"))
        .hasMessageContaining("expected a smaller one");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          {'type': 'integer', 'multipleOf': 3}                       | schema at #: multipleOf is not supported here
          {'type': 'string', 'minimum': 3}                           | schema at #: minimum is not supported here
          {'type': 'integer', 'minimum': '3'}                        | schema at #: minimum: found "3", expected a number
          {'type': 'integer', 'exclusiveMinimum': true}              | exclusiveMinimum: found true, expected a number
          {'type': 'integer', 'minimum': 3, 'maximum': 2}            | schema at #: no integer is between its bounds
          {'type': 'integer', 'exclusiveMinimum': 3, 'exclusiveMaximum': 4} | no integer
          {'type': 'number', 'minimum': 1e200}                       | minimum: found 1E+200, expected at most 100 digits
          {'type': 'number', 'maximum': -1e999999999}                | maximum: found -1E+999999999, expected at most 100 digits
          {'type': 'number', 'maximum': 1e99999999999}               | found 1e99999999999 for a number
          {'type': 'string', 'format': 'iri'}                        | schema at #: format iri, expected some of [base64, base64url, binary, byte, date, date-time, duration, email
          {'type': 'string', 'format': 'iri', 'pattern': 'a'}        | schema at #: format iri
          {'type': 'string', 'format': 'starts_with'}                | schema at #: format starts_with
          {'type': 'string', 'format': 'date', 'maxLength': 3}       | allows no text at all
          {'type': 'string', 'format': 'date', 'pattern': 'a'}       | allows no text at all
          {'type': 'string', 'pattern': 'a', 'maxLength': 100000}    | what holds together for a string needs too many states
          {'type': 'string', 'allOf': [{'enum': ['a']}]}             | schema at #/allOf/0: enum is not supported here
          {'type': 'string', 'allOf': [{'pattern': 'a+?+'}]}         | schema at #/allOf/0/pattern: regular expression
          {'type': 'string', 'minItems': 3}                          | schema at #: minItems
          {'type': 'object', 'properties': {'a': {}}, 'additionalProperties': {'type': 'null'}} | additionalProperties beside properties
          {'type': 'object', 'properties': {'a': {'not': {}}}}       | schema at #/properties/a: found [not], expected type
          {'type': 'object', 'properties': {'a/b': 1}}               | schema at #/properties/a~1b: found 1, expected an object
          {'type': 'object', 'required': ['a']}                      | required a is not among
          {'type': 'array', 'items': {'type': 'null'}, 'uniqueItems': true} | uniqueItems
          {'type': 'array', 'items': {'type': 'null'}, 'minItems': 3, 'maxItems': 2} | minItems 3 is above maxItems 2
          {'type': 'string', 'maxLength': -1}                        | maxLength: found -1
          {'type': 'string', 'pattern': '(?=a)'}                     | schema at #/pattern: regular expression
          {'type': 'object', 'propertyNames': {'enum': [1]}}         | schema at #/propertyNames: no value of const and enum
          {'type': 'object', 'propertyNames': {'minimum': 1}}        | schema at #/propertyNames: minimum is not supported here
          {'type': 'object', 'propertyNames': {'oneOf': [{}]}}       | schema at #/propertyNames: oneOf is not supported of names
          {'type': 'object', 'propertyNames': {'anyOf': [{}], 'minLength': 1}} | schema at #/propertyNames: minLength is not supported here
          {'type': 'object', 'propertyNames': {'pattern': 'a'}, 'required': ['a']} | required a is not among
          {'type': 'object', 'propertyNames': {'enum': ['b']}, 'required': ['a']} | required a is not among
          {'type': 'object', 'propertyNames': {}, 'properties': {'a': {}}} | only one of properties, propertyNames
          {'type': 'object', 'patternProperties': {'a': {}}, 'properties': {'a': {}}} | only one of properties, propertyNames
          {'type': 'object', 'patternProperties': {'a': {}, 'b': {}}} | patternProperties is supported with one pattern alone
          {'type': 'object', 'patternProperties': {'(?=a)': {}}}     | schema at #/patternProperties/(?=a)/pattern: regular
          {'type': 'array', 'prefixItems': []}                       | prefixItems: expected an array that is not empty
          {'oneOf': [{'propertyNames': {'enum': ['a']}, 'required': ['a']}, {'propertyNames': {'const': 'a'}, 'required': ['a']}]} | may match the same value
          {'type': 'text'}                                           | type text
          {'type': []}                                               | type: expected some of
          {'type': ['null', 1]}                                      | type 1, expected some of
          false                                                      | allows no text at all
          {'properties': {}, 'items': {}}                            | found [properties, items], expected type
          {'properties': {}, 'nullable': true}                       | nullable is not supported here
          {'format': 'date'}                                         | found [format], expected type
          {'type': 'integer', 'format': 'uint7'}                     | format uint7, expected int32, int64, float or double
          {'type': 'object', 'required': 'a', 'properties': {'a': {}}} | required: found "a", expected an array of strings
          {'type': 'object', 'required': [1]}                        | required: expected an array of strings
          {'allOf': [{'type': 'null'}]}                              | expected type
          {'type': 'null', 'anyOf': []}                              | type is not supported here
          {'anyOf': []}                                              | anyOf: expected an array that is not empty
          {'enum': ['a'], 'type': 'integer'}                         | no value of const and enum
          {'$ref': 'http://x/y'}                                     | $ref http://x/y, expected #
          {'$ref': '#/$defs/x'}                                      | points to nothing
          {'$ref': '#/100%'}                                         | $ref #/100%, expected two hexadecimal digits
          {'$ref': '#/%-1'}                                          | expected two hexadecimal digits
          {'$ref': '#'}                                              | allows no text at all
          {'oneOf': [{'type': 'integer'}, {'type': 'number'}]}       | branches 0 and 1 may match the same value
          {'oneOf': [{'type': 'string'}, {'const': 'a'}]}            | branches 0 and 1 may match the same value
          {'oneOf': [{'enum': [1, 2]}, {'const': 2.0}]}              | branches 0 and 1 may match the same value
          {'oneOf': [{'const': {'a': [1]}}, {'const': {'a': [1.0]}}]} | branches 0 and 1 may match the same value
          {'oneOf': [{'type': 'null'}, {}]}                          | branches 0 and 1 may match the same value
          {'oneOf': [{'type': 'null'}, true]}                        | branches 0 and 1 may match the same value
          {'oneOf': [{'type': 'object'}, {'type': 'object', 'properties': {'a': {}}, 'required': ['a']}]} | may match the same value
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
