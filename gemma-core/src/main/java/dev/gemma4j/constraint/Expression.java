package dev.gemma4j.constraint;

import java.util.List;

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

  /** At least {@code min} times, at most {@code max} times or {@link #UNLIMITED}. */
  record Repeat(Expression part, int min, int max) implements Expression {}

  /** Its texts as they stand between the quotes of a JSON string; it holds no references. */
  record InString(Expression content) implements Expression {}

  /** What the rule of this name says. */
  record Reference(String rule) implements Expression {}

  static Expression sequence(Expression... parts) {
    return new Sequence(List.of(parts));
  }

  static Expression choice(Expression... options) {
    return new Choice(List.of(options));
  }

  static Expression optional(Expression part) {
    return new Repeat(part, 0, 1);
  }

  static Expression any(Expression part) {
    return new Repeat(part, 0, UNLIMITED);
  }
}
