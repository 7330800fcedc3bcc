package dev.gemma4j.constraint;

import java.util.Map;
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

  private static final String BYTE = "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";

  private static final String COUNT = "\\d{1,6}"; // so that a sum of seconds fits everywhere
  private static final String SECONDS = COUNT + "S";
  private static final String MINUTES = COUNT + "M(" + SECONDS + ")?";
  private static final String HOURS = COUNT + "H(" + MINUTES + ")?";
  private static final String CLOCK = "T(" + HOURS + "|" + MINUTES + "|" + SECONDS + ")";
  private static final String DAYS = COUNT + "D";
  private static final String MONTHS = COUNT + "M(" + DAYS + ")?";
  private static final String YEARS = COUNT + "Y(" + MONTHS + ")?";

  private static final Map<String, String> PATTERNS =
      Map.of(
          "date",
          DATE,
          "time",
          TIME,
          "date-time",
          DATE + "T" + TIME,
          "duration",
          "P(("
              + (DAYS + "|" + MONTHS + "|" + YEARS)
              + (")(" + CLOCK + ")?|" + CLOCK + "|" + COUNT + "W)"),
          "uuid",
          "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
          "ipv4",
          BYTE + "(\\." + BYTE + "){3}",
          "ipv6",
          ipv6(),
          "hostname",
          HOSTNAME,
          "email",
          EMAIL);

  private static final Map<String, Expression> EXPRESSIONS =
      PATTERNS.entrySet().stream()
          .collect(Collectors.toMap(Map.Entry::getKey, e -> RegexParser.constant(e.getValue())));

  private Formats() {}

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

  /** Null when it is not among {@link #names}. */
  static @Nullable Expression of(String format) {
    return EXPRESSIONS.get(format);
  }

  static TreeSet<String> names() {
    return new TreeSet<>(PATTERNS.keySet());
  }
}
