package dev.gemma4j.loader;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.loader.TestFiles.Gguf;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

class GgufWriterTest {
  @TempDir Path dir;

  private static Map<String, Object> read(Path file) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      return GgufReader.read(file, arena).metadata();
    }
  }

  private Path write(Map<String, Object> metadata) throws IOException {
    Path file = dir.resolve("out.gguf");
    GgufWriter.write(file, metadata, List.of(), (entry, out) -> {});
    return file;
  }

  /** Scalars and arrays of every type, at the ends of their ranges. */
  private static Gguf everyType(int pairs) {
    int[] sizes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    Gguf gguf = new Gguf(3, 0, pairs);
    for (int type = 0; type < sizes.length; type++) {
      if (sizes[type] == 0) {
        continue;
      }
      int[] high = new int[sizes[type]];
      Arrays.fill(high, type == 7 ? 1 : 0xfe);
      gguf.string("scalar" + type).int32(type).bytes(high);
      gguf.string("array" + type).int32(9).int32(type).int64(2).bytes(high);
      gguf.bytes(new int[sizes[type]]);
      gguf.string("none" + type).int32(9).int32(type).int64(0);
    }
    gguf.text("text", "t");
    gguf.string("texts").int32(9).int32(8).int64(1).string("t");
    gguf.string("no texts").int32(9).int32(8).int64(0);
    gguf.string("arrays").int32(9).int32(9).int64(1).int32(0).int64(1).bytes(7);
    return gguf;
  }

  @Test
  void aCopyHasTheTypesOfTheOriginal() throws IOException {
    int pairs = 11 * 3 + 4;
    Path original = Files.write(dir.resolve("in.gguf"), everyType(pairs).done(0));
    Path copy = write(GgufWriter.metadata(read(original), TensorType.Q8_0));
    byte[] expected =
        everyType(pairs + 2)
            .uint32("general.file_type", 7)
            .uint32("general.quantization_version", 2)
            .done(0);
    assertThat(copy).hasBinaryContent(expected);
  }

  @Test
  void listsOfIntegersGetATypeThatHoldsThemAll() throws IOException {
    Map<String, Object> metadata = new LinkedHashMap<>();
    BigInteger big = BigInteger.ONE.shiftLeft(64).subtract(BigInteger.ONE);
    metadata.put("a", List.of(1L, -1L));
    metadata.put("b", List.of(1L << 40, 1L));
    metadata.put("c", List.of(big, 1L));
    assertThat(read(write(metadata))).isEqualTo(metadata);
    metadata.put("d", List.of("x", 1L));
    assertThatThrownBy(() -> write(metadata))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("d: cannot write a list of several types");
  }

  @Test
  @DisabledOnOs(OS.WINDOWS)
  void aFileHasThePermissionsOfAnyNewOne() throws IOException {
    Path other = Files.createFile(dir.resolve("other"));
    assertThat(Files.getPosixFilePermissions(write(Map.of())))
        .isEqualTo(Files.getPosixFilePermissions(other));
  }

  @Test
  @EnabledOnOs(OS.LINUX)
  void namesTheFileThatCannotBeWrittenAndTheReason() {
    Path file = Path.of("/sys/x.gguf"); // where not even root may create one
    assertThatThrownBy(() -> GgufWriter.write(file, Map.of(), List.of(), (entry, out) -> {}))
        .isInstanceOf(IOException.class)
        .hasMessageMatching("/sys/x.gguf: cannot be written: [^/]+");
  }
}
