package dev.gemma4j.constraint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.ref.WeakReference;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The same texts match as with java.util.regex. */
class RegexTest {
  private static final String[] ALPHABET = {"a", "b", "0", "-", "\n", " ", "é", "€", "😀"};

  /** Whether a text is valid; fails when a state from which nothing can follow is not refused. */
  static boolean accepts(Constraint constraint, String text) {
    Constraint.State state = constraint.start();
    for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
      state = state.next(b & 0xff);
      if (state == null) {
        return false;
      }
    }
    return state.isAccepting();
  }

  private static List<String> texts(int maxLength) {
    List<String> texts = new ArrayList<>(List.of(""));
    for (int from = 0, length = 1; length <= maxLength; length++) {
      int to = texts.size();
      for (; from < to; from++) {
        for (String next : ALPHABET) {
          texts.add(texts.get(from) + next);
        }
      }
    }
    return texts;
  }

  private static String random(Random random, int depth) {
    return switch (random.nextInt(depth == 0 ? 4 : 9)) {
      case 0 ->
          List.of("a", "b", "0", "-", "\\n", "é", "😀", "\\u20ac", "\\x61").get(random.nextInt(9));
      case 1 -> List.of(".", "\\d", "\\w", "\\s", "\\D", "\\W", "\\S").get(random.nextInt(7));
      case 2 ->
          List.of("[ab]", "[^a]", "[a-b0]", "[^\\d-]", "[-a]", "[\\w€]", "[à-ü]", "[€-😀]", "[^é]")
              .get(random.nextInt(9));
      case 3 -> "";
      case 4, 5 -> random(random, depth - 1) + random(random, depth - 1);
      case 6 -> "(" + random(random, depth - 1) + "|" + random(random, depth - 1) + ")";
      default ->
          "(?:"
              + random(random, depth - 1)
              + ")"
              + List.of("*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "{2,3}?", "{0}")
                  .get(random.nextInt(9));
    };
  }

  @Test
  void randomPatternsMatchTheSameTexts() {
    List<String> texts = texts(3);
    Random random = new Random(1);
    int matches = 0;
    for (int i = 0; i < 400; i++) {
      String regex = random(random, 4);
      Pattern pattern = Pattern.compile(regex);
      Constraint constraint = Constraints.regex(regex);
      for (String text : texts) {
        boolean expected = pattern.matcher(text).matches();
        assertThat(accepts(constraint, text)).as("/%s/ on '%s'", regex, text).isEqualTo(expected);
        matches += expected ? 1 : 0;
      }
    }
    assertThat(matches).isGreaterThan(2000);
  }

  @Test
  void everyCodePointIsInTheSameClasses() {
    for (String regex :
        List.of(
            ".", "\\w", "[^\\s]", "[\\u0080-\\u07ff]", "[^a-z€]", "[\ud800\udc00-\udbff\udfff]")) {
      Pattern pattern = Pattern.compile(regex);
      Constraint constraint = Constraints.regex(regex);
      for (int c = 0; c <= Character.MAX_CODE_POINT; c += c < 0x3000 || c % 0x1000 < 3 ? 1 : 13) {
        if (c < Character.MIN_SURROGATE || c > Character.MAX_SURROGATE) {
          String text = Character.toString(c);
          assertThat(accepts(constraint, text))
              .as("/%s/ on U+%04X", regex, c)
              .isEqualTo(pattern.matcher(text).matches());
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource({
    "b, abc, true",
    "^b, abc, false",
    "^a, abc, true",
    "c$, abc, true",
    "^a|^c|b$, ca, true",
    "^a|^c|b$, ba, false",
    "^(a|b)+$, abba, true",
    "^(a|b)+$, abca, false",
    "^(?!^b*$)[ab]+$, bab, true",
    "^(?!^b*$)[ab]+$, bb, false",
    "(?=.c)(?!..d)[abc]+$, xacc, true",
    "(?=.c)(?!..d)[abc]+$, xabb, false",
    "^x(?:(a+b)|(?!.*c)(?=a|b)a?b?(b(?=[cd]).)?)$, xabbd, true",
    "^x(?:(a+b)|(?!.*c)(?=a|b)a?b?(b(?=[cd]).)?)$, xabbc, false",
    "^a(?=$)b$|c$, c, true",
    "'', abc, true"
  })
  void aSearchNeedsAMatchAnywhere(String regex, String text, boolean expected) {
    assertThat(Pattern.compile(regex).matcher(text).find()).isEqualTo(expected);
    Automaton constraint = new Automaton(List.of(regex), RegexParser.parse(regex, true), Map.of());
    assertThat(accepts(constraint, text)).isEqualTo(expected);
  }

  /** A schema's pattern is ECMAScript's: what only java.util.regex takes is left out. */
  @ParameterizedTest
  @CsvSource({
    "\\S, [^\\s\\h\\v\ufeff]",
    "[\\S\\d], [^\\s\\h\\v\ufeff]",
    "[^\\s], [^\\s\\h\\v\ufeff]",
    "[^\\s\\w], [^\\s\\h\\v\ufeff\\w]",
    "\\s, \\s",
    "[^\\S], \\s",
    "\\D, [^0-9]",
    "\\W, [^0-9A-Za-z_]",
    "'.', '.'"
  })
  void aSchemasClassesAreEcmascriptsAndJavas(String regex, String expected) {
    // U+180E is a space to \h and was one to ECMAScript once; U+0085 is one to \v.
    Pattern pattern = Pattern.compile(expected);
    Automaton constraint =
        new Automaton(List.of(regex), RegexParser.parse("^" + regex + "$", true), Map.of());
    for (int c = 0; c < 0x10000; c++) {
      String text = Character.toString(c);
      if (c != 0x180e && c != 0x85 && (c < 0xd800 || c > 0xdfff)) {
        assertThat(accepts(constraint, text))
            .as("/%s/ on U+%04X", regex, c)
            .isEqualTo(pattern.matcher(text).matches());
      }
    }
    assertThat(accepts(Constraints.regex("\\S[^\\s]"), "\u00a0\u3000")).isTrue();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "(?=a)*",
        "(b(?=a))*",
        "(b(?=a))a",
        "(?=b(?!a))a",
        "a(?=^b)b",
        "(?=a",
        "(?<=a)b",
        "(?<name>a)",
        "(?i)a",
        "(?>a)",
        "(a)\\1",
        "\\bword",
        "\\p{L}",
        "a*+",
        "a++",
        "a**",
        "*a",
        "a|*",
        "(a",
        "a)",
        "[a",
        "[]",
        "[a[b]]",
        "[a&&b]",
        "a^b",
        "a$b",
        "(^a)",
        "(a$)b",
        "(a$|b)+",
        "(?=(a$|b))a$",
        "{2}",
        "a{2",
        "a{x}",
        "a{3,2}",
        "a{1001}",
        "\\",
        "\\q",
        "\\x4",
        "\\ud800",
        "[b-a]",
        "[\\d-z]",
        "[^\\x00-\\uffff\ud800\udc00-\udbff\udfff]"
      })
  void theRestIsRefused(String regex) {
    assertThatThrownBy(() -> Constraints.regex(regex))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageFindingMatch("position \\d+: |allows no text");
  }

  /** Of the matches, those that end the text: as Pydantic's pattern of a Decimal is meant. */
  @ParameterizedTest
  @CsvSource({
    "^x(?:a$|bc), xa xbc, xab xbcd b",
    "^x(?:a|(?=b.$)b+$|c), xa xbb xc, xb xbbb xab xcc",
    "^x(?:a$|b)|c, xa xb c cd ac, xab xbd",
    "x((a$)?|b), x zx xb xa, xab xbc"
  })
  void aDollarInAGroupIsTheEndForAllOfIt(String regex, String matches, String others) {
    Automaton constraint = new Automaton(List.of(regex), RegexParser.parse(regex, true), Map.of());
    Pattern pattern = Pattern.compile(regex);
    assertThat(matches.split(" "))
        .allMatch(text -> accepts(constraint, text) && pattern.matcher(text).find());
    assertThat(others.split(" ")).noneMatch(text -> accepts(constraint, text));
  }

  @Test
  void choicesAreExactlyTheseTexts() {
    Constraint constraint = Constraints.choice("yes", "yes please", "nö", "");
    for (String text : List.of("yes", "yes please", "nö", "")) {
      assertThat(accepts(constraint, text)).isTrue();
    }
    for (String text : List.of("y", "yes ", "no", "yesyes", " ")) {
      assertThat(accepts(constraint, text)).isFalse();
    }
    assertThatThrownBy(Constraints::choice).hasMessageContaining("at least one");
    assertThatThrownBy(() -> Constraints.choice("\ud800")).hasMessageContaining("surrogate");
  }

  @Test
  void largeCountsAndNestedOnesAreNoProblem() {
    Constraint constraint = Constraints.regex("((ab?){0,1000}-){0,1000}");
    String line = "ab".repeat(400) + "a".repeat(600) + "-";
    assertThat(accepts(constraint, line.repeat(20))).isTrue();
    assertThat(accepts(constraint, "a" + line)).isFalse();
  }

  @Test
  void deepGroupsAreRefused() {
    assertThat(accepts(Constraints.regex("(".repeat(100) + "a" + ")*".repeat(100)), "aa")).isTrue();
    for (int depth : new int[] {101, 3000, 100_000}) {
      assertThatThrownBy(() -> Constraints.regex("(".repeat(depth) + "a" + ")".repeat(depth)))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("position 100: more than 100 groups within each other")
          .satisfies(e -> assertThat(e.getMessage()).hasSizeLessThan(300));
    }
  }

  @Test
  void tooManyReadingsAreRefused() {
    Constraint late = Constraints.regex("x((a?){0,1000}){0,1000}");
    assertThatThrownBy(() -> accepts(late, "xa"))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("too ambiguous");
    assertThatThrownBy(() -> Constraints.regex("((a?){0,1000}){0,1000}"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("too ambiguous");
  }

  @Test
  void statesThatAreForgottenLeaveTheMemory() throws InterruptedException {
    Constraint constraint = Constraints.regex("[ab]*a[ab]{20}"); // a state for each end of a text
    WeakReference<Constraint.State> early = new WeakReference<>(after(constraint, 1));
    for (int i = 0; !early.refersTo(null) && i < 100; i++) {
      for (int j = 0; j < 1000; j++) {
        assertThat(after(constraint, 1000 * i + j)).isNotNull();
      }
      if (i > 20) {
        System.gc();
        Thread.sleep(10);
      }
    }
    assertThat(early.refersTo(null)).isTrue();
  }

  /** The state after 20 letters, which spell a number. */
  private static Constraint.State after(Constraint constraint, int number) {
    Constraint.State state = constraint.start();
    for (int bit = 19; bit >= 0; bit--) {
      state = Objects.requireNonNull(state.next((number >> bit & 1) == 0 ? 'a' : 'b'));
    }
    return state;
  }
}
