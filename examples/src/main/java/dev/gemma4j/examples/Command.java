package dev.gemma4j.examples;

import dev.gemma4j.FinishReason;
import dev.gemma4j.Generation;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.Token;
import dev.gemma4j.TokenStream;
import java.io.IOException;
import java.util.concurrent.Callable;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.Spec;

/** What all commands share. */
abstract class Command implements Callable<Integer> {
  static final int INTERRUPTED = 130;

  final Io io;

  @Spec @Nullable CommandSpec spec;

  @Option(names = "--verbose", description = "Print the stack trace of an error.")
  boolean verbose;

  @Option(
      names = {"-h", "--help"},
      usageHelp = true,
      description = "Print this help.")
  boolean help;

  Command(Io io) {
    this.io = io;
  }

  ParameterException usage(@Nullable String message) {
    CommandSpec own = java.util.Objects.requireNonNull(spec);
    return new ParameterException(own.commandLine(), String.valueOf(message));
  }

  /**
   * Refuses what --jsonl would ignore, as it reads all from the lines of its input.
   *
   * @param arguments options that say what the parameters of the command say
   */
  void checkJsonLines(String... arguments) {
    ParseResult given = java.util.Objects.requireNonNull(spec).commandLine().getParseResult();
    if (!given.hasMatchedOption("--jsonl")) {
      return;
    }
    if (given.hasMatchedOption("--json")) {
      throw usage("expected one of --json and --jsonl");
    }
    for (String argument : arguments) {
      if (given.hasMatchedOption(argument)) {
        throw usage(argument + ": --jsonl reads it from standard input, a line each");
      }
    }
    if (!given.matchedPositionals().isEmpty()) {
      throw usage(
          "found "
              + given.matchedPositionals().getFirst().originalStringValues().getFirst()
              + ", but --jsonl reads from standard input");
    }
  }

  /** Options from the command line, where nonsense is wrong usage. */
  GenerationOptions checked(Supplier<GenerationOptions> options) {
    try {
      return options.get();
    } catch (IllegalArgumentException e) {
      throw usage(e.getMessage());
    }
  }

  /** An argument, or without one all of the input, unless nobody has prepared one. */
  String argumentOrInput(@Nullable String argument) throws IOException {
    if (argument == null && io.isTerminal()) {
      throw usage("expected a text, as an argument or on standard input");
    }
    return argument != null ? argument : io.text();
  }

  /** The exit status of a generation. */
  static int status(Generation generation) {
    return generation.finishReason() == FinishReason.CANCELLED ? INTERRUPTED : 0;
  }

  /** Prints tokens as they come; the exit status. */
  int print(TokenStream stream) throws IOException {
    for (Token token : stream) {
      io.out().print(token.text());
      io.flush();
    }
    return status(stream.result());
  }

  /** Token ids given as arguments, separated by spaces or commas. */
  int[] ids(@Nullable Iterable<String> arguments) {
    java.util.stream.IntStream.Builder ids = java.util.stream.IntStream.builder();
    for (String argument : arguments == null ? java.util.List.<String>of() : arguments) {
      for (String id : argument.trim().split("[,\\s]+")) {
        try {
          ids.add(Integer.parseInt(id));
        } catch (NumberFormatException e) {
          throw usage("found " + id + ", expected a token id");
        }
      }
    }
    return ids.build().toArray();
  }
}
