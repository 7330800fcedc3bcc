package dev.gemma4j.examples;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.gemma4j.ContextLengthException;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/** Where a command reads and writes; text is UTF-8 whatever the locale. */
record Io(InputStream in, PrintStream out, PrintStream err) {
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

  static Io of(InputStream in, PrintStream out, PrintStream err) {
    return new Io(in, utf8(out), utf8(err));
  }

  private static PrintStream utf8(PrintStream stream) {
    return new PrintStream(stream, false, StandardCharsets.UTF_8);
  }

  /**
   * Writes one JSON object on a line of its own. Floats are written so that they read back equal.
   */
  void json(Map<String, ?> object) throws IOException {
    out.println(JSON.writeValueAsString(object));
    out.flush();
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
      } catch (IllegalArgumentException | IllegalStateException | ContextLengthException e) {
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
    return in == System.in && System.console() != null && System.console().isTerminal();
  }
}
