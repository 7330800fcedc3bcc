package dev.gemma4j.loader;

import static dev.gemma4j.loader.TestFiles.resource;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The split files hold the tensors of split/whole.gguf; made by make_files.py. */
class GgufPartsTest {
  @TempDir Path dir;

  @BeforeEach
  void copy() throws IOException {
    TestFiles.copy("split", dir);
    Files.delete(dir.resolve("whole.gguf"));
  }

  private Path part(int number) {
    return dir.resolve("model-0000" + number + "-of-00003.gguf");
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2, 3})
  void anyPartOrTheDirectoryOpensAll(int number) throws IOException {
    try (Checkpoint whole = Checkpoint.open(resource("split/whole.gguf"));
        Checkpoint parts = Checkpoint.open(number == 0 ? dir : part(number))) {
      assertThat(parts.config()).isEqualTo(whole.config());
      assertThat(parts.metadata())
          .containsEntry("split.count", 3L)
          .containsKey("gemma.block_count");
      assertThat(parts.tensors()).hasSameSizeAs(whole.tensors());
      for (Tensor expected : whole.tensors()) {
        MemorySegment data = parts.tensor(expected.name()).data();
        assertThat(data.mismatch(expected.data())).as(expected.name()).isEqualTo(-1);
      }
    }
  }

  @Test
  void namesTheMissingPart() throws IOException {
    Files.delete(part(2));
    assertThatThrownBy(() -> Checkpoint.open(part(1)))
        .isInstanceOf(MalformedFileException.class)
        .hasMessage(part(2) + ": file: found nothing, expected part 2 of 3");
  }

  @Test
  void refusesOtherNames() throws IOException {
    Path renamed = Files.move(part(1), dir.resolve("gemma.gguf"));
    assertThatThrownBy(() -> Checkpoint.open(renamed))
        .hasMessageContaining("expected a name that ends in -00001-of-00003.gguf");
    Path other = Files.move(renamed, dir.resolve("model-00001-of-00004.gguf"));
    assertThatThrownBy(() -> Checkpoint.open(other)).hasMessageContaining("-of-00003.gguf");
  }

  @ParameterizedTest
  @CsvSource({
    "split.no, 2, split.no: found 7",
    "split.count, 2, split.count: found 7",
    "split.tensors.count, 1, split.tensors.count: found 7",
  })
  void refusesPartsThatDoNotBelong(String key, int number, String message) throws IOException {
    byte[] bytes = Files.readAllBytes(part(number));
    String text = new String(bytes, java.nio.charset.StandardCharsets.ISO_8859_1);
    bytes[text.indexOf(key) + key.length() + 4] = 7;
    Files.write(part(number), bytes);
    assertThatThrownBy(() -> Checkpoint.open(part(3)))
        .isInstanceOf(MalformedFileException.class)
        .hasMessageStartingWith(part(number) + ": " + message);
  }

  @Test
  void refusesATensorThatStandsTwice() throws IOException {
    // A part may be copied under another number only with that number in it.
    byte[] bytes = Files.readAllBytes(part(2));
    String text = new String(bytes, java.nio.charset.StandardCharsets.ISO_8859_1);
    bytes[text.indexOf("split.no") + "split.no".length() + 4] = 2;
    Files.write(part(3), bytes);
    assertThatThrownBy(() -> Checkpoint.open(part(1)))
        .hasMessageContaining(part(3) + ": tensor ")
        .hasMessageContaining("one as in an earlier part");
  }
}
