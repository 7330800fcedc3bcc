package dev.gemma4j;

/** Which implementation of the arithmetic runs. */
public enum KernelType {
  /**
   * The vector kernels where the JVM has the Vector API, and C2 to compile it; else the scalar ones
   * with a warning.
   */
  AUTO,
  /**
   * The Vector API's; needs {@code --add-modules jdk.incubator.vector}, without which loading
   * throws an {@link IllegalStateException}.
   */
  VECTOR,
  /** Plain loops. */
  SCALAR
}
