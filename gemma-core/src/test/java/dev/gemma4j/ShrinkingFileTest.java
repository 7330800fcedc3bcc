package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A model's file that loses its end while it is mapped is an exception, not the end of the JVM. */
class ShrinkingFileTest {
  @TempDir Path dir;

  private Path model(String type) throws IOException {
    Path source = Goldens.model("gguf/gemma-mqa." + type + ".gguf");
    return Files.copy(source, dir.resolve(type + ".gguf"));
  }

  private static void shorten(Path file) {
    shorten(file, 10);
  }

  private static void shorten(Path file, long length) {
    try (RandomAccessFile access = new RandomAccessFile(file.toFile(), "rw")) {
      access.setLength(length);
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

  @ParameterizedTest
  @ValueSource(ints = {1, 1 << 16})
  void whileItIsCopied(int bytes) throws IOException {
    Path file = model("F32");
    LoadOptions options =
        LoadOptions.defaults()
            .withThreads(2)
            .withMemory(Memory.COPIED)
            .withProgress(
                (stage, done, total) -> {
                  if (stage.equals("weights") && done == 1) {
                    shorten(file, file.toFile().length() - bytes);
                  }
                });
    assertThatThrownBy(() -> Gemma.load(file, options))
        .isInstanceOf(IOException.class)
        .hasMessageStartingWith(file + ": size: found less than when it was opened");
  }

  @ParameterizedTest
  @ValueSource(strings = {"F32", "F16", "BF16", "Q8_0", "Q4_0"})
  void mayDoSoOnceItIsCopied(String type) throws IOException {
    Path file = model(type);
    Prompt prompt = Prompt.of("the old man");
    GenerationOptions options = GenerationOptions.builder().temperature(0).maxTokens(20).build();
    for (KernelType kernels : Goldens.kernels()) {
      LoadOptions mapped = LoadOptions.defaults().withThreads(2).withKernels(kernels);
      Generation expected;
      float[] logits;
      try (Gemma gemma = Gemma.load(file, mapped);
          Session session = gemma.newSession()) {
        expected = gemma.generate(prompt, options);
        logits = session.append(1, 2, 3).toArray();
      }
      byte[] bytes = Files.readAllBytes(file);
      try (Gemma gemma = Gemma.load(file, mapped.withMemory(Memory.COPIED));
          Session session = gemma.newSession()) {
        shorten(file, 0);
        assertThat(session.append(1, 2, 3).toArray()).containsExactly(logits, within(1e-4f));
        Files.delete(file);
        Generation generation = gemma.generate(prompt, options);
        assertThat(generation.tokens()).isEqualTo(expected.tokens());
        assertThat(generation.text()).isEqualTo(expected.text());
      }
      Files.write(file, bytes);
    }
  }

  static Iterable<KernelType> kernels() {
    return Goldens.kernels();
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void whileItRuns(KernelType kernels) throws IOException {
    int[][] prompts = {new int[20], new int[6], {1}};
    String quants = kernels == KernelType.SCALAR ? "F16" : "Q8_0";
    for (String type : new String[] {"F32", "F16", "BF16", quants}) { // types that stay mapped
      Path file = model(type);
      LoadOptions options = LoadOptions.defaults().withThreads(2).withKernels(kernels);
      try (Gemma gemma = Gemma.load(file, options)) {
        try (Session session = gemma.newSession()) {
          for (int[] prompt : prompts) {
            session.truncate(0);
            assertThat(session.append(prompt).argmax()).isNotNegative();
          }
        }
        long length = file.toFile().length();
        shorten(file, length / 2); // the embedding is read by other code
        for (int[] prompt : prompts) {
          try (Session session = gemma.newSession()) {
            assertThatThrownBy(() -> session.append(prompt))
                .isInstanceOf(UncheckedIOException.class)
                .hasMessageContaining(file + ": size: found less than when it was opened");
          }
          shorten(file, length); // as long as it was, but not what it was
        }
      }
      Files.delete(file);
    }
  }

  @Test
  void beforeASessionIsSavedOrRestored() throws IOException {
    Path file = model("BF16");
    Path saved = dir.resolve("saved");
    try (Gemma gemma = Gemma.load(file);
        Session session = gemma.newSession()) {
      session.append(1, 2, 3);
      session.save(saved);
    }
    for (boolean save : new boolean[] {true, false}) {
      try (Gemma gemma = Gemma.load(file);
          Session session = gemma.newSession()) {
        session.append(1, 2, 3);
        byte[] bytes = Files.readAllBytes(file);
        shorten(file);
        assertThatThrownBy(
                () -> {
                  if (save) {
                    session.save(dir.resolve("never"));
                  } else {
                    gemma.restore(saved);
                  }
                })
            .isInstanceOf(IOException.class)
            .hasMessageStartingWith(file + ": size: found less than when it was opened");
        assertThat(dir.resolve("never")).doesNotExist();
        Files.delete(file);
        Files.write(file, bytes);
      }
    }
  }

  @Test
  void itsLoadingIsReportedByTheThreadThatLoads() throws IOException {
    Path file = model("F32");
    Set<Thread> threads = ConcurrentHashMap.newKeySet();
    LoadOptions options =
        LoadOptions.defaults()
            .withThreads(2)
            .withWeights(WeightType.Q8_0)
            .withProgress((stage, done, total) -> threads.add(Thread.currentThread()));
    for (int i = 0; i < 20; i++) {
      Gemma.load(file, options).close();
    }
    assertThat(threads).containsExactly(Thread.currentThread());
  }
}
