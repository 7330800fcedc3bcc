package dev.gemma4j.loader;

/** Stub of the agreed API; the loader branch replaces it. */
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
    float ropeTheta) {}
