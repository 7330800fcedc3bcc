package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * Understands a PyTorch checkpoint as Google published Gemma in first (<a
 * href="https://github.com/google/gemma_pytorch/blob/main/gemma/model.py">names</a>): query, key
 * and value are one matrix, and the shape of the model is that of its tensors.
 */
final class TorchModel {
  private static final String EMBEDDING = "embedder.weight";
  private static final String LAYER = "model.layers.";
  private static final String QKV = ".self_attn.qkv_proj.weight";
  private static final int HEAD_DIM = 256;

  /** What layers of Gemma 1 consist of; Gemma 2 and 3 have more. */
  private static final Pattern KNOWN =
      Pattern.compile(
          "model\\.layers\\.\\d+\\."
              + "(self_attn\\.(qkv_proj|o_proj)|mlp\\.(gate|up|down)_proj"
              + "|input_layernorm|post_attention_layernorm)\\.weight(_scaler)?");

  private final Path path;
  private final TensorFile file;

  private TorchModel(Path path, TensorFile file) {
    this.path = path;
    this.file = file;
  }

  /** Reads a .ckpt file, and from beside it the tokenizer and, where there is one, config.json. */
  static Contents read(Path path, Arena arena) throws IOException {
    TorchModel model = new TorchModel(path, TorchReader.read(path, arena));
    model.refuseOthers();
    HuggingFaceDirectory directory = HuggingFaceDirectory.of(path, arena);
    Path json = directory.config();
    Values values = new Values(json.toString(), Map.of());
    GemmaConfig config;
    if (Files.exists(json)) {
      values = Json.read(json);
      config = HuggingFaceConfig.read(values);
    } else {
      config = model.config();
    }
    TensorFile tensors = model.tensors(config);
    return directory.contents(values, config, path, tensors, TorchModel::inFile);
  }

  private void refuseOthers() throws MalformedFileException {
    for (Map<String, ?> names : List.of(file.tensors(), file.unreadable())) {
      for (String name : names.keySet()) {
        if (name.startsWith(LAYER) && !KNOWN.matcher(name).matches()) {
          throw new MalformedFileException(
              path.toString(), "tensor " + name, "one that Gemma 1 lacks", "a Gemma 1 checkpoint");
        }
      }
    }
  }

  private List<Long> shape(String name) throws MalformedFileException {
    Tensor tensor = file.tensors().get(name);
    if (tensor == null || tensor.shape().size() != 2) {
      String type = file.unreadable().get(name);
      throw new MalformedFileException(
          path.toString(),
          "tensor " + name,
          tensor != null
              ? "shape " + tensor.shape()
              : type != null ? "type " + type : "no such tensor",
          "a matrix of F32, F16 or BF16");
    }
    return tensor.shape();
  }

  /** The shape of the model, as it follows from those of its tensors. */
  private GemmaConfig config() throws MalformedFileException {
    int layers = 0;
    while (file.tensors().containsKey(LAYER + layers + QKV)) {
      layers++;
    }
    List<Long> embedding = shape(EMBEDDING);
    long mlp = shape(LAYER + "0.mlp.gate_proj.weight").getFirst();
    long query = shape(LAYER + "0.self_attn.o_proj.weight").getLast();
    long keyValue = (shape(LAYER + 0 + QKV).getFirst() - query) / 2;
    if (query % HEAD_DIM != 0 || keyValue % HEAD_DIM != 0) {
      throw new MalformedFileException(
          path.toString(),
          "tensor " + LAYER + 0 + QKV,
          "shape " + shape(LAYER + 0 + QKV),
          "heads of " + HEAD_DIM + " rows, or a config.json beside the file that says otherwise");
    }
    GemmaConfig usual = GemmaConfig.GEMMA_2B;
    try {
      return new GemmaConfig(
          saturated(embedding.getFirst()),
          saturated(embedding.getLast()),
          layers,
          saturated(query / HEAD_DIM),
          saturated(keyValue / HEAD_DIM),
          HEAD_DIM,
          saturated(mlp),
          usual.maxPositions(),
          usual.rmsNormEps(),
          usual.ropeTheta());
    } catch (InvalidConfigException e) {
      throw new MalformedFileException(
          path.toString(), e.field + " by the shapes", e.found, e.expected);
    }
  }

  private static int saturated(long value) {
    return (int) Math.min(Integer.MAX_VALUE, value);
  }

  /** The tensors by their canonical names, with the fused ones cut into three. */
  private TensorFile tensors(GemmaConfig config) throws MalformedFileException {
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    for (Tensor t : file.tensors().values()) {
      if (t.name().endsWith(QKV)) {
        cut(t, qkvShape(config), config, tensors);
      } else {
        String name = t.name().equals(EMBEDDING) ? "model.embed_tokens.weight" : t.name();
        tensors.put(name, new Tensor(name, t.type(), t.shape(), t.data(), t.file()));
      }
    }
    Map<String, String> unreadable = new LinkedHashMap<>();
    file.unreadable()
        .forEach(
            (name, type) ->
                unreadable.put(
                    name.equals(EMBEDDING)
                        ? "model.embed_tokens.weight"
                        : name.replace("qkv_proj", "q_proj"),
                    type));
    for (int l = 0; l < config.numLayers(); l++) {
      String name = LAYER + l + QKV;
      if (!file.tensors().containsKey(name) && !file.unreadable().containsKey(name)) {
        throw new MalformedFileException(
            path.toString(), "tensor " + name, "no such tensor", "shape " + qkvShape(config));
      }
    }
    return new TensorFile(tensors, unreadable, file.metadata());
  }

  private static List<Long> qkvShape(GemmaConfig config) {
    long heads = config.numHeads() + 2L * config.numKvHeads();
    return List.of(heads * config.headDim(), (long) config.hiddenSize());
  }

  private static void cut(
      Tensor fused, List<Long> shape, GemmaConfig config, Map<String, Tensor> tensors)
      throws MalformedFileException {
    if (!fused.shape().equals(shape)) {
      throw new MalformedFileException(
          fused.file().toString(),
          "tensor " + fused.name(),
          "shape " + fused.shape(),
          "shape " + shape);
    }
    long row = fused.type().byteSize(config.hiddenSize());
    long at = 0;
    for (String part : List.of("q", "k", "v")) {
      int heads = part.equals("q") ? config.numHeads() : config.numKvHeads();
      long rows = (long) heads * config.headDim();
      String name = fused.name().replace("qkv_proj", part + "_proj");
      MemorySegment data = fused.data().asSlice(at * row, rows * row);
      tensors.put(
          name,
          new Tensor(
              name, fused.type(), List.of(rows, (long) config.hiddenSize()), data, fused.file()));
      at += rows;
    }
  }

  /** The file's name of a canonical one, for errors. */
  private static String inFile(String name) {
    return name.equals("model.embed_tokens.weight")
        ? EMBEDDING
        : name.replaceFirst("\\.[qkv]_proj", ".qkv_proj");
  }
}
