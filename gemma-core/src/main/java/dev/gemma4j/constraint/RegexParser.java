package dev.gemma4j.constraint;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;

/** Reads the regular expressions that {@link Constraints#regex} documents. */
final class RegexParser {
  /** The largest count of a repetition. */
  static final int MAX_COUNT = 1000;

  /** As in java.util.regex. */
  private static final Expression DOT =
      new Expression.OneOf(CodePoints.in("\n\r\u0085\u2028\u2029").complement());

  private static final CodePoints DIGITS = CodePoints.of('0', '9');
  private static final CodePoints WORD =
      DIGITS.or(CodePoints.of('a', 'z')).or(CodePoints.of('A', 'Z')).or(CodePoints.of('_'));
  private static final CodePoints SPACE = CodePoints.in(" \t\n\u000b\f\r");

  /** As in ECMAScript, to which JSON Schema refers. */
  private static final CodePoints WIDE_SPACE =
      SPACE
          .or(CodePoints.in("\u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"))
          .or(CodePoints.of(0x2000, 0x200a));

  /** Each takes some of the stack, here and when its network is built. */
  private static final int MAX_DEPTH = 100;

  private static final Expression ANYTHING = Expression.any(new Expression.OneOf(CodePoints.ALL));

  private static final int QUOTED = 100; // of a pattern in a message

  private final String pattern;
  private final boolean search;
  private final boolean constant;
  private int at;
  private int depth; // of groups
  private boolean looked; // whether what was read last looks ahead, maybe beyond itself
  private boolean ended; // whether it has a $, maybe in a group

  private RegexParser(String pattern, boolean search, boolean constant) {
    this.pattern = pattern;
    this.search = search;
    this.constant = constant;
  }

  /**
   * The texts that match a pattern.
   *
   * @param search whether as in a schema: a match anywhere in the text is enough, unless ^ and $
   *     ask for more, but it is one for ECMAScript too, which knows more spaces
   * @throws IllegalArgumentException that names what is not supported, and where it stands
   * @throws CancellationException when the thread is interrupted, which stays so
   */
  static Expression parse(String pattern, boolean search) {
    return new RegexParser(pattern, search, false).alternatives(true);
  }

  /**
   * The texts that match a pattern of this package's own. No interrupt ends it: a class whose
   * constants fail is lost to the JVM.
   */
  static Expression constant(String pattern) {
    return new RegexParser(pattern, false, true).alternatives(true);
  }

  private IllegalArgumentException refused(String what, int position) {
    String quoted = pattern.length() > QUOTED ? pattern.substring(0, QUOTED) + "..." : pattern;
    return new IllegalArgumentException(
        "regular expression '" + quoted + "', position " + position + ": " + what);
  }

  private boolean more() {
    return at < pattern.length();
  }

  private boolean looking(String text) {
    return pattern.startsWith(text, at);
  }

  private boolean accept(String text) {
    if (looking(text)) {
      at += text.length();
      return true;
    }
    return false;
  }

  private Expression alternatives(boolean outermost) {
    List<Expression> options = new ArrayList<>();
    do {
      boolean begins = outermost && accept("^");
      looked &= !outermost;
      ended &= !outermost;
      Expression option = sequence();
      boolean dollar = accept("$");
      ended |= dollar;
      if (more() && !looking("|") && !looking(")")) {
        throw refused("$ is supported at the end alone", at - (dollar ? 1 : 0));
      }
      if (search && looked && outermost && !ended) {
        throw refused("look-ahead needs a $ at the end", at);
      }
      if (search && outermost && !begins) {
        option = Expression.sequence(ANYTHING, option);
      }
      if (search && outermost && !ended) {
        option = Expression.sequence(option, ANYTHING);
      }
      options.add(option);
    } while (accept("|"));
    if (outermost && more()) {
      throw refused("a ) without its (", at);
    }
    return options.size() == 1 ? options.getFirst() : new Expression.Choice(options);
  }

  private Expression sequence() {
    List<Expression> parts = new ArrayList<>();
    while (!ends()) {
      if (looking("(?=") || looking("(?!")) {
        parts.add(lookAhead());
        continue; // at the end
      }
      boolean lookedBefore = looked;
      boolean endedBefore = ended;
      looked = false;
      ended = false;
      int start = at;
      Expression part = quantified(atom());
      if ((looked || ended)
          && (!ends() || part instanceof Expression.Repeat repeat && repeat.max() != 1)) {
        throw refused(
            "$ and look-ahead are supported in groups that end the pattern, once each", start);
      }
      looked |= lookedBefore;
      ended |= endedBefore;
      parts.add(part);
    }
    return parts.size() == 1 ? parts.getFirst() : new Expression.Sequence(parts);
  }

  private boolean ends() {
    return !more() || looking("|") || looking(")") || looking("$");
  }

  /** What follows up to the end, if the look-ahead before it allows it. */
  private Expression lookAhead() {
    int start = at;
    boolean not = looking("(?!");
    at += "(?=".length();
    if (++depth > MAX_DEPTH) {
      throw refused("more than " + MAX_DEPTH + " groups within each other", start);
    }
    boolean endedBefore = ended;
    looked = false;
    ended = false;
    boolean first = search ? start == 1 && pattern.charAt(0) == '^' : start == 0;
    List<Expression> options = new ArrayList<>();
    do {
      if (first) {
        accept("^");
      }
      Expression option = sequence();
      options.add(accept("$") ? option : Expression.sequence(option, ANYTHING));
    } while (accept("|"));
    if (!accept(")") || looked || ended) {
      throw refused("look-ahead within another, or a ( without its )", start);
    }
    Expression ahead = new Expression.Choice(options);
    Expression rest = sequence();
    depth--;
    looked = true;
    ended |= endedBefore;
    return Expression.allOf(
        List.of(rest, not ? new Expression.AllOf(List.of(), List.of(ahead)) : ahead));
  }

  private Expression atom() {
    if (!constant) {
      Network.checkInterrupt();
    }
    int start = at;
    int c = next();
    return switch (c) {
      case '(' -> {
        if (accept("?") && !accept(":")) {
          throw refused(
              "groups (?...) other than (?:...), (?=...) and (?!...), such as look-behind, names"
                  + " and flags, are not supported",
              start);
        }
        if (++depth > MAX_DEPTH) {
          throw refused("more than " + MAX_DEPTH + " groups within each other", start);
        }
        Expression group = alternatives(false);
        depth--;
        if (!accept(")")) {
          throw refused("a ( without its )", start);
        }
        yield group;
      }
      case '[' -> new Expression.OneOf(characterClass(start));
      case '.' -> DOT;
      case '\\' -> new Expression.OneOf(escape(start, false));
      case '*', '+', '?', '{' ->
          throw refused("nothing to repeat before " + Character.toString(c), start);
      case '^' -> throw refused("^ is supported at the beginning alone", start);
      default -> new Expression.OneOf(CodePoints.of(checked(c, start)));
    };
  }

  private int next() {
    int c = pattern.codePointAt(at);
    at += Character.charCount(c);
    return c;
  }

  private int checked(int c, int position) {
    if (c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE) {
      throw refused("half a surrogate pair is not a character", position);
    }
    return c;
  }

  private Expression quantified(Expression atom) {
    int start = at;
    int min = 0;
    int max = Expression.UNLIMITED;
    if (accept("?")) {
      max = 1;
    } else if (accept("+")) {
      min = 1;
    } else if (accept("{")) {
      min = count(start);
      max = min;
      if (accept(",")) {
        max = looking("}") ? Expression.UNLIMITED : count(start);
      }
      if (!accept("}") || max != Expression.UNLIMITED && max < min) {
        throw refused("expected {n}, {n,} or {n,m} with n <= m", start);
      }
    } else if (!accept("*")) {
      return atom;
    }
    accept("?"); // a lazy repetition matches the same texts
    if (looking("+")) {
      throw refused("possessive repetition is not supported", at);
    }
    if (looking("*") || looking("?") || looking("{")) {
      throw refused("a repetition of a repetition needs a group", at);
    }
    return new Expression.Repeat(atom, min, max);
  }

  private int count(int start) {
    int from = at;
    while (more() && pattern.charAt(at) >= '0' && pattern.charAt(at) <= '9') {
      at++;
    }
    int digits = at - from;
    int count = digits == 0 || digits > 4 ? -1 : Integer.parseInt(pattern.substring(from, at));
    if (count < 0 || count > MAX_COUNT) {
      throw refused("expected a count in [0, " + MAX_COUNT + "]", start);
    }
    return count;
  }

  private CodePoints characterClass(int start) {
    boolean negated = accept("^");
    List<CodePoints> items = new ArrayList<>();
    boolean first = true;
    while (first || !looking("]")) {
      if (!more() || looking("]")) {
        throw refused("an empty or unfinished [...]", start);
      }
      if (looking("[") || looking("&&")) {
        throw refused("[ and && within [...] are not supported; \\[ is a bracket", at);
      }
      CodePoints item = classItem(negated);
      boolean range = looking("-") && !looking("-]");
      if (range) {
        at++;
        int from = at;
        if (!more() || looking("[")) {
          throw refused("an unfinished range", from);
        }
        CodePoints last = classItem(negated);
        if (!isSingle(item) || !isSingle(last) || low(last) < low(item)) {
          throw refused("a range needs two characters in order", from);
        }
        item = CodePoints.of(low(item), low(last));
      }
      items.add(item);
      first = false;
    }
    at++;
    CodePoints set = CodePoints.union(items);
    return negated ? set.complement() : set;
  }

  private CodePoints classItem(boolean negated) {
    int start = at;
    int c = next();
    return c == '\\' ? escape(start, negated) : CodePoints.of(checked(c, start));
  }

  private static boolean isSingle(CodePoints set) {
    return set.ranges().size() == 1
        && set.ranges().getFirst().low() == set.ranges().getFirst().high();
  }

  private static int low(CodePoints set) {
    return set.ranges().getFirst().low();
  }

  /**
   * What a backslash begins.
   *
   * @param negated whether the pattern leaves it out, so that all that either dialect has counts
   */
  private CodePoints escape(int start, boolean negated) {
    if (!more()) {
      throw refused("a \\ at the end", start);
    }
    int c = next();
    return switch (c) {
      case 'd' -> DIGITS;
      case 'D' -> DIGITS.complement();
      case 'w' -> WORD;
      case 'W' -> WORD.complement();
      case 's' -> search && negated ? WIDE_SPACE : SPACE;
      case 'S' -> (search && !negated ? WIDE_SPACE : SPACE).complement();
      case 't' -> CodePoints.of('\t');
      case 'n' -> CodePoints.of('\n');
      case 'r' -> CodePoints.of('\r');
      case 'f' -> CodePoints.of('\f');
      case 'x' -> CodePoints.of(hex(2, start));
      case 'u' -> CodePoints.of(checked(hex(4, start), start));
      default -> {
        if (c < 0x80 && (Character.isLetterOrDigit(c))) {
          throw refused("\\" + Character.toString(c) + " is not supported", start);
        }
        yield CodePoints.of(checked(c, start));
      }
    };
  }

  private int hex(int digits, int start) {
    try {
      String text = pattern.substring(at, at + digits);
      at += digits;
      if (text.chars().allMatch(c -> Character.digit(c, 16) >= 0)) {
        return Integer.parseInt(text, 16);
      }
    } catch (StringIndexOutOfBoundsException e) {
      // said below
    }
    throw refused("expected " + digits + " hexadecimal digits", start);
  }
}
