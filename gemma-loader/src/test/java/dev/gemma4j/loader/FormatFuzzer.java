package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;

/**
 * Opens a model or an adapter of which one file is any bytes: it must work, or be refused in one
 * line. For coverage-guided fuzzing; {@link FormatFuzzerTest} runs the seeds and all inputs that
 * once failed.
 */
public final class FormatFuzzer {
  /** Which file is the input; the others of the model are in order. */
  enum Format {
    SAFETENSORS("model.safetensors"),
    GGUF("model.gguf"),
    CKPT("model.ckpt"),
    CONFIG("config.json"),
    SENTENCEPIECE("tokenizer.model"),
    TOKENIZER_JSON("tokenizer.json"),
    ADAPTER_CONFIG("adapter_config.json"),
    ADAPTER_MODEL("adapter_model.safetensors");

    final String file;

    Format(String file) {
      this.file = file;
    }

    /** The name of its directory of seeds. */
    String seeds() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  private static Format format = Format.GGUF;
  private static Path directory = Path.of("");

  private FormatFuzzer() {}

  /** Called by the fuzzer with the name of a {@link Format}. */
  public static void fuzzerInitialize(String[] args) throws IOException {
    format = Format.valueOf(args[0].toUpperCase(Locale.ROOT));
    directory = Files.createTempDirectory("fuzz");
    prepare(directory);
  }

  /** Called by the fuzzer. */
  public static void fuzzerTestOneInput(byte[] input) {
    open(format, directory, input);
  }

  /** Puts the model there that {@link #open} changes a file of. */
  static void prepare(Path directory) throws IOException {
    TestFiles.copy("fuzz/base", directory);
  }

  /** Whether the model with this input opens; fails when it does neither that nor refuses it. */
  static boolean open(Format format, Path directory, byte[] input) {
    Path file = directory.resolve(format.file);
    Path opened =
        switch (format) {
          case SAFETENSORS, GGUF, CKPT -> file;
          case CONFIG, SENTENCEPIECE, TOKENIZER_JSON, ADAPTER_CONFIG, ADAPTER_MODEL -> directory;
        };
    try {
      Files.write(file, input);
      if (format == Format.ADAPTER_CONFIG || format == Format.ADAPTER_MODEL) {
        useAdapter(directory);
        return true;
      }
      try (Checkpoint checkpoint = Checkpoint.open(opened)) {
        use(checkpoint);
        return true;
      }
    } catch (IOException e) {
      String message = String.valueOf(e.getMessage());
      if (!message.startsWith(directory.toString())
          || message.lines().count() != 1
          || message.length() > 1000) {
        throw new AssertionError("not one short line that names the file: " + message, e);
      }
      return false;
    }
  }

  private static void useAdapter(Path directory) throws IOException {
    GemmaConfig shape = HuggingFaceConfig.read(Json.read(directory.resolve("config.json")));
    try (PeftAdapter adapter = PeftAdapter.open(directory, shape)) {
      for (PeftAdapter.Update update : adapter.updates()) {
        float[] row = new float[Math.toIntExact(update.b().shape().getLast())];
        update.b().read(0, row, 0, row.length);
        if (!Float.isFinite(update.scale()) || !Float.isFinite(row[0])) {
          throw new AssertionError("not finite: " + update);
        }
      }
    }
  }

  private static void use(Checkpoint checkpoint) throws IOException {
    float[] values = new float[256];
    for (Tensor tensor : checkpoint.tensors()) {
      int size = tensor.type().blockSize();
      int count = (int) Math.min(values.length, tensor.elements()) / size * size;
      tensor.read(0, values, 0, count);
      tensor.read(tensor.elements() - count, values, 0, count);
    }
    checkpoint.normScale("model.norm.weight");
    checkpoint.chatTemplate();
    checkpoint.metadata().hashCode();
    Tokenizer tokenizer;
    try {
      tokenizer = checkpoint.tokenizer();
    } catch (MalformedFileException e) {
      return; // it has none, which is no fault
    }
    use(tokenizer);
  }

  private static void use(Tokenizer tokenizer) {
    for (String text : new String[] {"", " a\tthe \n\n  ", "Gr\u00fc\u00dfe \ud83d\ude00<eos>"}) {
      tokenizer.decode(tokenizer.encode(text));
      tokenizer.decode(tokenizer.encodeLiteral(text));
      tokenizer.encodeWithOffsets(text);
    }
    int[] ids = new int[Math.min(256, tokenizer.vocabSize())];
    Arrays.setAll(ids, i -> i);
    tokenizer.decode(ids);
  }
}
