package dev.gemma4j.constraint;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/** A set of code points as ascending ranges that do not touch; surrogates are never in it. */
record CodePoints(List<Range> ranges) {
  /** All code points that UTF-8 can encode. */
  static final CodePoints ALL =
      normalized(List.of(new Range(0, 0xd7ff), new Range(0xe000, Character.MAX_CODE_POINT)));

  /** Both ends belong to it. */
  record Range(int low, int high) {}

  static CodePoints of(int low, int high) {
    if (high < Character.MIN_SURROGATE || low > Character.MAX_SURROGATE) {
      return new CodePoints(List.of(new Range(low, high)));
    }
    // Surrogates fall out, as they are not in the complement either.
    return normalized(List.of(new Range(low, high))).complement().complement();
  }

  static CodePoints of(int codePoint) {
    return of(codePoint, codePoint);
  }

  /** Those of a text. */
  static CodePoints in(String text) {
    return normalized(text.codePoints().mapToObj(c -> new Range(c, c)).toList());
  }

  private static CodePoints normalized(List<Range> ranges) {
    List<Range> result = new ArrayList<>();
    for (Range range : ranges.stream().sorted(Comparator.comparingInt(Range::low)).toList()) {
      if (!result.isEmpty() && range.low() <= result.getLast().high() + 1) {
        Range last = result.removeLast();
        result.add(new Range(last.low(), Math.max(last.high(), range.high())));
      } else {
        result.add(range);
      }
    }
    return new CodePoints(List.copyOf(result));
  }

  CodePoints or(CodePoints other) {
    return union(List.of(this, other));
  }

  static CodePoints union(List<CodePoints> sets) {
    return normalized(sets.stream().flatMap(set -> set.ranges.stream()).toList());
  }

  CodePoints minus(CodePoints other) {
    return complement().or(other).complement();
  }

  CodePoints and(CodePoints other) {
    return minus(other.complement());
  }

  CodePoints complement() {
    List<Range> result = new ArrayList<>();
    for (Range all : ALL.ranges) {
      int from = all.low();
      for (Range range : ranges) {
        if (range.high() >= from && range.low() <= all.high()) {
          if (range.low() > from) {
            result.add(new Range(from, range.low() - 1));
          }
          from = range.high() + 1;
        }
      }
      if (from <= all.high()) {
        result.add(new Range(from, all.high()));
      }
    }
    return new CodePoints(List.copyOf(result));
  }

  boolean isEmpty() {
    return ranges.isEmpty();
  }
}
