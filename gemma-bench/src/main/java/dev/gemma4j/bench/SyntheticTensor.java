package dev.gemma4j.bench;

import dev.gemma4j.loader.GemmaConfig;
import java.util.ArrayList;
import java.util.List;

/**
 * One tensor of a checkpoint to be written.
 *
 * @param name as Hugging Face spells it
 * @param shape outermost first; one dimension for a norm, two for a matrix
 */
record SyntheticTensor(String name, List<Long> shape) {
  boolean isNorm() {
    return shape.size() == 1;
  }

  long elements() {
    return shape.stream().reduce(1L, Math::multiplyExact);
  }

  long cols() {
    return shape.getLast();
  }

  /** All tensors of a model, in the order in which they are stored. */
  static List<SyntheticTensor> of(GemmaConfig c) {
    long hidden = c.hiddenSize();
    long queries = (long) c.numHeads() * c.headDim();
    long keys = (long) c.numKvHeads() * c.headDim();
    long intermediate = c.intermediateSize();
    List<SyntheticTensor> all = new ArrayList<>();
    all.add(
        new SyntheticTensor("model.embed_tokens.weight", List.of((long) c.vocabSize(), hidden)));
    for (int l = 0; l < c.numLayers(); l++) {
      Layer layer = new Layer(l, all);
      layer.add("input_layernorm", hidden);
      layer.add("self_attn.q_proj", queries, hidden);
      layer.add("self_attn.k_proj", keys, hidden);
      layer.add("self_attn.v_proj", keys, hidden);
      layer.add("self_attn.o_proj", hidden, queries);
      layer.add("post_attention_layernorm", hidden);
      layer.add("mlp.gate_proj", intermediate, hidden);
      layer.add("mlp.up_proj", intermediate, hidden);
      layer.add("mlp.down_proj", hidden, intermediate);
    }
    all.add(new SyntheticTensor("model.norm.weight", List.of(hidden)));
    return all;
  }

  private record Layer(int index, List<SyntheticTensor> all) {
    void add(String name, Long... shape) {
      all.add(
          new SyntheticTensor("model.layers." + index + "." + name + ".weight", List.of(shape)));
    }
  }
}
