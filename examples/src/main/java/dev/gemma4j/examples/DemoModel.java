package dev.gemma4j.examples;

import dev.gemma4j.Gemma;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** The small model of fairy tales that the examples bring along as resources. */
public final class DemoModel {
  private static final List<String> FILES =
      List.of("config.json", "generation_config.json", "model.safetensors", "tokenizer.model");

  private DemoModel() {}

  /** Loads it. Mapping needs files, so the resources are copied out first. */
  public static Gemma load(LoadOptions options) throws IOException {
    Path directory = Files.createTempDirectory("gemma-demo");
    try {
      extract(directory);
      return Gemma.load(directory, options);
    } finally {
      delete(directory);
    }
  }

  /** Its tokenizer alone. */
  public static Tokenizer tokenizer() throws IOException {
    try (InputStream in = open("tokenizer.model")) {
      return Tokenizer.parse(in.readAllBytes(), "demo/tokenizer.model");
    }
  }

  private static InputStream open(String file) throws IOException {
    InputStream in = DemoModel.class.getResourceAsStream("demo/" + file);
    if (in == null) {
      throw new IOException("the demo model's " + file + " is not on the class path");
    }
    return in;
  }

  /** Copies the model's files into a directory. */
  public static void extract(Path directory) throws IOException {
    for (String file : FILES) {
      try (InputStream in = open(file)) {
        Files.copy(in, directory.resolve(file));
      }
    }
  }

  /** A mapped file outlives its name, except where the system refuses: then it goes at exit. */
  private static void delete(Path directory) {
    directory.toFile().deleteOnExit();
    for (String file : FILES) {
      Path path = directory.resolve(file);
      try {
        Files.deleteIfExists(path);
      } catch (IOException e) {
        path.toFile().deleteOnExit();
      }
    }
    directory.toFile().delete();
  }
}
