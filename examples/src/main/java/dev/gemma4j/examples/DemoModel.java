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
    deleteOnExit(directory);
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
      Path path = directory.resolve(file);
      try (InputStream in = open(file)) {
        Files.copy(in, path);
      } catch (IOException e) { // which, of a full disk, does not say where
        throw new IOException(path + ": cannot be written: " + Main.reason(e), e);
      }
    }
  }

  /** Also when the JVM is ended while it loads; the directory, named first, goes last. */
  private static void deleteOnExit(Path directory) {
    directory.toFile().deleteOnExit();
    FILES.forEach(file -> directory.resolve(file).toFile().deleteOnExit());
  }

  /** A mapped file outlives its name, except where the system refuses: then it goes at exit. */
  private static void delete(Path directory) {
    FILES.forEach(file -> directory.resolve(file).toFile().delete());
    directory.toFile().delete();
  }
}
