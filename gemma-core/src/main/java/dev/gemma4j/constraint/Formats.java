package dev.gemma4j.constraint;

import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * The formats of strings, as regular expressions. Each allows only what is valid, and leaves out
 * what common readers refuse: the year 0, leap seconds, offsets that no place has, and names so
 * long that counting would be needed.
 */
final class Formats {
  private static final String MONTH_AND_DAY =
      "((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])"
          + "|(0[469]|11)-(0[1-9]|[12]\\d|30)"
          + "|02-(0[1-9]|1\\d|2[0-8]))";
  private static final String YEAR = "(000[1-9]|00[1-9]\\d|0[1-9]\\d\\d|[1-9]\\d{3})";
  private static final String BY_FOUR = "(0[48]|[2468][048]|[13579][26])"; // but 00
  private static final String DATE =
      "(" + YEAR + "-" + MONTH_AND_DAY + "|(\\d\\d" + BY_FOUR + "|" + BY_FOUR + "00)-02-29)";

  /** Microseconds are what all readers keep; java.time has offsets up to 18:00. */
  private static final String TIME =
      "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-](0\\d|1[0-7]):[0-5]\\d)";

  private static final String NAME = "[A-Za-z0-9]{1,30}(-[A-Za-z0-9]{1,15}){0,2}"; // at most 62
  private static final String HOSTNAME = NAME + "(\\." + NAME + "){0,3}"; // at most 251
  private static final String LOCAL = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}"; // three and 2 points
  private static final String EMAIL =
      LOCAL + "(\\." + LOCAL + "){0,2}@" + NAME + "(\\." + NAME + "){0,2}\\.[A-Za-z]{2,20}";

  /** The last part begins with a letter, or some would take it for a number's. */
  private static final String SITE =
      "(" + NAME + "\\.){0,2}[A-Za-z][A-Za-z0-9]{0,30}(-[A-Za-z0-9]{1,15})?";

  private static final String PORT =
      "(:([1-9]\\d{0,3}|[1-5]\\d{4}|6[0-4]\\d{3}|65[0-4]\\d\\d|655[0-2]\\d|6553[0-5]))?";
  private static final String PLAIN = "[A-Za-z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2}"; // no : / ?

  private static final String BYTE = "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";

  private static final String COUNT = "\\d{1,6}"; // so that a sum of seconds fits everywhere
  private static final String SECONDS = COUNT + "S";
  private static final String MINUTES = COUNT + "M(" + SECONDS + ")?";
  private static final String HOURS = COUNT + "H(" + MINUTES + ")?";
  private static final String CLOCK = "T(" + HOURS + "|" + MINUTES + "|" + SECONDS + ")";
  private static final String DAYS = COUNT + "D";
  private static final String MONTHS = COUNT + "M(" + DAYS + ")?";
  private static final String YEARS = COUNT + "Y(" + MONTHS + ")?";

  private static final String DURATION =
      ("P((" + DAYS + "|" + MONTHS + "|" + YEARS + ")(" + CLOCK + ")?|" + CLOCK + "|")
          + (COUNT + "W)");
  private static final String IPV4 = BYTE + "(\\." + BYTE + "){3}";
  private static final String ANY = "[\\s\\S]*";

  /** Filled up, and the bits that are left over 0, as strict readers want. */
  private static final String BASE64 =
      "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]([AQgw]=|[A-Za-z0-9+/][AEIMQUYcgkosw048])=)?";

  private static final String BASE64_URL = BASE64.replace("+/", "_-");

  private static final Map<String, String> PATTERNS =
      Map.ofEntries(
          Map.entry("date", DATE),
          Map.entry("time", TIME),
          Map.entry("date-time", DATE + "T" + TIME),
          Map.entry("duration", DURATION),
          Map.entry("uuid", uuid("[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}")),
          Map.entry("ipv4", IPV4),
          Map.entry("ipv6", ipv6()),
          Map.entry("hostname", HOSTNAME),
          Map.entry("email", EMAIL),
          Map.entry("uri", uri("{0,200}")),
          Map.entry("uri-reference", reference("{0,200}")),
          // Pydantic's and OpenAPI's.
          Map.entry("uuid1", uuid(1)),
          Map.entry("uuid3", uuid(3)),
          Map.entry("uuid4", uuid(4)),
          Map.entry("uuid5", uuid(5)),
          Map.entry("uuid6", uuid(6)),
          Map.entry("uuid7", uuid(7)),
          Map.entry("uuid8", uuid(8)),
          Map.entry("ipvanyaddress", IPV4 + "|" + ipv6()),
          Map.entry("byte", BASE64),
          Map.entry("base64", BASE64),
          Map.entry("base64url", BASE64_URL),
          Map.entry("path", ANY),
          Map.entry("password", ANY),
          Map.entry("binary", ANY));

  /** JSON Schema's, which are not known here. */
  private static final Set<String> UNKNOWN =
      Set.of(
          "idn-email",
          "idn-hostname",
          "iri",
          "iri-reference",
          "uri-template",
          "json-pointer",
          "relative-json-pointer",
          "regex");

  private static final Map<String, Expression> EXPRESSIONS = parsed(PATTERNS);

  /** Those that are better counted by a schema's maxLength than by their own. */
  private static final Map<String, Expression> OPEN =
      parsed(Map.of("uri", uri("*"), "uri-reference", reference("*")));

  private Formats() {}

  private static Map<String, Expression> parsed(Map<String, String> patterns) {
    return patterns.entrySet().stream()
        .collect(Collectors.toMap(Map.Entry::getKey, e -> RegexParser.constant(e.getValue())));
  }

  /** With such a count for each part that may be long. */
  private static String uri(String count) {
    return ("([A-Za-z][A-Za-z0-9]{0,15}://" + SITE + PORT + "|file://)")
        + ("(/(" + PLAIN + "|[:/])" + count + ")?" + afterPath(count))
        + ("|(mailto|tel|urn):[A-Za-z0-9+](" + PLAIN + "|:)" + count);
  }

  private static String reference(String count) {
    String relative = "(/|/?(" + PLAIN + ")(" + PLAIN + "|/)" + count + ")" + afterPath(count);
    return uri(count) + "|" + relative;
  }

  private static String afterPath(String count) {
    String characters = "(" + PLAIN + "|[:/?])" + count;
    return "(\\?" + characters + ")?(#" + characters + ")?";
  }

  private static String uuid(int version) {
    return uuid(version + "[0-9A-Fa-f]{3}-[89ABab][0-9A-Fa-f]{3}");
  }

  private static String uuid(String middle) {
    return "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-" + middle + "-[0-9A-Fa-f]{12}";
  }

  /** Up to eight groups, of which :: leaves out one or more. */
  private static String ipv6() {
    String group = "[0-9A-Fa-f]{1,4}";
    StringBuilder pattern = new StringBuilder("(" + group + ":){7}" + group);
    for (int before = 0; before <= 7; before++) {
      pattern.append('|');
      if (before > 0) {
        pattern.append(group).append("(:" + group + "){" + (before - 1) + "}");
      }
      pattern.append("::");
      if (before < 7) {
        pattern.append("(" + group + "(:" + group + "){0," + (6 - before) + "})?");
      }
    }
    return pattern.toString();
  }

  /**
   * Null when it is not among {@link #names}.
   *
   * @param max how long a text may be, which its own counts may ensure already
   */
  static @Nullable Expression of(String format, double max) {
    Expression known = EXPRESSIONS.get(format);
    return known == null || known.length(true) <= max ? known : OPEN.getOrDefault(format, known);
  }

  /** Whether it says something of a string; any other is a name for what stands beside it. */
  static boolean isDefined(String format) {
    return PATTERNS.containsKey(format) || UNKNOWN.contains(format);
  }

  static TreeSet<String> names() {
    return new TreeSet<>(PATTERNS.keySet());
  }
}
