package dev.gemma4j.bench;

import static org.assertj.core.api.Assertions.assertThat;

import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.Prompt;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SyntheticCheckpointTest {
  private static final String TOKENIZER =
      "../gemma-tokenizer/src/test/resources/dev/gemma4j/tokenizer/small/bpe_512.model";

  @TempDir Path directory;

  @ParameterizedTest
  @CsvSource({
    "model,            F32",
    "model,            F16",
    "model,            BF16",
    "model.F32.gguf,   F32",
    "model.F16.gguf,   F16",
    "model.BF16.gguf,  BF16",
    "model.Q8_0.gguf,  Q8_0",
    "model.Q4_0.gguf,  Q4_0",
    "model.Q4_K.gguf,  Q4_K",
    "model.Q6_K.gguf,  Q6_K"
  })
  void sameSeedGivesTheSameFileWhichGenerates(String name, String type) throws Exception {
    Path first = directory.resolve("first").resolve(name);
    Path second = directory.resolve("second").resolve(name);
    assertThat(write(first, type)).isZero();
    assertThat(write(second, type)).isZero();
    assertThat(weights(first)).hasSameBinaryContentAs(weights(second)).isNotEmptyFile();
    GenerationOptions options =
        GenerationOptions.builder().maxTokens(4).temperature(0).ignoreEos(true).build();
    try (Gemma gemma = Gemma.load(first)) {
      assertThat(gemma.weights()).isEqualTo(type);
      assertThat(gemma.generate(Prompt.of("A story"), options).tokens()).hasSize(4);
    }
  }

  @Test
  void refusesToOverwrite() throws Exception {
    Path file = directory.resolve("model.gguf");
    Files.writeString(file, "precious");
    assertThat(write(file, "F32")).isEqualTo(2);
    assertThat(file).hasContent("precious");
    assertThat(write(file, "F32", "--force")).isZero();
    assertThat(Files.size(file)).isGreaterThan(100_000);
  }

  @Test
  void refusesQuantisedSafetensors() {
    assertThat(write(directory.resolve("model"), "Q8_0")).isEqualTo(2);
    assertThat(directory.resolve("model")).doesNotExist();
  }

  private static Path weights(Path checkpoint) {
    return Files.isDirectory(checkpoint) ? checkpoint.resolve("model.safetensors") : checkpoint;
  }

  private static int write(Path out, String type, String... more) {
    PrintWriter nowhere = new PrintWriter(new StringWriter());
    String[] args = {"--preset", "tiny", "--type", type, "--tokenizer", TOKENIZER, out.toString()};
    String[] all = Arrays.copyOf(args, args.length + more.length);
    System.arraycopy(more, 0, all, args.length, more.length);
    return SyntheticCheckpoint.commandLine().setErr(nowhere).execute(all);
  }
}
