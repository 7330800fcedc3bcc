package dev.gemma4j.examples;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.jspecify.annotations.Nullable;

/** UTF-8 input line by line, of which no line may be endless. */
final class Lines {
  /** Characters of a line; no context is as long. */
  static final int MAX = 16 << 20;

  private final BufferedReader reader;
  private boolean atStart = true;

  Lines(InputStream in) {
    reader = new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8));
  }

  /**
   * The next line without its end, and without the mark that some programs put first; null at the
   * end of the input.
   *
   * @throws IllegalArgumentException when it is too long
   */
  @Nullable String next() throws IOException {
    StringBuilder line = new StringBuilder();
    int c = reader.read();
    if (atStart && c == '\ufeff') {
      c = reader.read();
    }
    atStart = false;
    if (c < 0) {
      return null;
    }
    for (; c >= 0 && c != '\n'; c = reader.read()) {
      if (line.length() == MAX) {
        throw new IllegalArgumentException("longer than " + MAX + " characters");
      }
      line.append((char) c);
    }
    int last = line.length() - 1;
    if (last >= 0 && line.charAt(last) == '\r') {
      line.setLength(last);
    }
    return line.toString();
  }
}
