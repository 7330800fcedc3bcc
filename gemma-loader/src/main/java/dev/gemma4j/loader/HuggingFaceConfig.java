package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import java.util.List;
import java.util.Map;

/** Reads config.json, and refuses what would make the model another one than Gemma 1. */
final class HuggingFaceConfig {
  private static final List<String> ACTIVATIONS = List.of("gelu_pytorch_tanh", "gelu");

  private static final Map<String, String> KEYS =
      Map.of(
          "vocabSize", "vocab_size",
          "hiddenSize", "hidden_size",
          "numLayers", "num_hidden_layers",
          "numHeads", "num_attention_heads",
          "numKvHeads", "num_key_value_heads",
          "headDim", "head_dim",
          "intermediateSize", "intermediate_size",
          "maxPositions", "max_position_embeddings",
          "rmsNormEps", "rms_norm_eps",
          "ropeTheta", "rope_theta");

  private HuggingFaceConfig() {}

  static GemmaConfig read(Values config) throws MalformedFileException {
    refuseOthers(config);
    Values rope = config;
    if (config.has("rope_parameters") && config.object("rope_parameters").has("rope_theta")) {
      rope = config.object("rope_parameters"); // transformers 5 moved it there
    }
    try {
      return new GemmaConfig(
          config.integer("vocab_size"),
          config.integer("hidden_size"),
          config.integer("num_hidden_layers"),
          config.integer("num_attention_heads"),
          config.integer("num_key_value_heads"),
          config.integer("head_dim", 256),
          config.integer("intermediate_size"),
          config.integer("max_position_embeddings", 8192),
          config.number("rms_norm_eps", 1e-6f),
          rope.number("rope_theta", 10_000));
    } catch (InvalidConfigException e) {
      throw new MalformedFileException(
          config.file(), KEYS.getOrDefault(e.field, e.field), e.found, e.expected);
    }
  }

  private static void refuseOthers(Values config) throws MalformedFileException {
    String type = config.string("model_type");
    if (!type.equals("gemma")) {
      throw config.wrong("model_type", type, "\"gemma\" (Gemma 1; no other model is supported)");
    }
    // "gelu" in old configs is a known mistake: Gemma was trained with the tanh approximation,
    // https://github.com/huggingface/transformers/pull/29402
    for (String key : List.of("hidden_act", "hidden_activation")) {
      if (config.has(key) && !ACTIVATIONS.contains(config.string(key))) {
        throw config.wrong(key, config.string(key), "one of " + ACTIVATIONS);
      }
    }
    refuseScaling(config, "rope_scaling");
    refuseScaling(config, "rope_parameters");
    String quantized = "quantization_config";
    if (config.has(quantized)) {
      throw config.wrong(quantized, config.map().getOrDefault(quantized, ""), "none");
    }
    for (String key : List.of("attention_bias", "use_bidirectional_attention")) {
      if (config.has(key) && config.flag(key, false)) {
        throw config.wrong(key, true, "false");
      }
    }
    if (!config.flag("tie_word_embeddings", true)) {
      throw config.wrong("tie_word_embeddings", false, "true");
    }
  }

  private static void refuseScaling(Values config, String key) throws MalformedFileException {
    if (!config.has(key)) {
      return;
    }
    Values rope = config.object(key);
    String type = rope.has("type") && !rope.has("rope_type") ? "type" : "rope_type"; // its old name
    if (rope.has(type) && !rope.string(type).equals("default")) {
      throw config.wrong(key + "." + type, rope.string(type), "\"default\"");
    }
    if (!rope.has(type) && rope.has("factor")) {
      throw config.wrong(key + "." + type, "nothing", "\"default\"");
    }
  }
}
