package dev.gemma4j.constraint;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.DoubleStream;

/** A set of texts, built from smaller ones as in extended Backus-Naur form. */
sealed interface Expression {
  /** No limit of a repetition. */
  int UNLIMITED = -1;

  /** Exactly this text. */
  record Literal(String text) implements Expression {}

  /** One code point of a set. */
  record OneOf(CodePoints set) implements Expression {}

  /** One after the other. */
  record Sequence(List<Expression> parts) implements Expression {
    public Sequence {
      parts = List.copyOf(parts);
    }
  }

  /** Any of them. */
  record Choice(List<Expression> options) implements Expression {
    public Choice {
      options = List.copyOf(options);
    }
  }

  /** What is among the texts of all parts, and of none of the others; they hold no references. */
  record AllOf(List<Expression> parts, List<Expression> but) implements Expression {
    public AllOf {
      parts = List.copyOf(parts);
      but = List.copyOf(but);
    }
  }

  /** At least {@code min} times, at most {@code max} times or {@link #UNLIMITED}. */
  record Repeat(Expression part, int min, int max) implements Expression {}

  /** Its texts as they stand between the quotes of a JSON string; it holds no references. */
  record InString(Expression content) implements Expression {}

  /** What the rule of this name says. */
  record Reference(String rule) implements Expression {}

  /**
   * The code points of its longest text, or of its shortest: no text is longer, or shorter. Far
   * more than any text has is infinite.
   */
  default double length(boolean longest) {
    return switch (this) {
      case Literal literal -> literal.text().codePointCount(0, literal.text().length());
      case OneOf oneOf -> 1;
      case Sequence sequence ->
          sequence.parts().stream().mapToDouble(part -> part.length(longest)).sum();
      case Choice choice -> {
        DoubleStream lengths = choice.options().stream().mapToDouble(part -> part.length(longest));
        yield (longest ? lengths.max() : lengths.min()).orElse(0);
      }
      case AllOf all -> {
        DoubleStream lengths = all.parts().stream().mapToDouble(part -> part.length(longest));
        yield longest ? lengths.min().orElse(Double.POSITIVE_INFINITY) : lengths.max().orElse(0);
      }
      case Repeat repeat -> {
        double one = repeat.part().length(longest);
        int times = longest ? repeat.max() : repeat.min();
        yield one == 0 ? 0 : times == UNLIMITED ? Double.POSITIVE_INFINITY : one * times;
      }
      case InString spelt -> spelt.content().length(longest);
      case Reference reference -> longest ? Double.POSITIVE_INFINITY : 0;
    };
  }

  static Expression sequence(Expression... parts) {
    return new Sequence(List.of(parts));
  }

  static Expression choice(Expression... options) {
    return new Choice(List.of(options));
  }

  /** All at once, those within them too, which is fewer states than some of them first. */
  static Expression allOf(List<Expression> parts) {
    List<Expression> all = new ArrayList<>();
    List<Expression> but = new ArrayList<>();
    for (Expression part : parts) {
      AllOf several = part instanceof AllOf inner ? inner : new AllOf(List.of(part), List.of());
      all.addAll(several.parts());
      but.addAll(several.but());
    }
    return all.size() == 1 && but.isEmpty() ? all.getFirst() : new AllOf(all, but);
  }

  static Expression optional(Expression part) {
    return new Repeat(part, 0, 1);
  }

  static Expression any(Expression part) {
    return new Repeat(part, 0, UNLIMITED);
  }
}
