package dev.gemma4j.examples;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.gemma4j.ContextLengthException;
import dev.gemma4j.KvMemoryException;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Where a command reads and writes; text is UTF-8 whatever the locale.
 *
 * @param out throws nothing: {@link #flush} tells whether all could be written
 */
record Io(InputStream in, PrintStream out, PrintStream err, Target target) {
  /** Bytes of a text; far more than any context takes, as texts may also just be tokenized. */
  private static final int MAX_TEXT = 64 << 20;

  private static final JsonMapper JSON =
      JsonMapper.builder()
          .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .build();

  /** Answers one request of a stream of them. */
  @FunctionalInterface
  interface Handler {
    Map<String, ?> answer(Request request) throws IOException;
  }

  /** Nobody gets the output. */
  static final class OutputException extends IOException {
    private static final long serialVersionUID = 1;

    /** Whether the reader has had enough, as {@code head} has; that is no error of anybody's. */
    final boolean pipeClosed;

    OutputException(String message, @Nullable IOException cause) {
      super(message, cause);
      String reason = String.valueOf(cause == null ? null : cause.getMessage());
      pipeClosed = reason.toLowerCase(Locale.ROOT).contains("pipe");
    }
  }

  /** Keeps the exception that a PrintStream swallows. */
  static final class Target extends OutputStream {
    private final OutputStream out;
    private @Nullable IOException failure;

    Target(OutputStream out) {
      this.out = out;
    }

    @Override
    public void write(int b) throws IOException {
      write(new byte[] {(byte) b}, 0, 1);
    }

    @Override
    public void write(byte[] bytes, int from, int count) throws IOException {
      if (failure != null) {
        throw failure;
      }
      try {
        out.write(bytes, from, count);
      } catch (IOException e) {
        failure = e;
        throw e;
      }
    }

    @Override
    public void flush() throws IOException {
      out.flush();
    }
  }

  static Io of(InputStream in, OutputStream out, PrintStream err) {
    Target target = new Target(out);
    return new Io(in, utf8(new BufferedOutputStream(target)), utf8(err), target);
  }

  private static PrintStream utf8(OutputStream stream) {
    return new PrintStream(stream, false, StandardCharsets.UTF_8);
  }

  /**
   * Writes what was printed, so that it can be read now.
   *
   * @throws OutputException when that, or anything before it, was not possible
   */
  void flush() throws OutputException {
    if (out.checkError()) {
      IOException failure = target.failure;
      throw new OutputException(
          "cannot write to standard output" + (failure == null ? "" : ": " + failure.getMessage()),
          failure);
    }
  }

  /**
   * Writes one JSON object on a line of its own. Floats are written so that they read back equal.
   */
  void json(Map<String, ?> object) throws IOException {
    out.println(JSON.writeValueAsString(object));
    flush();
  }

  /**
   * Reads one JSON object a line and writes one a line, in order, until the input ends or the
   * thread is interrupted.
   *
   * @return the exit status
   */
  int jsonLines(Handler handler) throws IOException {
    Lines lines = lines();
    for (int number = 1; ; number++) {
      try {
        String line = lines.next();
        if (line == null) {
          return 0;
        }
        if (line.isBlank()) {
          continue;
        }
        json(handler.answer(new Request(parse(line))));
      } catch (IllegalArgumentException
          | IllegalStateException
          | ContextLengthException
          | KvMemoryException e) {
        throw new IllegalArgumentException("line " + number + ": " + e.getMessage(), e);
      }
      if (Thread.currentThread().isInterrupted()) {
        return Command.INTERRUPTED;
      }
    }
  }

  private static ObjectNode parse(String line) {
    try {
      JsonNode node = JSON.readTree(line);
      if (node instanceof ObjectNode object) {
        return object;
      }
      throw new IllegalArgumentException("found " + node.getNodeType() + ", expected an object");
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException("no valid JSON: " + e.getOriginalMessage(), e);
    }
  }

  Lines lines() {
    return new Lines(in);
  }

  /**
   * All of the input.
   *
   * @throws IllegalArgumentException when that is too much
   */
  String text() throws IOException {
    byte[] bytes = in.readNBytes(MAX_TEXT + 1);
    if (bytes.length > MAX_TEXT) {
      throw new IllegalArgumentException("standard input: more than " + MAX_TEXT + " bytes");
    }
    return new String(bytes, StandardCharsets.UTF_8);
  }

  /** Text from a file that nobody vouches for, so that a terminal shows it and does not obey it. */
  static String visible(String text) {
    StringBuilder visible = new StringBuilder();
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c == '\n') {
        visible.append("\\n");
      } else if (Character.isISOControl(c) || c == 0x2028 || c == 0x2029) {
        visible.append(String.format("\\u%04x", (int) c));
      } else {
        visible.append(c);
      }
    }
    return visible.toString();
  }

  /** Whether the input is a person at a keyboard. */
  boolean isTerminal() {
    return isTerminal(in);
  }

  static boolean isTerminal(InputStream in) {
    return in == System.in && System.console() != null && System.console().isTerminal();
  }
}
