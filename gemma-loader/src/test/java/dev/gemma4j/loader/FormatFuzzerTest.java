package dev.gemma4j.loader;

import static dev.gemma4j.loader.TestFiles.resource;
import static org.assertj.core.api.Assertions.assertThat;

import dev.gemma4j.loader.FormatFuzzer.Format;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The fuzzer's seeds, which are whole models, and the inputs that once broke a reader. */
class FormatFuzzerTest {
  @TempDir Path dir;

  @ParameterizedTest
  @EnumSource
  void seedsOpenAndOldFailuresStayFixed(Format format) throws IOException {
    FormatFuzzer.prepare(dir);
    try (Stream<Path> inputs = Files.list(resource("fuzz/" + format.seeds()))) {
      for (Path input : inputs.toList()) {
        boolean opens = FormatFuzzer.open(format, dir, Files.readAllBytes(input));
        boolean seed = !input.getFileName().toString().startsWith("crash-");
        assertThat(opens || !seed).as(input.toString()).isTrue();
      }
    }
  }
}
