package dev.gemma4j.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Path;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class KernelProviderTest {
  /** Tells which kernels are the best ones of its JVM. */
  static final class Child {
    public static void main(String[] args) {
      System.out.println("best: " + KernelProvider.best().name());
    }
  }

  /** Without C2, or vectors, they are a hundred times slower than plain loops. */
  @ParameterizedTest
  @CsvSource({
    "-XX:TieredStopAtLevel=1,scalar",
    "-Xint,scalar",
    "-XX:+TieredCompilation,vector",
    "-XX:-TieredCompilation,vector",
    "-XX:MaxVectorSize=8,scalar"
  })
  void vectorsServeOnlyWhereTheyAreCompiled(String option, String kernels) throws Exception {
    assumeTrue(KernelProvider.vectorAvailable());
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                option,
                "--add-modules",
                "jdk.incubator.vector",
                "-cp",
                System.getProperty("java.class.path"),
                Child.class.getName())
            .redirectErrorStream(true)
            .start();
    assertThat(process.inputReader().lines()).contains("best: " + kernels);
    assertThat(process.waitFor()).isZero();
  }
}
