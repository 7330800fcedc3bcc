package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * A LoRA adapter (https://arxiv.org/abs/2106.09685) on disk, as Hugging Face's PEFT saves it:
 * adapter_config.json and adapter_model.safetensors in one directory. Of a matrix W [out, in] of
 * the model it makes {@code W + scale * B * A}.
 *
 * <p>Files are not trusted: everything is checked against the model's shape when opened, and what
 * is not plain LoRA on the attention and MLP matrices is refused by name. The tensors are mapped;
 * whoever opens it closes it, after the last use of one. The files must not change while it is
 * open.
 */
public final class PeftAdapter implements AutoCloseable {
  static final String CONFIG = "adapter_config.json";
  static final String WEIGHTS = "adapter_model.safetensors";

  /** Before the names of the model's modules, as PEFT wraps it. */
  private static final String PREFIX = "base_model.model.";

  private static final String A = ".lora_A.weight";
  private static final String B = ".lora_B.weight";
  private static final String MATRIX = "_proj.weight";

  private final Arena arena;
  private final List<Update> updates;
  private final AtomicBoolean closed = new AtomicBoolean();

  /**
   * What is added to one matrix.
   *
   * @param module the matrix's name without ".weight", such as "model.layers.0.self_attn.q_proj"
   * @param a [rank, in], finite
   * @param b [out, rank], finite
   * @param scale what the product of b and a is multiplied by: lora_alpha / rank, or lora_alpha /
   *     sqrt(rank) with use_rslora; finite
   */
  public record Update(String module, Tensor a, Tensor b, float scale) {}

  private PeftAdapter(Arena arena, List<Update> updates) {
    this.arena = arena;
    this.updates = List.copyOf(updates);
  }

  /**
   * Opens an adapter.
   *
   * @param directory of adapter_config.json and adapter_model.safetensors (F32, F16 or BF16)
   * @param config the shape of the model that it is for
   * @throws MalformedFileException when a file does not hold what PEFT or the model asks for, or
   *     more than plain LoRA and rsLoRA of attention and MLP matrices: DoRA and other variants,
   *     biases, embeddings, modules that are saved whole. It names the file, the field, what was
   *     found and what was expected in one line.
   * @throws IOException when a file is missing or cannot be read
   */
  public static PeftAdapter open(Path directory, GemmaConfig config) throws IOException {
    if (!Files.isDirectory(directory)) {
      throw new MalformedFileException(
          directory.toString(),
          "path",
          Files.exists(directory) ? "a file" : "nothing",
          "the directory of an adapter, with " + CONFIG);
    }
    PeftConfig settings = PeftConfig.read(directory.resolve(CONFIG));
    Path weights = directory.resolve(WEIGHTS);
    if (!Files.exists(weights)) {
      boolean pickled = Files.exists(directory.resolve("adapter_model.bin"));
      throw new MalformedFileException(
          weights.toString(),
          "file",
          pickled ? "adapter_model.bin instead" : "nothing",
          "the adapter's tensors");
    }
    Arena arena = Arena.ofShared();
    try {
      TensorFile tensors = SafetensorsReader.read(weights, arena);
      return new PeftAdapter(arena, updates(weights.toString(), tensors, settings, config));
    } catch (Throwable t) {
      arena.close();
      throw t;
    }
  }

  private static List<Update> updates(
      String file, TensorFile tensors, PeftConfig settings, GemmaConfig config) throws IOException {
    Set<String> rest = new HashSet<>(tensors.tensors().keySet());
    rest.addAll(tensors.unreadable().keySet());
    List<Update> updates = new ArrayList<>();
    for (Map.Entry<String, List<Long>> entry : Contents.shapes(config).entrySet()) {
      if (!entry.getKey().endsWith(MATRIX)) {
        continue;
      }
      String module = entry.getKey().substring(0, entry.getKey().lastIndexOf('.'));
      boolean present = rest.contains(PREFIX + module + A) || rest.contains(PREFIX + module + B);
      Boolean expected = settings.adapts(module);
      if (present && Boolean.FALSE.equals(expected)) {
        throw new MalformedFileException(
            file, "tensor " + PREFIX + module, "tensors", "none, by target_modules of " + CONFIG);
      }
      if (present || Boolean.TRUE.equals(expected)) {
        long rank = settings.rank(module);
        long rows = entry.getValue().get(0);
        long cols = entry.getValue().get(1);
        updates.add(
            new Update(
                module,
                tensor(file, tensors, PREFIX + module + A, List.of(rank, cols)),
                tensor(file, tensors, PREFIX + module + B, List.of(rows, rank)),
                settings.scale(module)));
        rest.remove(PREFIX + module + A);
        rest.remove(PREFIX + module + B);
      }
    }
    if (!rest.isEmpty()) {
      throw new MalformedFileException(
          file,
          "tensor " + rest.stream().sorted().findFirst().orElseThrow(),
          "one of that name",
          "only " + A + " and " + B + " of " + config.numLayers() + " layers' " + MATRIX);
    }
    if (updates.isEmpty()) {
      throw new MalformedFileException(
          file, "tensors", "none", A + " and " + B + " of some matrix");
    }
    return updates;
  }

  private static Tensor tensor(String file, TensorFile tensors, String name, List<Long> shape)
      throws IOException {
    String field = "tensor " + name;
    String type = tensors.unreadable().get(name);
    if (type != null) {
      throw new MalformedFileException(file, field, "type " + type, "F32, F16 or BF16");
    }
    Tensor tensor = tensors.tensors().get(name);
    if (tensor == null) {
      throw new MalformedFileException(file, field, "no such tensor", "one of shape " + shape);
    }
    if (!tensor.shape().equals(shape)) {
      throw new MalformedFileException(file, field, "shape " + tensor.shape(), "shape " + shape);
    }
    long bad = tensor.firstNonFinite();
    if (bad >= 0) {
      throw new MalformedFileException(
          file, field, "value " + bad + " that is not finite", "finite values");
    }
    return tensor;
  }

  /** What is added, in the order of layers; at least one. */
  public List<Update> updates() {
    return updates;
  }

  /** Unmaps the tensors; whoever still reads one gets an IllegalStateException. Harmless twice. */
  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      arena.close();
    }
  }
}
