package dev.gemma4j;

/** In which type the weight matrices are held at run time. */
public enum WeightType {
  /** As the checkpoint stores them: mapped, nothing is copied. */
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
