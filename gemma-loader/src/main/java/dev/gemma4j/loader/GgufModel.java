package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Understands a GGUF model as a Gemma: its metadata keys and tensor names. llama.cpp's converter
 * stores 1 + weight for the norms, and leaves the rows of Q and K as they were.
 */
final class GgufModel {
  private static final String TEMPLATE = "tokenizer.chat_template";

  private static final Map<String, String> KEYS =
      Map.of(
          "vocabSize", "gemma.vocab_size",
          "hiddenSize", "gemma.embedding_length",
          "numLayers", "gemma.block_count",
          "numHeads", "gemma.attention.head_count",
          "numKvHeads", "gemma.attention.head_count_kv",
          "headDim", "gemma.attention.key_length",
          "intermediateSize", "gemma.feed_forward_length",
          "maxPositions", "gemma.context_length",
          "rmsNormEps", "gemma.attention.layer_norm_rms_epsilon",
          "ropeTheta", "gemma.rope.freq_base");

  private GgufModel() {}

  static Contents read(Path path, Arena arena) throws IOException {
    TensorFile file = GgufParts.read(path, arena);
    Values metadata = new Values(path.toString(), file.metadata());
    GemmaConfig config = config(metadata, file);
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    for (Tensor t : file.tensors().values()) {
      String name = GgufNames.canonical(t.name());
      Tensor tensor = new Tensor(name, t.type(), t.shape(), t.data(), t.file());
      if (tensors.put(name, tensor) != null) {
        throw new MalformedFileException(
            t.file().toString(), "tensor " + t.name(), "a second one for " + name, "one");
      }
    }
    Map<String, String> unreadable = new LinkedHashMap<>();
    file.unreadable().forEach((name, type) -> unreadable.put(GgufNames.canonical(name), type));
    return new Contents(
        path.toString(),
        path.toString(),
        config,
        tensors,
        unreadable,
        GgufNames::inFile,
        true,
        GgufTokenizer.read(metadata),
        GgufTokenizer.eosIds(metadata),
        chatTemplate(metadata),
        file.metadata());
  }

  private static GemmaConfig config(Values metadata, TensorFile file)
      throws MalformedFileException {
    String architecture = metadata.string("general.architecture");
    if (!architecture.equals("gemma")) {
      throw metadata.wrong(
          "general.architecture", architecture, "\"gemma\" (Gemma 1; no other is supported)");
    }
    String scaling = "gemma.rope.scaling.type";
    if (metadata.has(scaling) && !metadata.string(scaling).equals("none")) {
      throw metadata.wrong(scaling, metadata.string(scaling), "\"none\"");
    }
    // Without a type the format's is linear. The second key is the older name of the first.
    for (String key : List.of("gemma.rope.scaling.factor", "gemma.rope.scale_linear")) {
      float factor = metadata.has(scaling) ? 1 : metadata.number(key, 1);
      if (factor != 0 && factor != 1) { // 0 is as good as none
        throw metadata.wrong(key, factor, "1");
      }
    }
    int hidden = metadata.integer(KEYS.get("hiddenSize"));
    int heads = metadata.integer(KEYS.get("numHeads"));
    // The format's default where the lengths are not given.
    int headDim = metadata.integer(KEYS.get("headDim"), heads < 1 ? 0 : hidden / heads);
    for (String key : List.of("gemma.attention.value_length", "gemma.rope.dimension_count")) {
      int length = metadata.integer(key, headDim);
      if (length != headDim) {
        throw metadata.wrong(key, length, "the key length " + headDim);
      }
    }
    try {
      return new GemmaConfig(
          vocabSize(metadata, file),
          hidden,
          metadata.integer(KEYS.get("numLayers")),
          heads,
          metadata.integer(KEYS.get("numKvHeads"), heads),
          headDim,
          metadata.integer(KEYS.get("intermediateSize")),
          metadata.integer(KEYS.get("maxPositions")),
          metadata.number(KEYS.get("rmsNormEps")),
          metadata.number(KEYS.get("ropeTheta"), 10_000));
    } catch (InvalidConfigException e) {
      throw new MalformedFileException(
          metadata.file(), KEYS.getOrDefault(e.field, e.field), e.found, e.expected);
    }
  }

  /** Most files do not name it; the embedding has a row for each. */
  private static int vocabSize(Values metadata, TensorFile file) throws MalformedFileException {
    String key = "gemma.vocab_size";
    Tensor embedding = file.tensors().get("token_embd.weight");
    if (metadata.has(key) || embedding == null) {
      // Without an embedding any size serves until the missing tensor is reported.
      return metadata.integer(key, 1);
    }
    return (int) Math.min(Integer.MAX_VALUE, embedding.shape().getFirst());
  }

  private static @Nullable String chatTemplate(Values metadata) throws MalformedFileException {
    return metadata.has(TEMPLATE) ? metadata.string(TEMPLATE) : null;
  }
}
