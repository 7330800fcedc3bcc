package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;

/** A shorter way to say it. */
final class Malformed {
  private Malformed() {}

  static MalformedFileException of(String file, String field, String found, String expected) {
    return new MalformedFileException(file, field, found, expected);
  }
}
