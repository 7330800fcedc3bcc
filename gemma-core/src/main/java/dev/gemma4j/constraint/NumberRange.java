package dev.gemma4j.constraint;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.RoundingMode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The spellings of all numbers between two bounds, digit by digit: a text that has begun like a
 * bound must go on beyond it, any other is free. Numbers count in units of 10^-{@code decimals}.
 */
final class NumberRange {
  /** Before the point, where no bound needs more: so that integers fit a long. */
  static final int DIGITS = 18;

  /** After the point. */
  static final int DECIMALS = 17;

  /** Of a bound; one that asks for more is none, or refused. */
  private static final int MAX_DIGITS = 100;

  private static final Expression NOTHING = new Expression.Literal("");

  private NumberRange() {}

  /**
   * The numbers that minimum, maximum, exclusiveMinimum and exclusiveMaximum of a schema leave.
   *
   * @param decimals after the point; 0 for integers
   * @param bits of an integer, its sign among them; 0 for any number of them
   */
  static Expression of(String at, Map<String, Object> schema, int decimals, int bits) {
    BigInteger low =
        larger(
            bound(at, schema, "minimum", decimals),
            bound(at, schema, "exclusiveMinimum", decimals));
    BigInteger high =
        smaller(
            bound(at, schema, "maximum", decimals),
            bound(at, schema, "exclusiveMaximum", decimals));
    if (bits > 0) {
      BigInteger beyond = BigInteger.TWO.pow(bits - 1);
      low = larger(low, beyond.negate());
      high = smaller(high, beyond.subtract(BigInteger.ONE));
    }
    BigInteger least = low == null ? limit(high, decimals).negate() : low;
    BigInteger most = high == null ? limit(low, decimals) : high;
    if (least.compareTo(most) > 0) {
      throw Schemas.refused(
          at,
          (decimals == 0 ? "no integer" : "no double of at most " + decimals + " decimals")
              + " is between its bounds");
    }
    List<Expression> options = new ArrayList<>();
    if (least.signum() < 0) {
      // A 0 has no sign, but for numbers one that was begun with it may become -0.1.
      BigInteger nearest = decimals == 0 ? BigInteger.ONE : BigInteger.ZERO;
      options.add(
          Expression.sequence(
              new Expression.Literal("-"),
              magnitudes(most.negate().max(nearest), least.negate(), decimals)));
    }
    if (most.signum() >= 0) {
      options.add(magnitudes(least.max(BigInteger.ZERO), most, decimals));
    }
    return new Expression.Choice(options);
  }

  /** As an inclusive bound in units; null when there is none. */
  private static @Nullable BigInteger bound(
      String at, Map<String, Object> schema, String keyword, int decimals) {
    Object found = schema.get(keyword);
    if (found == null) {
      return null;
    }
    if (!(found instanceof BigDecimal value)) {
      throw Schemas.refused(at, keyword + ": found " + Json.text(found) + ", expected a number");
    }
    boolean lower = keyword.endsWith("inimum");
    long digits = (long) value.precision() - value.scale();
    if (value.signum() != 0 && digits > MAX_DIGITS) {
      if (value.signum() < 0 == lower) {
        return null;
      }
      throw Schemas.refused(
          at, keyword + ": found " + value + ", expected at most " + MAX_DIGITS + " digits");
    }
    BigDecimal near = // exponents may be so small that rounding would take all memory
        digits < -MAX_DIGITS ? BigDecimal.valueOf(value.signum(), MAX_DIGITS) : value;
    RoundingMode inwards = lower ? RoundingMode.CEILING : RoundingMode.FLOOR;
    if (!keyword.startsWith("exclusive")) {
      return near.setScale(decimals, inwards).unscaledValue();
    }
    if (decimals > 0) {
      // Most readers make a double of a number: one nearer than the next double may be the bound.
      double bound = near.doubleValue();
      double next = lower ? Math.nextUp(bound) : Math.nextDown(bound);
      return new BigDecimal(next).setScale(decimals, inwards).unscaledValue();
    }
    BigInteger beyond =
        near.setScale(0, lower ? RoundingMode.FLOOR : RoundingMode.CEILING).unscaledValue();
    return lower ? beyond.add(BigInteger.ONE) : beyond.subtract(BigInteger.ONE);
  }

  private static @Nullable BigInteger larger(@Nullable BigInteger a, @Nullable BigInteger b) {
    return a == null ? b : b == null ? a : a.max(b);
  }

  private static @Nullable BigInteger smaller(@Nullable BigInteger a, @Nullable BigInteger b) {
    return a == null ? b : b == null ? a : a.min(b);
  }

  /** How far a side without a bound goes: as many digits as usual, or as the other side has. */
  private static BigInteger limit(@Nullable BigInteger other, int decimals) {
    int digits = other == null ? 0 : other.abs().toString().length();
    return BigInteger.TEN.pow(Math.max(DIGITS + decimals, digits)).subtract(BigInteger.ONE);
  }

  private static Expression magnitudes(BigInteger low, BigInteger high, int decimals) {
    if (decimals == 0) {
      return integers(low, high);
    }
    BigInteger unit = BigInteger.TEN.pow(decimals);
    BigInteger[] a = low.divideAndRemainder(unit);
    BigInteger[] b = high.divideAndRemainder(unit);
    String least = padded(a[1], decimals);
    String most = padded(b[1], decimals);
    String zeros = "0".repeat(decimals);
    String nines = "9".repeat(decimals);
    if (a[0].equals(b[0])) {
      return withFraction(new Expression.Literal(a[0].toString()), least, most);
    }
    List<Expression> options = new ArrayList<>();
    BigInteger from = a[0];
    BigInteger to = b[0];
    if (!least.equals(zeros)) {
      options.add(withFraction(new Expression.Literal(from.toString()), least, nines));
      from = from.add(BigInteger.ONE);
    }
    if (!most.equals(nines)) {
      options.add(withFraction(new Expression.Literal(to.toString()), zeros, most));
      to = to.subtract(BigInteger.ONE);
    }
    if (from.compareTo(to) <= 0) {
      options.add(withFraction(integers(from, to), zeros, nines));
    }
    return new Expression.Choice(options);
  }

  private static String padded(BigInteger fraction, int decimals) {
    String digits = fraction.toString();
    return "0".repeat(decimals - digits.length()) + digits;
  }

  private static Expression withFraction(Expression integer, String low, String high) {
    Expression fraction = Expression.sequence(new Expression.Literal("."), digits(low, high, true));
    boolean none = low.chars().allMatch(c -> c == '0');
    return Expression.sequence(integer, none ? Expression.optional(fraction) : fraction);
  }

  /** Without leading zeros, both ends included; the low one is 0 or more. */
  private static Expression integers(BigInteger low, BigInteger high) {
    List<Expression> options = new ArrayList<>();
    if (low.signum() == 0) {
      options.add(new Expression.Literal("0"));
      if (high.signum() == 0) {
        return options.getFirst();
      }
    }
    String least = low.max(BigInteger.ONE).toString();
    String most = high.toString();
    int shortest = least.length();
    int longest = most.length();
    String first = "1" + "0".repeat(longest - 1);
    String last = "9".repeat(shortest);
    // The lengths of which all numbers belong to it.
    int from = least.equals("1" + "0".repeat(shortest - 1)) ? shortest : shortest + 1;
    int to = most.equals("9".repeat(longest)) ? longest : longest - 1;
    if (from <= to) {
      options.add(
          Expression.sequence(oneOf(1, 9), new Expression.Repeat(oneOf(0, 9), from - 1, to - 1)));
    }
    if (shortest == longest) {
      if (from > to) {
        options.add(digits(least, most, false));
      }
    } else {
      if (from > shortest) {
        options.add(digits(least, last, false));
      }
      if (to < longest) {
        options.add(digits(first, most, false));
      }
    }
    return new Expression.Choice(options);
  }

  /**
   * The texts between two of the same length.
   *
   * @param fraction whether shorter ones belong to it too, which zeros would make as long; not the
   *     empty one
   */
  private static Expression digits(String low, String high, boolean fraction) {
    // What may follow a beginning that is both bounds' so far, the low one's alone, the high one's.
    Expression both = NOTHING;
    Expression above = NOTHING;
    Expression below = NOTHING;
    boolean zeros = true; // what is left of the low bound
    boolean nines = true; // and of the high one
    for (int at = low.length() - 1; at >= 0; at--) {
      int l = low.charAt(at) - '0';
      int h = high.charAt(at) - '0';
      int left = low.length() - 1 - at;
      // An end here is as good as zeros.
      Expression afterLow = fraction && zeros && left > 0 ? Expression.optional(above) : above;
      Expression afterHigh = fraction && left > 0 ? Expression.optional(below) : below;
      Expression afterBoth = fraction && zeros && left > 0 ? Expression.optional(both) : both;
      Expression free =
          left == 0 ? NOTHING : new Expression.Repeat(oneOf(0, 9), fraction ? 0 : left, left);
      List<Expression> between = new ArrayList<>();
      if (l < h) {
        between.add(Expression.sequence(oneOf(l, l), afterLow));
        add(between, l + 1, h - 1, free);
        between.add(Expression.sequence(oneOf(h, h), afterHigh));
      } else {
        between.add(Expression.sequence(oneOf(l, l), afterBoth));
      }
      zeros &= l == 0;
      nines &= h == 9;
      Expression all = Expression.sequence(oneOf(0, 9), free);
      List<Expression> larger = new ArrayList<>();
      larger.add(Expression.sequence(oneOf(l, l), afterLow));
      add(larger, l + 1, 9, free);
      List<Expression> smaller = new ArrayList<>();
      smaller.add(Expression.sequence(oneOf(h, h), afterHigh));
      add(smaller, 0, h - 1, free);
      both = zeros && nines ? all : new Expression.Choice(between);
      above = zeros ? all : new Expression.Choice(larger);
      below = nines ? all : new Expression.Choice(smaller);
    }
    return both;
  }

  private static void add(List<Expression> options, int low, int high, Expression after) {
    if (low <= high) {
      options.add(Expression.sequence(oneOf(low, high), after));
    }
  }

  private static Expression oneOf(int low, int high) {
    return new Expression.OneOf(CodePoints.of('0' + low, '0' + high));
  }
}
