package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * A Gemma checkpoint on disk, the same view whatever its format: configuration, tensors by name,
 * tokenizer. Files are not trusted: all of headers, names, types, shapes and bounds is checked when
 * opened. Weights are memory-mapped, so opening costs no more than the headers and the vocabulary.
 *
 * <pre>{@code
 * try (Checkpoint checkpoint = Checkpoint.open(Path.of("gemma-2b-it"))) {
 *   checkpoint.config().numLayers(); // 18
 *   checkpoint.tensor("model.norm.weight").shape(); // [2048]
 * }
 * }</pre>
 *
 * Safe for any number of threads; whoever opens it closes it, after the last use of a tensor. The
 * files must not change while it is open: of one that becomes shorter, methods that throw
 * IOException report it, and other access to its tensors' data throws an {@link InternalError},
 * upon which {@link #checkFiles} says which one.
 */
public final class Checkpoint implements AutoCloseable {
  private final Arena arena;
  private final Contents contents;
  private final Map<Path, Long> fileSizes = new HashMap<>();
  private final AtomicBoolean closed = new AtomicBoolean();

  private Checkpoint(Arena arena, Contents contents) throws IOException {
    this.arena = arena;
    this.contents = contents;
    for (Tensor tensor : contents.tensors().values()) {
      if (!fileSizes.containsKey(tensor.file())) {
        fileSizes.put(tensor.file(), Files.size(tensor.file()));
      }
    }
  }

  /**
   * Opens a checkpoint.
   *
   * @param path one of
   *     <ul>
   *       <li>a Hugging Face directory: config.json, model.safetensors or
   *           model.safetensors.index.json with its shards, tokenizer.model (with the tokens that
   *           tokenizer.json or else tokenizer_config.json or added_tokens.json adds to it) or else
   *           tokenizer.json, and optionally generation_config.json and tokenizer_config.json
   *       <li>one .safetensors file in such a directory, which holds all tensors (<a
   *           href="https://github.com/huggingface/safetensors">format</a>)
   *       <li>a .gguf file, version 2 or 3, little-endian, of architecture gemma (<a
   *           href="https://github.com/ggml-org/ggml/blob/master/docs/gguf.md">format</a>), or any
   *           part of one that is split into files beside each other, or a directory that holds
   *           exactly one such model and no config.json
   *       <li>a .ckpt file, as Google published Gemma for PyTorch, with tokenizer.model beside it
   *           and, where its shapes do not say all, config.json; or a directory that holds one
   *     </ul>
   *
   * @throws MalformedFileException when a file does not hold what its format or the model asks for,
   *     with the file, the field, what was found and what was expected in one line
   * @throws IOException when a file is missing or cannot be read
   */
  public static Checkpoint open(Path path) throws IOException {
    Arena arena = Arena.ofShared();
    try {
      Contents contents = read(path, arena);
      contents.check();
      return new Checkpoint(arena, contents);
    } catch (Throwable t) {
      arena.close();
      throw t;
    }
  }

  private static Contents read(Path path, Arena arena) throws IOException {
    if (!Files.exists(path)) {
      throw new MalformedFileException(
          path.toString(),
          "path",
          "nothing",
          "a model directory, .safetensors, .gguf or .ckpt file");
    }
    if (Files.isDirectory(path)) {
      if (Files.exists(path.resolve(HuggingFaceDirectory.CONFIG))) {
        return new HuggingFaceDirectory(path, arena).read();
      }
      List<Path> models = new ArrayList<>(InputFile.withExtension(path, ".gguf"));
      models.removeIf(GgufParts::isLaterPart);
      models.addAll(InputFile.withExtension(path, ".ckpt"));
      if (models.size() == 1) {
        return read(models.getFirst(), arena);
      }
      throw new MalformedFileException(
          path.toString(),
          HuggingFaceDirectory.CONFIG,
          models.isEmpty() ? "nothing" : "nothing, and " + models.size() + " .gguf or .ckpt files",
          "a config.json, or exactly one .gguf or .ckpt file");
    }
    String name = path.toString();
    if (name.endsWith(".gguf")) {
      return GgufModel.read(path, arena);
    }
    if (name.endsWith(".safetensors")) {
      Path parent = path.toAbsolutePath().getParent();
      if (parent == null || !Files.exists(parent.resolve(HuggingFaceDirectory.CONFIG))) {
        // A broken file is the more useful thing to hear of.
        SafetensorsReader.read(path, arena);
      }
      return HuggingFaceDirectory.of(path, arena).read(path);
    }
    if (name.endsWith(".ckpt")) {
      return TorchModel.read(path, arena);
    }
    throw new MalformedFileException(
        name, "name", "another extension", "a .safetensors, .gguf or .ckpt file");
  }

  /** The model's shape. */
  public GemmaConfig config() {
    return contents.config();
  }

  /**
   * The tokenizer, read when the checkpoint was opened. Has at most {@code config().vocabSize()}
   * pieces. May be used after {@link #close()}.
   *
   * @throws MalformedFileException when the checkpoint has none: put the tokenizer.model of the
   *     model beside its config.json
   */
  public Tokenizer tokenizer() throws MalformedFileException {
    Tokenizer tokenizer = contents.tokenizer();
    if (tokenizer == null) {
      throw new MalformedFileException(
          contents.source(),
          "tokenizer",
          "nothing",
          "a tokenizer.model or tokenizer.json, or one in the metadata");
    }
    return tokenizer;
  }

  /**
   * Every tensor of a type that this library reads, in the order of the file, also those that Gemma
   * has no use for. Not in it: rotary_emb.inv_freq buffers, and an lm_head, which is the embedding.
   *
   * @throws IllegalStateException after {@link #close()}
   */
  public List<Tensor> tensors() {
    requireOpen();
    return List.copyOf(contents.tensors().values());
  }

  /**
   * One tensor.
   *
   * @param name the Hugging Face name; all that {@link #config()} calls for exist
   * @throws IllegalArgumentException when there is none of that name
   * @throws IllegalStateException after {@link #close()}
   */
  public Tensor tensor(String name) {
    requireOpen();
    Tensor tensor = contents.tensors().get(name);
    if (tensor == null) {
      throw new IllegalArgumentException(contents.source() + " has no tensor " + name);
    }
    return tensor;
  }

  /**
   * What RMSNorm multiplies by: 1 + the weight that was trained. GGUF stores the sum, safetensors
   * the weight alone.
   *
   * @param name of a norm weight, such as "model.norm.weight"
   * @return a new array, [hiddenSize]
   * @throws IllegalArgumentException when there is none of that name
   * @throws IllegalStateException after {@link #close()}
   * @throws IOException when the file has become shorter since it was opened
   */
  public float[] normScale(String name) throws IOException {
    Tensor tensor = tensor(name);
    float[] scale = new float[Math.toIntExact(tensor.elements())];
    tensor.read(0, scale, 0, scale.length);
    if (!contents.normsIncludeOne()) {
      for (int i = 0; i < scale.length; i++) {
        scale[i] += 1;
      }
    }
    return scale;
  }

  /**
   * Looks whether the files are as long as they were, and reads the end of every tensor: what to do
   * once access to their data has thrown an InternalError, or has ended.
   *
   * @throws IOException when a file has become shorter since it was opened
   * @throws IllegalStateException after {@link #close()}
   */
  public void checkFiles() throws IOException {
    for (Map.Entry<Path, Long> entry : fileSizes.entrySet()) {
      Path file = entry.getKey();
      if (Files.exists(file) && Files.size(file) < entry.getValue()) {
        throw InputFile.shrunk(file.toString());
      }
    }
    for (Tensor tensor : tensors()) {
      int block = tensor.type().blockSize();
      if (tensor.elements() >= block) {
        tensor.read(tensor.elements() - block, new float[block], 0, block);
      }
    }
  }

  /**
   * The tokens that end a text: from generation_config.json, else config.json, else the tokenizer;
   * of GGUF the eos and the end-of-turn token. May be empty.
   */
  public List<Integer> eosIds() {
    return contents.eosIds();
  }

  /** The Jinja chat template that instruction-tuned checkpoints bring, as it stands in the file. */
  public Optional<String> chatTemplate() {
    return Optional.ofNullable(contents.chatTemplate());
  }

  /**
   * What else the weights' file says of itself, unmodifiable: all key-value pairs of a GGUF file
   * (values are Long, BigInteger, Float, Double, Boolean, String, or a List of them), the
   * __metadata__ strings of safetensors.
   */
  public Map<String, Object> metadata() {
    return contents.metadata();
  }

  /** Whether {@link #close} is still to come. */
  public boolean isOpen() {
    return !closed.get();
  }

  private void requireOpen() {
    if (closed.get()) {
      throw new IllegalStateException("checkpoint " + contents.source() + " is closed");
    }
  }

  /** Unmaps the weights; whoever still reads one gets an IllegalStateException. Harmless twice. */
  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      arena.close();
    }
  }
}
