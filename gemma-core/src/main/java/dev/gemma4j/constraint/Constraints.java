package dev.gemma4j.constraint;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * The usual constraints. Compile one once and share it: all are immutable and safe for any number
 * of threads and generations. Two of the same text are equal, so that a generation with one knows
 * what the model's last ones with the other found out. To compile a large one may take seconds,
 * which an interrupt of the thread ends with a {@link java.util.concurrent.CancellationException};
 * it stays set. What an ambiguous one such as {@code [a-z]*[aeiou][a-z]{1000}} allows may take
 * seconds at each token, which a cancelled generation ends. A text that can be read in more than
 * 5000 ways at once is not understood: {@code ((a?){1000}){1000}} is refused, and {@code
 * x((a?){1000}){1000}} ends a generation after its x with an {@link IllegalStateException}.
 */
public final class Constraints {
  private Constraints() {}

  /**
   * Exactly one of some texts.
   *
   * @throws IllegalArgumentException when there are none, or they are too large
   */
  public static Constraint choice(String... texts) {
    if (texts.length == 0) {
      throw new IllegalArgumentException("expected at least one choice");
    }
    List<Expression> options =
        List.of(texts).stream().<Expression>map(Expression.Literal::new).toList();
    List<String> source = new ArrayList<>(List.of("choice"));
    source.addAll(List.of(texts));
    return new Automaton(source, new Expression.Choice(options), Map.of());
  }

  /**
   * A text that matches a regular expression as a whole, as {@link String#matches} tests it.
   * Understood are characters, {@code .}, classes such as {@code [a-z_]} and {@code [^"]}, the
   * ASCII classes {@code \d \D \w \W \s \S}, the escapes {@code \t \n \r \f \xhh \\uhhhh} and
   * {@code \} before punctuation, groups {@code (...)} and {@code (?:...)}, {@code |}, the
   * repetitions {@code ? * + {n} {n,} {n,m}} up to 1000, greedy or lazy (which is the same here),
   * {@code ^} at the beginning and {@code $} at the end, and look-ahead {@code (?=...)} and {@code
   * (?!...)}, not in another one. Look-ahead and {@code $} may stand in groups too that nothing but
   * the end follows; all alternatives of such a group then go to the end. All else is refused:
   * look-behind, back references, word boundaries, possessive repetition, flags, named groups,
   * Unicode properties, and nested or intersected classes, and more than 100 groups within each
   * other.
   *
   * @throws IllegalArgumentException that says what is not understood and where it stands, that no
   *     text matches, or that the expression is too large
   */
  public static Constraint regex(String pattern) {
    return new Automaton(List.of("regex", pattern), RegexParser.parse(pattern, false), Map.of());
  }

  /**
   * JSON that is valid for a schema (<a href="https://json-schema.org/draft/2020-12">draft
   * 2020-12</a>). Understood are
   *
   * <ul>
   *   <li>{@code true} and {@code {}}, any value; {@code false}, none;
   *   <li>{@code type}, one or several of object, array, string, number, integer, boolean, null;
   *   <li>{@code properties}, {@code required}, {@code additionalProperties}, {@code true}, {@code
   *       {}} or {@code false}: only the listed properties are written, in the schema's order;
   *   <li>an object without {@code properties}: any object, or one whose values are all valid for
   *       {@code additionalProperties}. Nothing keeps a name from coming twice in it. Its names may
   *       have a schema of strings, {@code propertyNames}, with {@code $ref} and {@code anyOf};
   *       when all are listed by {@code enum} or {@code const}, they are properties as above. Of
   *       {@code patternProperties} with one pattern only names that match are written;
   *   <li>{@code prefixItems}, {@code items}, else any; {@code minItems}, {@code maxItems};
   *   <li>{@code minLength}, {@code maxLength} in code points; {@code pattern}, which is matched
   *       anywhere in the string and understood as {@link #regex} does; {@code format}: date, time,
   *       date-time, duration, uuid, ipv4, ipv6, hostname, email, uri, uri-reference, Pydantic's
   *       uuid1, uuid3 to uuid8, ipvanyaddress, base64 and base64url, OpenAPI's byte, which is
   *       base64 too, and password, path and binary, which are any string; {@code contentEncoding}:
   *       base64 or base64url. Beside a pattern a name that JSON Schema does not define, such as
   *       Zod's starts_with, does nothing. Several of these hold together, those in an {@code
   *       allOf} too, if they are not too large together, as a large {@code maxLength} is beside a
   *       pattern. A pattern is one of ECMAScript, with its flag u, so {@code \S} leaves out
   *       Unicode's spaces too, while {@code \D} and {@code \W} are all but the ASCII digits and
   *       word characters, where a validator in Python or Rust may know more;
   *   <li>{@code minimum}, {@code maximum}, {@code exclusiveMinimum}, {@code exclusiveMaximum} of
   *       up to 100 digits; a number that has one is written without exponent. Next to an exclusive
   *       one, numbers that a {@code double} cannot tell from it are left out;
   *   <li>OpenAPI's formats of numbers: int32 and int64, which make integers within those bounds of
   *       them, float and double, which do nothing;
   *   <li>{@code enum}, {@code const}, alone or with a {@code type};
   *   <li>{@code anyOf}; {@code oneOf} when its branches cannot match the same value: they differ
   *       in type, in values, or in a required property;
   *   <li>{@code $ref} to a place in the same schema, recursive ones too; {@code $defs};
   *   <li>titles, descriptions, defaults and examples, and beside {@code anyOf} or {@code oneOf}
   *       OpenAPI's {@code discriminator}, which do nothing.
   * </ul>
   *
   * All other keywords are refused, not ignored, {@code allOf} of anything but strings among them.
   * Where there is no {@code type}, keywords of objects, arrays, strings or numbers such as {@code
   * properties} mean that one, though JSON Schema would allow all others; {@code format} alone, or
   * keywords of several, are refused. A space may follow each comma and colon; there is no other
   * white space. Strings escape only what JSON wants escaped. Numbers have at most 18 digits before
   * the point, 17 after it, and two in the exponent, so integers fit a {@code long} and numbers a
   * {@code double}, unless their bounds have more. Of a format's texts the unusual are left out:
   * leap seconds, the year 0, offsets of 18 hours and more, counts of more than six digits in a
   * duration, host names of more than four parts, parts with more than two hyphens, 30 characters
   * before the first or 15 after one, more than three parts of 20 characters before an address's at
   * sign, users in a URI, hosts of more than three parts or that are addresses, more than 200
   * characters in each of its path, its query and its fragment, and schemes without {@code //} but
   * mailto, tel and urn.
   *
   * @throws IllegalArgumentException that names place and keyword, when the schema is not
   *     understood, is no JSON or too large, or no value is valid
   */
  public static Constraint jsonSchema(String schema) {
    return SchemaCompiler.compile(schema);
  }

  /**
   * Any JSON object, spelt as {@link #jsonSchema} spells JSON. It may nest without limit, so a
   * small {@code maxTokens} can cut it, and have a name twice.
   */
  public static Constraint jsonObject() {
    return SchemaCompiler.anyObject();
  }
}
