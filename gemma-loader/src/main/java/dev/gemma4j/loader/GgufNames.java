package dev.gemma4j.loader;

import java.util.HashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Tensor names of GGUF and of Hugging Face
 * (https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/tensor_mapping.py).
 */
final class GgufNames {
  private static final Map<String, String> GLOBAL =
      Map.of(
          "token_embd.weight", "model.embed_tokens.weight",
          "output_norm.weight", "model.norm.weight",
          "output.weight", "lm_head.weight");

  private static final Map<String, String> OF_LAYER =
      Map.of(
          "attn_norm", "input_layernorm",
          "attn_q", "self_attn.q_proj",
          "attn_k", "self_attn.k_proj",
          "attn_v", "self_attn.v_proj",
          "attn_output", "self_attn.o_proj",
          "ffn_norm", "post_attention_layernorm",
          "ffn_gate", "mlp.gate_proj",
          "ffn_up", "mlp.up_proj",
          "ffn_down", "mlp.down_proj");

  private static final Map<String, String> GLOBAL_BACK = inverse(GLOBAL);
  private static final Map<String, String> OF_LAYER_BACK = inverse(OF_LAYER);
  private static final Pattern IN_FILE = Pattern.compile("blk\\.(\\d+)\\.(\\w+)\\.weight");
  private static final Pattern CANONICAL =
      Pattern.compile("model\\.layers\\.(\\d+)\\.([\\w.]+)\\.weight");

  private GgufNames() {}

  private static Map<String, String> inverse(Map<String, String> map) {
    Map<String, String> inverse = new HashMap<>();
    map.forEach((key, value) -> inverse.put(value, key));
    return inverse;
  }

  /** The Hugging Face name; an unknown name stays. */
  static String canonical(String name) {
    return translate(name, GLOBAL, IN_FILE, OF_LAYER, "model.layers.");
  }

  /** The inverse of {@link #canonical}. */
  static String inFile(String name) {
    return translate(name, GLOBAL_BACK, CANONICAL, OF_LAYER_BACK, "blk.");
  }

  private static String translate(
      String name,
      Map<String, String> global,
      Pattern pattern,
      Map<String, String> ofLayer,
      String prefix) {
    Matcher matcher = pattern.matcher(name);
    if (matcher.matches() && ofLayer.containsKey(matcher.group(2))) {
      return prefix + matcher.group(1) + "." + ofLayer.get(matcher.group(2)) + ".weight";
    }
    return global.getOrDefault(name, name);
  }
}
