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
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Files larger than an int can say, and files that become shorter. */
class MappedFilesTest {
  /** Where ints and unsigned ints end, and beyond; multiples of 32, as GGUF asks for. */
  private static final long[] PLACES = {
    0, (1L << 31) - 32, 1L << 31, (1L << 32) - 32, 1L << 32, (1L << 32) + (1L << 31), 7L << 30
  };

  private static final long LONG = (7L << 30) + 8;

  @TempDir Path dir;

  /** A sparse file: a header, and from each place of the data on two floats that tell which. */
  private Path sparse(String name, byte[] header) throws IOException {
    Path path = dir.resolve(name);
    try (FileChannel file =
        FileChannel.open(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
      file.write(ByteBuffer.wrap(header), 0);
      for (int i = 0; i < PLACES.length; i++) {
        ByteBuffer values = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
        file.write(values.putFloat(i + 1).putFloat(-i - 1).flip(), header.length + PLACES[i]);
      }
    }
    return path;
  }

  private static float[] read(Tensor tensor, long first, int count) throws IOException {
    float[] values = new float[count];
    tensor.read(first, values, 0, count);
    return values;
  }

  private static void checkLong(Map<String, Tensor> tensors) throws IOException {
    Tensor tensor = tensors.get("a");
    assertThat(tensor).isNotNull();
    assertThat(tensor.data().byteSize()).isEqualTo(LONG);
    for (int i = 0; i < PLACES.length; i++) {
      assertThat(read(tensor, PLACES[i] / 4, 2))
          .as("at " + PLACES[i])
          .containsExactly(i + 1, -i - 1);
    }
    assertThat(read(tensor, PLACES[4] / 4 + 2, 2)).containsExactly(0, 0);
  }

  private static void checkShort(Map<String, Tensor> tensors) throws IOException {
    for (int i = 0; i < PLACES.length; i++) {
      Tensor tensor = tensors.get("at" + i);
      assertThat(tensor).isNotNull();
      assertThat(read(tensor, 0, 2)).as("at " + PLACES[i]).containsExactly(i + 1, -i - 1);
    }
  }

  @Test
  void readsALongTensorOfAGguf() throws IOException {
    Path file = sparse("x.gguf", new Gguf(3, 1, 0).tensor("a", 0, 0, LONG / 4).done(0));
    try (Arena arena = Arena.ofConfined()) {
      checkLong(GgufReader.read(file, arena).tensors());
    }
  }

  @Test
  void readsALongTensorOfSafetensors() throws IOException {
    String header =
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[%d],\"data_offsets\":[0,%d]}}"
            .formatted(LONG / 4, LONG);
    Path file = sparse("x.safetensors", safetensors(header, 0));
    try (Arena arena = Arena.ofConfined()) {
      checkLong(SafetensorsReader.read(file, arena).tensors());
    }
  }

  @Test
  void readsBlocksFarIntoAGguf() throws IOException {
    long elements = (1L << 32) + 64;
    byte[] header = new Gguf(3, 1, 0).tensor("a", 8, 0, elements).done(0);
    Path path = dir.resolve("x.gguf");
    try (FileChannel file =
        FileChannel.open(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
      file.write(ByteBuffer.wrap(header), 0);
      ByteBuffer block = ByteBuffer.allocate(34).order(ByteOrder.LITTLE_ENDIAN);
      block.putShort(Float.floatToFloat16(0.5f)).put((byte) 7).put(33, (byte) -9);
      file.write(block.rewind(), header.length + (elements / 32 - 1) * 34);
    }
    try (Arena arena = Arena.ofConfined()) {
      Tensor tensor = GgufReader.read(path, arena).tensors().get("a");
      assertThat(tensor).isNotNull();
      assertThat(tensor.elements()).isEqualTo(elements);
      float[] values = read(tensor, elements - 64, 64);
      assertThat(values[31]).isZero();
      assertThat(values[32]).isEqualTo(3.5f);
      assertThat(values[63]).isEqualTo(-4.5f);
    }
  }

  @Test
  void readsFarTensorsOfAGguf() throws IOException {
    Gguf gguf = new Gguf(3, PLACES.length, 0);
    for (int i = 0; i < PLACES.length; i++) {
      long next = i + 1 < PLACES.length ? PLACES[i + 1] : LONG;
      gguf.tensor("at" + i, 0, PLACES[i], (next - PLACES[i]) / 4);
    }
    Path file = sparse("x.gguf", gguf.done(0));
    try (Arena arena = Arena.ofConfined()) {
      checkShort(GgufReader.read(file, arena).tensors());
    }
  }

  @Test
  void readsFarTensorsOfSafetensors() throws IOException {
    StringBuilder header = new StringBuilder("{");
    for (int i = 0; i < PLACES.length; i++) {
      long next = i + 1 < PLACES.length ? PLACES[i + 1] : LONG;
      header
          .append(i == 0 ? "" : ",")
          .append(
              "\"at%d\":{\"dtype\":\"F32\",\"shape\":[%d],\"data_offsets\":[%d,%d]}"
                  .formatted(i, (next - PLACES[i]) / 4, PLACES[i], next));
    }
    Path file = sparse("x.safetensors", safetensors(header.append('}').toString(), 0));
    try (Arena arena = Arena.ofConfined()) {
      checkShort(SafetensorsReader.read(file, arena).tensors());
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
        assertThatThrownBy(() -> read(tensor, tensor.elements() - 2, 2))
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
