package dev.gemma4j.constraint;

import static dev.gemma4j.constraint.RegexTest.accepts;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.RoundingMode;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Numbers between bounds, against plain comparison. */
class NumberRangeTest {
  private static Constraint integers(Object low, Object high) {
    return Constraints.jsonSchema(
        "{\"type\": \"integer\", \"minimum\": " + low + ", \"maximum\": " + high + "}");
  }

  private static void check(int low, int high, int from, int to) {
    Constraint constraint = integers(low, high);
    for (int i = from; i <= to; i++) {
      assertThat(accepts(constraint, "" + i))
          .as("%d in [%d, %d]", i, low, high)
          .isEqualTo(low <= i && i <= high);
    }
    for (String text : List.of("", "-", "-0", "00", "01", "-01", "+1", "1.0", "1e1")) {
      assertThat(accepts(constraint, text)).as(text).isFalse();
    }
  }

  @Test
  void allSmallRangesOfIntegers() {
    Random random = new Random(1);
    for (int low = -112; low <= 112; low++) {
      for (int high = low; high <= 112; high += random.nextInt(1, 9)) {
        check(low, high, -115, 115);
      }
    }
  }

  @Test
  void someLargeRangesOfIntegers() {
    Random random = new Random(2);
    for (int i = 0; i < 30; i++) {
      int a = random.nextInt(-20_000, 20_000);
      int b = random.nextInt(-20_000, 20_000);
      check(Math.min(a, b), Math.max(a, b), -21_000, 21_000);
    }
    for (int i = 0; i < 300; i++) {
      BigInteger a = large(random);
      BigInteger b = large(random);
      Constraint constraint = integers(a.min(b), a.max(b));
      for (int j = 0; j < 50; j++) {
        BigInteger value =
            switch (random.nextInt(3)) {
              case 0 -> a.add(BigInteger.valueOf(random.nextInt(-2, 3)));
              case 1 -> b.subtract(BigInteger.TEN.pow(random.nextInt(40)));
              default -> large(random);
            };
        assertThat(accepts(constraint, value.toString()))
            .as("%s between %s and %s", value, a, b)
            .isEqualTo(value.compareTo(a) * value.compareTo(b) <= 0);
      }
    }
  }

  private static BigInteger large(Random random) {
    BigInteger value = new BigInteger(random.nextInt(1, 130), random);
    return random.nextBoolean() ? value : value.negate();
  }

  @Test
  void oneBoundLeavesTheUsualDigitsOrAsManyAsItHas() {
    Constraint natural = Constraints.jsonSchema("{\"type\": \"integer\", \"minimum\": 0}");
    assertThat(accepts(natural, "0")).isTrue();
    assertThat(accepts(natural, "9".repeat(18))).isTrue();
    assertThat(accepts(natural, "1" + "0".repeat(18))).isFalse();
    assertThat(accepts(natural, "-1")).isFalse();
    Constraint large =
        Constraints.jsonSchema("{\"type\": \"integer\", \"minimum\": 12345678901234567890}");
    assertThat(accepts(large, "9".repeat(20))).isTrue();
    assertThat(accepts(large, "12345678901234567889")).isFalse();
    for (String none :
        List.of("\"maximum\": 1e308", "\"minimum\": -1e999999999", "\"minimum\": -1.7E+308")) {
      Constraint all = Constraints.jsonSchema("{\"type\": \"number\", " + none + "}");
      assertThat(accepts(all, "9".repeat(18) + "." + "9".repeat(17))).isTrue();
      assertThat(accepts(all, "-" + "9".repeat(18))).isTrue();
      assertThat(accepts(all, "9".repeat(19))).isFalse();
    }
  }

  @Test
  void boundsOfIntegersMayBeFractionsOrExclusive() {
    Constraint constraint =
        Constraints.jsonSchema(
            """
            {"type": "integer", "minimum": -1e-999999999, "exclusiveMinimum": -3,
             "maximum": 7.9, "exclusiveMaximum": 7.0}
            """);
    for (int i = -5; i < 10; i++) {
      assertThat(accepts(constraint, "" + i)).as("" + i).isEqualTo(i >= 0 && i < 7);
    }
  }

  @Test
  void rangesOfNumbers() {
    Random random = new Random(3);
    int valid = 0;
    for (int i = 0; i < 1000; i++) {
      BigDecimal a = decimal(random, 4);
      BigDecimal b = decimal(random, 4);
      if (a.compareTo(b) == 0) {
        continue;
      }
      BigDecimal low = a.min(b);
      BigDecimal high = a.max(b);
      boolean withLow = random.nextBoolean();
      boolean withHigh = random.nextBoolean();
      Constraint constraint =
          Constraints.jsonSchema(
              String.format(
                  "{\"type\": \"number\", \"%s\": %s, \"%s\": %s}",
                  withLow ? "minimum" : "exclusiveMinimum",
                  low,
                  withHigh ? "maximum" : "exclusiveMaximum",
                  high));
      for (int j = 0; j < 100; j++) {
        BigDecimal value =
            switch (random.nextInt(3)) {
              case 0 -> decimal(random, 6);
              case 1 -> (random.nextBoolean() ? low : high).add(little(random));
              default -> (random.nextBoolean() ? low : high).setScale(random.nextInt(4, 17));
            };
        BigDecimal least = withLow ? low : new BigDecimal(Math.nextUp(low.doubleValue()));
        BigDecimal most = withHigh ? high : new BigDecimal(Math.nextDown(high.doubleValue()));
        boolean expected = value.compareTo(least) >= 0 && value.compareTo(most) <= 0;
        for (BigDecimal spelt : List.of(value, value.stripTrailingZeros())) {
          assertThat(accepts(constraint, spelt.toPlainString()))
              .as("%s from %s %s to %s %s", spelt, low, withLow, high, withHigh)
              .isEqualTo(expected);
        }
        valid += expected ? 1 : 0;
      }
    }
    assertThat(valid).isBetween(20_000, 80_000);
  }

  /** A reader that makes doubles of numbers sees none that is an excluded bound. */
  @Test
  void whatIsReadAsADoubleIsWithinExclusiveBounds() {
    Random random = new Random(4);
    int near = 0;
    for (int i = 0; i < 2000; i++) {
      BigDecimal bound =
          switch (random.nextInt(4)) {
            case 0 -> decimal(random, 17);
            case 1 -> BigDecimal.valueOf(random.nextLong(), random.nextInt(20));
            case 2 -> new BigDecimal(random.nextGaussian());
            default -> BigDecimal.valueOf(random.nextInt(-3, 4));
          };
      boolean low = random.nextBoolean();
      Constraint constraint =
          Constraints.jsonSchema(
              String.format(
                  "{\"type\": \"number\", \"exclusive%s\": %s}",
                  low ? "Minimum" : "Maximum", bound));
      BigDecimal inwards = BigDecimal.valueOf(low ? 1 : -1);
      for (int scale = 0; scale <= 17; scale++) {
        BigDecimal value =
            bound
                .add(inwards.movePointLeft(scale))
                .setScale(scale, low ? RoundingMode.CEILING : RoundingMode.FLOOR);
        String text = value.toPlainString();
        double read = Double.parseDouble(text);
        double limit = Double.parseDouble(bound.toString());
        if (accepts(constraint, text)) {
          assertThat(low ? read > limit : read < limit).as("%s beside %s", text, bound).isTrue();
          near++;
        } else { // then it is nearer than the next double, or has more digits than usual
          boolean beside = Math.abs(read - limit) <= Math.ulp(limit);
          assertThat(beside || text.length() > 36).as("%s beside %s", text, bound).isTrue();
        }
      }
    }
    assertThat(near).isGreaterThan(15_000);
    assertThatThrownBy(
            () ->
                Constraints.jsonSchema(
                    "{\"type\":\"number\",\"exclusiveMinimum\":1e17,\"exclusiveMaximum\":1.00000000000000016e17}"))
        .hasMessageContaining("no double of at most 17 decimals is between its bounds");
  }

  private static BigDecimal decimal(Random random, int scale) {
    return new BigDecimal(
        BigInteger.valueOf(random.nextInt(-3000, 3000)), random.nextInt(scale + 1));
  }

  private static BigDecimal little(Random random) {
    return new BigDecimal(BigInteger.valueOf(random.nextInt(-3, 4)), random.nextInt(17));
  }

  @Test
  void numbersBetweenBoundsAreSpeltLikeOthersButForTheExponent() {
    Constraint constraint =
        Constraints.jsonSchema("{\"type\": \"number\", \"minimum\": -0.5, \"maximum\": 10}");
    for (String text : List.of("0", "-0", "-0.0", "-0.5", "-0.50", "10", "10.0", "0.1", "9.999")) {
      assertThat(accepts(constraint, text)).as(text).isTrue();
    }
    for (String text : List.of("-0.51", "10.01", "00", "1.", ".5", "-.5", "1e0", "-1", "")) {
      assertThat(accepts(constraint, text)).as(text).isFalse();
    }
  }
}
