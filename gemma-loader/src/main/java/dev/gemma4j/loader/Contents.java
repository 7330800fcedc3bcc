package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/**
 * What a format's reader found.
 *
 * @param source the path of the model, for errors
 * @param weights the file that should hold or name all tensors, for errors
 * @param tensors by canonical name, those of known types
 * @param unreadable canonical names of the others, with their type
 * @param fileName turns a canonical tensor name into the format's own, for errors
 */
record Contents(
    String source,
    String weights,
    GemmaConfig config,
    Map<String, Tensor> tensors,
    Map<String, String> unreadable,
    UnaryOperator<String> fileName,
    boolean normsIncludeOne,
    @Nullable Tokenizer tokenizer,
    List<Integer> eosIds,
    @Nullable String chatTemplate,
    Map<String, Object> metadata) {

  private static final String EMBEDDING = "model.embed_tokens.weight";
  private static final String HEAD = "lm_head.weight";

  /** Frequencies that old checkpoints bring, and that follow from the configuration. */
  private static final String ROTARY = ".rotary_emb.";

  Contents {
    tensors = new LinkedHashMap<>(tensors);
    tensors.keySet().removeIf(name -> name.contains(ROTARY));
    eosIds = List.copyOf(eosIds);
  }

  /** Everything that must agree between config, tensors and tokenizer, for all formats. */
  void check() throws MalformedFileException {
    Map<String, List<Long>> shapes = shapes(config);
    for (Map.Entry<String, List<Long>> entry : shapes.entrySet()) {
      checkShape(entry.getKey(), entry.getValue());
    }
    refuseOthers(tensors.keySet(), shapes);
    refuseOthers(unreadable.keySet(), shapes);
    if (tensors.containsKey(HEAD)) {
      // Some tools write the tied matrix twice; one of another shape is another model.
      checkShape(HEAD, tensors.get(EMBEDDING).shape());
      tensors.remove(HEAD);
    }
    if (tokenizer != null && tokenizer.vocabSize() > config.vocabSize()) {
      // By name, as it may be a token that a fine-tune added without resizing the embedding.
      throw new MalformedFileException(
          source,
          "tokenizer",
          "\"" + tokenizer.piece(config.vocabSize()) + "\" with id " + config.vocabSize(),
          "only ids of the " + config.vocabSize() + " rows of the embedding");
    }
    for (int id : eosIds) {
      if (id < 0 || id >= config.vocabSize()) {
        throw new MalformedFileException(
            source, "eos_token_id", String.valueOf(id), "0 to " + (config.vocabSize() - 1));
      }
    }
  }

  /** A layer with more in it, or one layer more, belongs to another model. */
  private void refuseOthers(Set<String> names, Map<String, List<Long>> shapes)
      throws MalformedFileException {
    for (String name : names) {
      boolean ofLayer = name.startsWith("model.layers.") || name.startsWith("blk.");
      if (ofLayer && !shapes.containsKey(name) && !name.contains(ROTARY)) {
        throw new MalformedFileException(
            weights,
            "tensor " + fileName.apply(name),
            "one that Gemma 1 lacks",
            "only those of " + config.numLayers() + " layers of Gemma 1");
      }
    }
  }

  private void checkShape(String name, List<Long> shape) throws MalformedFileException {
    Tensor tensor = tensors.get(name);
    String field = "tensor " + fileName.apply(name);
    if (tensor != null) {
      if (!tensor.shape().equals(shape)) {
        throw new MalformedFileException(
            tensor.file().toString(), field, "shape " + tensor.shape(), "shape " + shape);
      }
      return;
    }
    String type = unreadable.get(name);
    if (type != null) {
      List<String> known = new ArrayList<>();
      for (TensorType t : TensorType.values()) {
        known.add(t.name());
      }
      throw new MalformedFileException(
          weights, field, "type " + type, "one of " + String.join(", ", known));
    }
    throw new MalformedFileException(weights, field, "no such tensor", "one of shape " + shape);
  }

  /** Every tensor that a model has, by its canonical name. */
  static Map<String, List<Long>> shapes(GemmaConfig config) {
    long hidden = config.hiddenSize();
    long query = (long) config.numHeads() * config.headDim();
    long keyValue = (long) config.numKvHeads() * config.headDim();
    long intermediate = config.intermediateSize();
    Map<String, List<Long>> shapes = new LinkedHashMap<>();
    shapes.put(EMBEDDING, List.of((long) config.vocabSize(), hidden));
    for (int l = 0; l < config.numLayers(); l++) {
      String layer = "model.layers." + l + ".";
      shapes.put(layer + "input_layernorm.weight", List.of(hidden));
      shapes.put(layer + "self_attn.q_proj.weight", List.of(query, hidden));
      shapes.put(layer + "self_attn.k_proj.weight", List.of(keyValue, hidden));
      shapes.put(layer + "self_attn.v_proj.weight", List.of(keyValue, hidden));
      shapes.put(layer + "self_attn.o_proj.weight", List.of(hidden, query));
      shapes.put(layer + "post_attention_layernorm.weight", List.of(hidden));
      shapes.put(layer + "mlp.gate_proj.weight", List.of(intermediate, hidden));
      shapes.put(layer + "mlp.up_proj.weight", List.of(intermediate, hidden));
      shapes.put(layer + "mlp.down_proj.weight", List.of(hidden, intermediate));
    }
    shapes.put("model.norm.weight", List.of(hidden));
    return shapes;
  }
}
