package dev.gemma4j.model;

/** The matrices of a decoder layer. */
enum Projection {
  QUERY("self_attn.q_proj"),
  KEY("self_attn.k_proj"),
  VALUE("self_attn.v_proj"),
  OUTPUT("self_attn.o_proj"),
  GATE("mlp.gate_proj"),
  UP("mlp.up_proj"),
  DOWN("mlp.down_proj");

  private final String module;

  Projection(String module) {
    this.module = module;
  }

  /** The Hugging Face name, such as "model.layers.0.self_attn.q_proj". */
  String module(int layer) {
    return "model.layers." + layer + "." + module;
  }
}
