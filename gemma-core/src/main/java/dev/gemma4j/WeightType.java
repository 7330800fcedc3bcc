package dev.gemma4j;

/** In which type the weight matrices are held at run time. */
public enum WeightType {
  /**
   * As the checkpoint stores them. F32, F16, BF16, Q8_0, Q4_0, Q4_K and Q6_K run as they are. GGUF
   * has types that no kernel runs; such matrices are converted when loaded: Q5_0, IQ4_NL and MXFP4
   * to Q8_0 without any loss (8.5 bits a weight; MXFP4 to F32 should a scale be no half float),
   * Q4_1, Q5_1, Q2_K, Q3_K, Q5_K and IQ4_XS to F16 (or F32, should a weight exceed 65504), 16 bits
   * a weight. Ask for {@link #Q8_0} or {@link #Q4_0} to hold these smaller, rounded once more.
   */
  AS_STORED,
  /** 32-bit floats. */
  F32,
  /** The upper half of 32-bit floats. */
  BF16,
  /** IEEE half floats. */
  F16,
  /** Blocks of 32 with 8-bit integers and one half-float scale. */
  Q8_0,
  /** Blocks of 32 with 4-bit integers and one half-float scale. */
  Q4_0
}
