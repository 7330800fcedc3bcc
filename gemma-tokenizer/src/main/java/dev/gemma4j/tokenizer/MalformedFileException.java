package dev.gemma4j.tokenizer;

import java.io.IOException;

/**
 * A model file that does not hold what its format asks for. The message is one line that names the
 * file, the field (a key, a tensor, an offset), what was found and what was expected.
 */
public final class MalformedFileException extends IOException {
  private static final long serialVersionUID = 1L;

  private final String file;
  private final String field;
  private final String found;
  private final String expected;

  public MalformedFileException(String file, String field, String found, String expected) {
    super(file + ": " + field + ": found " + found + ", expected " + expected);
    this.file = file;
    this.field = field;
    this.found = found;
    this.expected = expected;
  }

  public MalformedFileException(
      String file, String field, String found, String expected, Throwable cause) {
    this(file, field, found, expected);
    initCause(cause);
  }

  /** The file, as the caller named it. */
  public String file() {
    return file;
  }

  /** The key, tensor or offset within the file. */
  public String field() {
    return field;
  }

  /** What the file holds there. */
  public String found() {
    return found;
  }

  /** What the format or the model asks for. */
  public String expected() {
    return expected;
  }
}
