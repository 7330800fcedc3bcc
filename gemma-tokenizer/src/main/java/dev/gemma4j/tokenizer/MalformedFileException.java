package dev.gemma4j.tokenizer;

import java.io.IOException;

/**
 * A model file that does not hold what its format asks for. The message is one short line, whatever
 * the file puts in a name, and says the file, the field (a key, a tensor, an offset), what was
 * found and what was expected.
 */
public final class MalformedFileException extends IOException {
  private static final long serialVersionUID = 1L;
  private static final int MAX_TEXT = 160;

  private final String file;
  private final String field;
  private final String found;
  private final String expected;

  /** Line ends and other control characters are escaped; all but the file is cut when long. */
  public MalformedFileException(String file, String field, String found, String expected) {
    this.file = oneLine(file, Integer.MAX_VALUE);
    this.field = oneLine(field, MAX_TEXT);
    this.found = oneLine(found, MAX_TEXT);
    this.expected = oneLine(expected, MAX_TEXT);
  }

  /** The same with what it follows from. */
  public MalformedFileException(
      String file, String field, String found, String expected, Throwable cause) {
    this(file, field, found, expected);
    initCause(cause);
  }

  private static String oneLine(String text, int max) {
    StringBuilder line = new StringBuilder();
    for (int i = 0; i < text.length() && line.length() < max; i++) {
      char c = text.charAt(i);
      // the two separators and NEL also end lines
      if (c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029) {
        line.append(String.format("\\u%04x", (int) c));
      } else {
        line.append(c);
      }
    }
    return text.length() > max ? line.append("...").toString() : line.toString();
  }

  @Override
  public String getMessage() {
    return file + ": " + field + ": found " + found + ", expected " + expected;
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
