package dev.gemma4j.model;

import dev.gemma4j.kernel.Matrix;
import dev.gemma4j.loader.GemmaConfig;
import java.util.List;

/**
 * The weights of a Gemma 1 model, immutable and shared by all sessions. Norm scales are the
 * effective ones, 1 + w.
 *
 * @param embedding [vocabSize, hiddenSize], also the output matrix
 * @param finalNorm [hiddenSize]
 */
public record Weights(GemmaConfig config, Matrix embedding, List<Layer> layers, float[] finalNorm) {
  /**
   * One decoder layer.
   *
   * @param attentionNorm [hiddenSize]
   * @param query [numHeads * headDim, hiddenSize]
   * @param key [numKvHeads * headDim, hiddenSize]
   * @param value [numKvHeads * headDim, hiddenSize]
   * @param output [hiddenSize, numHeads * headDim]
   * @param mlpNorm [hiddenSize]
   * @param gate [intermediateSize, hiddenSize]
   * @param up [intermediateSize, hiddenSize]
   * @param down [hiddenSize, intermediateSize]
   */
  public record Layer(
      float[] attentionNorm,
      Matrix query,
      Matrix key,
      Matrix value,
      Matrix output,
      float[] mlpNorm,
      Matrix gate,
      Matrix up,
      Matrix down) {
    Matrix matrix(Projection projection) {
      return switch (projection) {
        case QUERY -> query;
        case KEY -> key;
        case VALUE -> value;
        case OUTPUT -> output;
        case GATE -> gate;
        case UP -> up;
        case DOWN -> down;
      };
    }

    /** All of the layer. */
    public List<Matrix> matrices() {
      return List.of(query, key, value, output, gate, up, down);
    }
  }

  /** Bytes of weights that one decode step reads. */
  public long bytesPerStep() {
    return embedding.data().byteSize()
        + layers.stream()
            .flatMap(layer -> layer.matrices().stream())
            .mapToLong(m -> m.data().byteSize())
            .sum();
  }
}
