package dev.gemma4j.loader;

import static dev.gemma4j.loader.TestFiles.copy;
import static dev.gemma4j.loader.TestFiles.resource;
import static dev.gemma4j.loader.TestFiles.safetensors;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.loader.TestFiles.Gguf;
import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Files larger than an int can say, and files that become shorter. */
class MappedFilesTest {
  private static final long FAR = 5L << 30;

  @TempDir Path dir;

  /** A sparse file: header, nothing, and at an offset the float 1. */
  private Path sparse(String name, byte[] header, long at) throws IOException {
    Path path = dir.resolve(name);
    try (RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw")) {
      file.write(header);
      file.seek(at);
      file.write(new byte[] {0, 0, (byte) 0x80, 0x3f});
    }
    return path;
  }

  private static float[] last(Tensor tensor) throws IOException {
    float[] values = new float[2];
    tensor.read(tensor.elements() - 2, values, 0, 2);
    return values;
  }

  @Test
  void readsFarIntoAGguf() throws IOException {
    byte[] header =
        new Gguf(3, 3, 0)
            .tensor("near", 0, 0, 8L)
            .tensor("long", 0, 32, (FAR - 32) / 4)
            .tensor("far", 0, FAR, 2L)
            .done(0);
    Path file = sparse("x.gguf", header, header.length + FAR + 4);
    try (Arena arena = Arena.ofConfined()) {
      TensorFile tensors = GgufReader.read(file, arena);
      Tensor far = tensors.tensors().get("far");
      assertThat(far).isNotNull();
      assertThat(last(far)).containsExactly(0, 1);
      Tensor big = tensors.tensors().get("long");
      assertThat(big).isNotNull();
      assertThat(big.data().byteSize()).isEqualTo(FAR - 32);
      assertThat(last(big)).containsExactly(0, 0);
    }
  }

  @Test
  void readsFarIntoSafetensors() throws IOException {
    String header =
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[%d],\"data_offsets\":[0,%d]}}"
            .formatted(FAR / 4, FAR);
    byte[] bytes = safetensors(header, 0);
    Path file = sparse("x.safetensors", bytes, bytes.length + FAR - 4);
    try (Arena arena = Arena.ofConfined()) {
      Tensor tensor = SafetensorsReader.read(file, arena).tensors().get("a");
      assertThat(tensor).isNotNull();
      assertThat(last(tensor)).containsExactly(0, 1);
    }
  }

  private static void shorten(Path file) throws IOException {
    try (RandomAccessFile access = new RandomAccessFile(file.toFile(), "rw")) {
      access.setLength(10);
    }
  }

  @Test
  void saysWhenAFileHasBecomeShorter() throws IOException {
    copy("forward/gemma-mqa-f32", dir);
    Path file = dir.resolve("model.safetensors");
    try (Checkpoint checkpoint = Checkpoint.open(dir)) {
      shorten(file);
      for (Tensor tensor : checkpoint.tensors()) {
        assertThatThrownBy(() -> last(tensor))
            .isInstanceOf(MalformedFileException.class)
            .hasMessageStartingWith(file + ": size: found less than when it was opened");
      }
      assertThatThrownBy(() -> checkpoint.normScale("model.norm.weight"))
          .isInstanceOf(IOException.class)
          .hasMessageStartingWith(file + ": size");
    }
  }

  @Test
  void saysWhenAFileBecomesShorterWhileItIsOpened() throws IOException {
    Path file = Files.copy(resource("gguf/gemma-mqa.F32.gguf"), dir.resolve("x.gguf"));
    try (Arena arena = Arena.ofConfined()) {
      assertThatThrownBy(
              () ->
                  InputFile.parse(
                      file,
                      arena,
                      bytes -> {
                        shorten(file);
                        return new GgufCursor(file.toString(), bytes.asSlice(8192)).int64("x");
                      }))
          .isInstanceOf(MalformedFileException.class)
          .hasMessageStartingWith(file + ": size: found less than when it was opened");
    }
  }
}
