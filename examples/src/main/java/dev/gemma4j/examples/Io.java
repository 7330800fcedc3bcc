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
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
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
    BufferedReader reader = lines();
    int number = 0;
    for (String line = reader.readLine(); line != null; line = reader.readLine()) {
      number++;
      if (line.isBlank()) {
        continue;
      }
      try {
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
    return 0;
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

  BufferedReader lines() {
    return new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8));
  }

  /** All of the input. */
  String text() throws IOException {
    return new String(in.readAllBytes(), StandardCharsets.UTF_8);
  }

  /** Whether the input is a person at a keyboard. */
  boolean isTerminal() {
    return isTerminal(in);
  }

  static boolean isTerminal(InputStream in) {
    return in == System.in && System.console() != null && System.console().isTerminal();
  }
}
