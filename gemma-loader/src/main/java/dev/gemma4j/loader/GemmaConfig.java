package dev.gemma4j.loader;

/**
 * The shape of a Gemma model, as the checkpoint describes it. Named as in the <a
 * href="https://huggingface.co/docs/transformers/model_doc/gemma">config.json of Hugging Face</a>.
 *
 * @param vocabSize rows of the embedding matrix; the tokenizer may have fewer pieces
 * @param hiddenSize width of the residual stream
 * @param numLayers transformer blocks
 * @param numHeads query heads, a multiple of numKvHeads
 * @param numKvHeads key and value heads
 * @param headDim width of one head, even; numHeads * headDim need not equal hiddenSize
 * @param intermediateSize width of the MLP
 * @param maxPositions the longest sequence that the model was trained for
 * @param rmsNormEps added to the mean square in RMSNorm
 * @param ropeTheta base of the rotary embedding's frequencies
 */
public record GemmaConfig(
    int vocabSize,
    int hiddenSize,
    int numLayers,
    int numHeads,
    int numKvHeads,
    int headDim,
    int intermediateSize,
    int maxPositions,
    float rmsNormEps,
    float ropeTheta) {

  /** Gemma 1 and 1.1, 2B: multi-query attention. */
  public static final GemmaConfig GEMMA_2B =
      new GemmaConfig(256_000, 2048, 18, 8, 1, 256, 16_384, 8192, 1e-6f, 10_000);

  /** Gemma 1 and 1.1, 7B: multi-head attention. */
  public static final GemmaConfig GEMMA_7B =
      new GemmaConfig(256_000, 3072, 28, 16, 16, 256, 24_576, 8192, 1e-6f, 10_000);

  /**
   * Checks every value.
   *
   * @throws IllegalArgumentException when one is out of its range, with its name, range and value
   */
  public GemmaConfig {
    // Far beyond any Gemma, near enough that no product of two overflows an int by surprise.
    check("vocabSize", vocabSize, 1 << 24);
    check("hiddenSize", hiddenSize, 1 << 17);
    check("numLayers", numLayers, 1 << 10);
    check("numHeads", numHeads, 1 << 10);
    check("numKvHeads", numKvHeads, 1 << 10);
    check("headDim", headDim, 1 << 13);
    check("intermediateSize", intermediateSize, 1 << 20);
    check("maxPositions", maxPositions, 1 << 24);
    if (headDim % 2 != 0) {
      throw new InvalidConfigException("headDim", headDim, "even");
    }
    if (numHeads % numKvHeads != 0) {
      throw new InvalidConfigException(
          "numKvHeads", numKvHeads, "a divisor of the " + numHeads + " query heads");
    }
    if (!(rmsNormEps > 0 && rmsNormEps < 1)) {
      throw new InvalidConfigException("rmsNormEps", rmsNormEps, "above 0 and below 1");
    }
    if (!(ropeTheta >= 1 && ropeTheta <= 1e12f)) {
      throw new InvalidConfigException("ropeTheta", ropeTheta, "from 1 to 1e12");
    }
  }

  private static void check(String field, int value, int max) {
    if (value < 1 || value > max) {
      throw new InvalidConfigException(field, value, "from 1 to " + max);
    }
  }
}
