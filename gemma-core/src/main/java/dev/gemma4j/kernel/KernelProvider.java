package dev.gemma4j.kernel;

import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Chooses the kernels for this JVM. */
public final class KernelProvider {
  private static final Logger log = LoggerFactory.getLogger(KernelProvider.class);

  private KernelProvider() {}

  /** Whether the Vector API is there: the JVM runs with --add-modules jdk.incubator.vector. */
  public static boolean vectorAvailable() {
    // Asked before any class that needs the module is touched: loading one would be an Error.
    return ModuleLayer.boot().findModule("jdk.incubator.vector").isPresent();
  }

  /**
   * Whether vectors become the processor's: only C2 does that. Without it each is an object, and
   * the vector kernels take up to a hundred times as long as the plain ones.
   */
  static boolean vectorCompiled() {
    String info = System.getProperty("java.vm.info", "");
    return !info.contains("emulated-client") && !info.contains("interpreted mode");
  }

  /**
   * Whether the JVM's vectors are of a length that the kernels are written for. Shorter ones are
   * what a JVM says that has none, and longer ones no processor has had yet.
   */
  static boolean vectorFits() {
    int bits = VectorKernels.F.vectorBitSize();
    return bits >= 128 && bits <= 512;
  }

  /**
   * The vector kernels where the JVM has them and compiles them, else the scalar ones with a
   * warning.
   */
  public static Kernels best() {
    if (!vectorAvailable()) {
      log.warn(
          "Running on scalar kernels, several times slower: start the JVM with"
              + " --add-modules jdk.incubator.vector to use the vector ones");
      return scalar();
    }
    if (!vectorCompiled()) {
      log.warn(
          "Running on scalar kernels, several times slower: start the JVM without"
              + " -XX:TieredStopAtLevel=1 or -Xint to use the vector ones");
      return scalar();
    }
    if (!vectorFits()) {
      log.warn(
          "Running on scalar kernels, several times slower: the vector ones need a processor with"
              + " vectors of 128 to 512 bits, and the JVM prefers {} here",
          VectorKernels.F.vectorBitSize());
      return scalar();
    }
    return vector();
  }

  /**
   * The Vector API's kernels, which plain loops of the same results stand in for until they are
   * compiled.
   *
   * @throws IllegalStateException when the JVM lacks the module, or the processor vectors of 128 to
   *     512 bits
   */
  public static Kernels vector() {
    if (!vectorAvailable()) {
      throw new IllegalStateException(
          "vector kernels need the JVM option --add-modules jdk.incubator.vector");
    }
    if (!vectorFits()) {
      throw new IllegalStateException(
          "vector kernels need vectors of 128 to 512 bits, and the JVM prefers "
              + VectorKernels.F.vectorBitSize()
              + " here");
    }
    return new StartingKernels();
  }

  /** The plain kernels. */
  public static Kernels scalar() {
    return new ScalarKernels();
  }
}
