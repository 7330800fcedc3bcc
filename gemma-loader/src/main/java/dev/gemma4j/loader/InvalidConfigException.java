package dev.gemma4j.loader;

/**
 * A value that {@link GemmaConfig} refuses; readers add the file and its own name for the field.
 */
final class InvalidConfigException extends IllegalArgumentException {
  private static final long serialVersionUID = 1L;

  final String field;
  final String found;
  final String expected;

  InvalidConfigException(String field, Object found, String expected) {
    super(field + " must be " + expected + ", but is " + found);
    this.field = field;
    this.found = String.valueOf(found);
    this.expected = expected;
  }
}
