package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;

/** Makes exceptions whose message stays one short line, whatever the file puts in a name. */
final class Malformed {
  private static final int MAX_TEXT = 160;

  private Malformed() {}

  static MalformedFileException of(String file, String field, String found, String expected) {
    return new MalformedFileException(
        oneLine(file, Integer.MAX_VALUE),
        oneLine(field, MAX_TEXT),
        oneLine(found, MAX_TEXT),
        oneLine(expected, MAX_TEXT));
  }

  /** The same trouble, told in one line. */
  static MalformedFileException of(MalformedFileException e) {
    MalformedFileException result = of(e.file(), e.field(), e.found(), e.expected());
    result.initCause(e);
    return result;
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
}
