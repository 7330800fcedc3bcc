package dev.gemma4j.examples;

import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.constraint.Constraints;
import java.io.IOException;
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
  static final Set<String> KEYS = Set.of("choice", "regex", "jsonSchema");

  @Option(names = "--choice", paramLabel = "TEXT", description = "Exactly it; repeatable.")
  List<String> choice = new ArrayList<>();

  @Option(names = "--regex", paramLabel = "PATTERN", description = "A text that matches it.")
  @Nullable String regex;

  @Option(names = "--json-schema", paramLabel = "FILE", description = "JSON of that schema.")
  @Nullable Path jsonSchema;

  private @Nullable String schema; // from a request

  /** Those of a request if it has any, else these. */
  ConstraintOptions with(Request request) {
    if (KEYS.stream().noneMatch(request::has)) {
      return this;
    }
    ConstraintOptions own = new ConstraintOptions();
    own.choice = request.texts("choice", List.of());
    own.regex = request.has("regex") ? request.text("regex") : null;
    own.schema = request.has("jsonSchema") ? request.json("jsonSchema") : null;
    return own;
  }

  /** Null for anything. */
  @Nullable Constraint build() {
    String text = jsonSchema == null ? schema : read(jsonSchema);
    long given =
        Stream.of(!choice.isEmpty(), regex != null, text != null).filter(set -> set).count();
    if (given > 1) {
      throw new IllegalArgumentException("expected one of choice, regex and json-schema");
    }
    if (regex != null) {
      return Constraints.regex(regex);
    }
    if (text != null) {
      return Constraints.jsonSchema(text);
    }
    return choice.isEmpty() ? null : Constraints.choice(choice.toArray(String[]::new));
  }

  private static String read(Path path) {
    try {
      return Files.readString(path);
    } catch (IOException e) {
      throw new IllegalArgumentException(
          "json-schema: cannot read " + path + ": " + Main.reason(e), e);
    }
  }
}
