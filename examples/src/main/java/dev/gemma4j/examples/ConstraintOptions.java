package dev.gemma4j.examples;

import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.constraint.Constraints;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** What the text must look like: the command's options, and the same as keys of a request. */
final class ConstraintOptions {
  private static final int MAX_SCHEMA = 16 << 20;

  static final Set<String> KEYS = Set.of("choice", "regex", "jsonSchema");

  @Option(names = "--choice", paramLabel = "TEXT", description = "Exactly it; repeatable.")
  List<String> choice = new ArrayList<>();

  @Option(names = "--regex", paramLabel = "PATTERN", description = "A text that matches it.")
  @Nullable String regex;

  @Option(names = "--json-schema", paramLabel = "FILE", description = "JSON of that schema.")
  @Nullable Path jsonSchema;

  private @Nullable String schema; // from a request, or of the file

  /** Those of a request if it has any, else these. */
  ConstraintOptions with(Request request) {
    if (KEYS.stream().noneMatch(request::has)) {
      return this;
    }
    ConstraintOptions own = new ConstraintOptions();
    own.choice = request.texts("choice", List.of());
    if (request.has("choice") && own.choice.isEmpty()) { // null is how to ask for no limits
      throw new IllegalArgumentException("choice: found [], expected at least one text");
    }
    own.regex = request.has("regex") ? request.text("regex") : null;
    own.schema = request.has("jsonSchema") ? request.json("jsonSchema") : null;
    return own;
  }

  /** Null for anything. */
  @Nullable Constraint build() {
    if (jsonSchema != null && schema == null) {
      schema = read(jsonSchema); // once: a pipe has it only once
    }
    long given =
        Stream.of(!choice.isEmpty(), regex != null, schema != null).filter(set -> set).count();
    if (given > 1) {
      throw new IllegalArgumentException("expected one of choice, regex and json-schema");
    }
    if (regex != null) {
      return Constraints.regex(regex);
    }
    if (schema != null) {
      return Constraints.jsonSchema(schema);
    }
    return choice.isEmpty() ? null : Constraints.choice(choice.toArray(String[]::new));
  }

  private static String read(Path path) {
    try (InputStream in = Files.newInputStream(path)) {
      byte[] bytes = in.readNBytes(MAX_SCHEMA + 1);
      if (bytes.length > MAX_SCHEMA) {
        throw new IllegalArgumentException(
            "json-schema: " + path + ": more than " + MAX_SCHEMA + " bytes");
      }
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    } catch (IOException e) {
      throw new IllegalArgumentException(
          "json-schema: cannot read " + path + ": " + Main.reason(e), e);
    }
  }
}
