package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** A model's file that loses its end while it is mapped is an exception, not the end of the JVM. */
class ShrinkingFileTest {
  @TempDir Path dir;

  private Path model(String type) throws IOException {
    Path source = Goldens.model("gguf/gemma-mqa." + type + ".gguf");
    return Files.copy(source, dir.resolve(type + ".gguf"));
  }

  private static void shorten(Path file) {
    try (RandomAccessFile access = new RandomAccessFile(file.toFile(), "rw")) {
      access.setLength(10);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"AS_STORED", "Q8_0"})
  void whileItLoads(WeightType type) throws IOException {
    Path file = model("F32");
    LoadOptions options =
        LoadOptions.defaults()
            .withThreads(2)
            .withWeights(type)
            .withProgress(
                (stage, done, total) -> {
                  if (stage.equals("weights") && done == 0) {
                    shorten(file);
                  }
                });
    assertThatThrownBy(() -> Gemma.load(file, options))
        .isInstanceOf(IOException.class)
        .hasMessageStartingWith(file + ": size: found less than when it was opened");
  }

  static Iterable<KernelType> kernels() {
    return Goldens.kernels();
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void whileItRuns(KernelType kernels) throws IOException {
    int[] ids = new int[20];
    for (String type : new String[] {"BF16", "Q8_0"}) { // types that stay mapped
      Path file = model(type);
      LoadOptions options = LoadOptions.defaults().withThreads(2).withKernels(kernels);
      try (Gemma gemma = Gemma.load(file, options)) {
        for (int round = 0; round < 25; round++) { // so that kernels are compiled
          try (Session session = gemma.newSession()) {
            session.append(ids);
            assertThat(session.append(1).argmax()).isNotNegative();
          }
        }
        shorten(file);
        for (int[] prompt : new int[][] {ids, {1}}) {
          try (Session session = gemma.newSession()) {
            assertThatThrownBy(() -> session.append(prompt))
                .isInstanceOf(UncheckedIOException.class)
                .hasMessageContaining(file + ": size: found less than when it was opened");
          }
        }
      }
      Files.delete(file);
    }
  }
}
