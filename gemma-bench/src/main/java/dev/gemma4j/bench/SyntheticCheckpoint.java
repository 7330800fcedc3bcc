package dev.gemma4j.bench;

import dev.gemma4j.loader.GemmaConfig;
import dev.gemma4j.loader.GgufWriter;
import dev.gemma4j.loader.TensorType;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.FileStore;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.zip.GZIPInputStream;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/**
 * Writes a checkpoint of a Gemma's shape with random weights: as large and as fast as a real one.
 */
@Command(
    name = "SyntheticCheckpoint",
    mixinStandardHelpOptions = true,
    description = "Writes a Gemma checkpoint with random weights.")
final class SyntheticCheckpoint implements Callable<Integer> {
  private static final Set<TensorType> SAFETENSORS =
      EnumSet.of(TensorType.F32, TensorType.F16, TensorType.BF16);
  private static final Set<TensorType> GGUF =
      EnumSet.of(
          TensorType.F32,
          TensorType.F16,
          TensorType.BF16,
          TensorType.Q8_0,
          TensorType.Q4_0,
          TensorType.Q4_K,
          TensorType.Q6_K);

  // picocli sets it before it calls.
  @Spec private CommandSpec spec = CommandSpec.create();

  @Parameters(paramLabel = "OUT", description = "a directory, or a file that ends in .gguf")
  private Path out = Path.of("");

  @Option(
      names = "--preset",
      required = true,
      description = "2b, 7b or tiny; the vocabulary's size is the tokenizer's")
  private Preset preset = Preset.TINY;

  @Option(
      names = "--type",
      description = "F32, F16, BF16 (default); GGUF also Q8_0, Q4_0, Q4_K, Q6_K")
  private TensorType type = TensorType.BF16;

  @Option(
      names = "--tokenizer",
      required = true,
      description = "a SentencePiece model, may be gzipped (.gz)")
  private Path tokenizerFile = Path.of("");

  @Option(names = "--seed", description = "the same seed gives the same file (default 1)")
  private long seed = 1;

  @Option(names = "--force", description = "overwrite what is there")
  private boolean force;

  /** The published shapes, and one for tests. */
  enum Preset {
    GEMMA_2B(2048, 18, 8, 1, 256, 16384),
    GEMMA_7B(3072, 28, 16, 16, 256, 24576),
    TINY(256, 2, 4, 1, 64, 512); // rows of whole Q4_K blocks

    private final int hidden;
    private final int layers;
    private final int heads;
    private final int kvHeads;
    private final int headDim;
    private final int intermediate;

    Preset(int hidden, int layers, int heads, int kvHeads, int headDim, int intermediate) {
      this.hidden = hidden;
      this.layers = layers;
      this.heads = heads;
      this.kvHeads = kvHeads;
      this.headDim = headDim;
      this.intermediate = intermediate;
    }

    GemmaConfig config(int vocabSize) {
      return new GemmaConfig(
          vocabSize, hidden, layers, heads, kvHeads, headDim, intermediate, 8192, 1e-6f, 10000f);
    }

    @Override
    public String toString() {
      return name().toLowerCase(Locale.ROOT).replace("gemma_", "");
    }
  }

  public static void main(String... args) {
    System.exit(commandLine().execute(args));
  }

  static CommandLine commandLine() {
    return new CommandLine(new SyntheticCheckpoint())
        .setCaseInsensitiveEnumValuesAllowed(true)
        .registerConverter(Preset.class, SyntheticCheckpoint::preset);
  }

  private static Preset preset(String name) {
    for (Preset preset : Preset.values()) {
      if (preset.toString().equalsIgnoreCase(name)) {
        return preset;
      }
    }
    throw new CommandLine.TypeConversionException("expected 2b, 7b or tiny, but was " + name);
  }

  @Override
  public Integer call() throws IOException {
    boolean gguf = out.toString().endsWith(".gguf");
    Set<TensorType> possible = gguf ? GGUF : SAFETENSORS;
    if (!possible.contains(type)) {
      throw usage("--type must be one of " + possible + " for " + out + ", but is " + type);
    }
    if (Files.exists(out) && !force) {
      throw usage(out + " exists; --force overwrites it");
    }
    byte[] model = tokenizerModel();
    Tokenizer tokenizer = Tokenizer.parse(model, tokenizerFile.toString());
    GemmaConfig config = preset.config(tokenizer.vocabSize());
    checkSpace(config);
    long start = System.nanoTime();
    if (gguf) {
      writeGguf(config, tokenizer);
    } else {
      SafetensorsWriter.write(out, config, type, model, seed);
    }
    double seconds = (System.nanoTime() - start) / 1e9;
    spec.commandLine()
        .getErr()
        .printf(Locale.ROOT, "wrote %s: %.2f GB in %.1f s%n", out, bytes(config) / 1e9, seconds);
    return 0;
  }

  private void writeGguf(GemmaConfig config, Tokenizer tokenizer) throws IOException {
    List<GgufWriter.Entry> entries = new ArrayList<>();
    for (SyntheticTensor tensor : SyntheticTensor.of(config)) {
      TensorType stored = tensor.isNorm() ? TensorType.F32 : type;
      entries.add(new GgufWriter.Entry(tensor.name(), stored, tensor.shape()));
    }
    RandomWeights weights = new RandomWeights(seed);
    GgufWriter.write(
        out,
        GgufWriter.metadata(
            "synthetic " + type, config, type, tokenizer.vocabulary(), List.of(), null),
        entries,
        (entry, channel) -> {
          long elements = entry.shape().stream().reduce(1L, Math::multiplyExact);
          if (entry.shape().size() == 1) {
            float[] scale = weights.floats(Math.toIntExact(elements), 1, 0.1);
            ByteBuffer bytes =
                ByteBuffer.allocate(scale.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
            bytes.asFloatBuffer().put(scale);
            Channels.writeFully(channel, bytes);
          } else {
            double std = RandomWeights.std(entry.shape().getLast());
            weights.write(channel, entry.type(), std, elements);
          }
        });
  }

  private ParameterException usage(String message) {
    return new ParameterException(spec.commandLine(), message);
  }

  private byte[] tokenizerModel() throws IOException {
    if (!tokenizerFile.toString().endsWith(".gz")) {
      return Files.readAllBytes(tokenizerFile);
    }
    try (InputStream in = new GZIPInputStream(Files.newInputStream(tokenizerFile))) {
      return in.readAllBytes();
    }
  }

  private long bytes(GemmaConfig config) {
    return SyntheticTensor.of(config).stream().mapToLong(t -> type.byteSize(t.elements())).sum();
  }

  private void checkSpace(GemmaConfig config) throws IOException {
    Path parent = out.toAbsolutePath().getParent();
    if (parent != null) {
      Files.createDirectories(parent);
      FileStore store = Files.getFileStore(parent);
      if (store.getUsableSpace() < bytes(config)) {
        throw usage(
            "%s has %.1f GB free, the checkpoint needs %.1f GB"
                .formatted(parent, store.getUsableSpace() / 1e9, bytes(config) / 1e9));
      }
    }
  }
}
