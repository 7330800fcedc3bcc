package dev.gemma4j.loader;

import static dev.gemma4j.loader.TestFiles.copy;
import static dev.gemma4j.loader.TestFiles.resource;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** PyTorch checkpoints, made by make_files.py with torch 1.13. */
class TorchFilesTest {
  @TempDir Path dir;

  @Test
  void readsTheModelThatSafetensorsHold() throws IOException {
    copy("fuzz/base", dir);
    Files.copy(resource("fuzz/ckpt/model"), dir.resolve("model.ckpt"));
    Files.copy(resource("forward/gemma-mqa-f32/tokenizer.model"), dir.resolve("tokenizer.model"));
    try (Checkpoint expected = Checkpoint.open(dir);
        Checkpoint torch = Checkpoint.open(dir.resolve("model.ckpt"))) {
      assertThat(torch.config()).isEqualTo(expected.config());
      assertThat(torch.tensors()).hasSameSizeAs(expected.tensors());
      for (Tensor tensor : expected.tensors()) {
        Tensor found = torch.tensor(tensor.name());
        assertThat(found.shape()).isEqualTo(tensor.shape());
        assertThat(found.type()).isEqualTo(tensor.type());
        MemorySegment data = found.data();
        assertThat(data.mismatch(tensor.data())).as(tensor.name()).isEqualTo(-1);
      }
      String norm = "model.norm.weight";
      assertThat(torch.normScale(norm)).isEqualTo(expected.normScale(norm));
      assertThat(torch.tokenizer().vocabSize()).isEqualTo(512);
      assertThat(torch.eosIds()).containsExactly(1);
    }
    Files.delete(dir.resolve("model.safetensors"));
    try (Checkpoint checkpoint = Checkpoint.open(dir)) {
      assertThat(checkpoint.tensors()).hasSize(11);
    }
  }

  @Test
  void shapesSayTheConfig() throws IOException {
    Path file = Files.copy(resource("ckpt/shapes.ckpt"), dir.resolve("gemma.ckpt"));
    GemmaConfig expected = new GemmaConfig(8, 4, 2, 2, 1, 256, 3, 8192, 1e-6f, 10_000);
    for (Path path : new Path[] {file, dir}) {
      try (Checkpoint checkpoint = Checkpoint.open(path)) {
        assertThat(checkpoint.config()).isEqualTo(expected);
        assertThat(checkpoint.tensors()).hasSize(2 + 2 * 9);
        assertThatThrownBy(checkpoint::tokenizer).hasMessageContaining("tokenizer.model");
      }
    }
    Files.copy(resource("fuzz/ckpt/model"), dir.resolve("small.ckpt"));
    assertThatThrownBy(() -> Checkpoint.open(dir.resolve("small.ckpt")))
        .isInstanceOf(MalformedFileException.class)
        .hasMessageContaining(
            "qkv_proj.weight: found shape [8, 4], expected heads of 256 rows, or");
    assertThatThrownBy(() -> Checkpoint.open(dir))
        .hasMessageContaining("nothing, and 2 .gguf or .ckpt files");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "transposed | tensor: found shape [3, 2], strides [1, 3], offset 0, expected one whose",
        "legacy | format: found a bare pickle, as torch.save wrote before version 1.6",
        "compressed | entry archive/data.pkl: found compression method 8, expected 0",
        "big-endian | byteorder: found big, expected little",
        "short | entry archive/data/0: found 20 bytes, expected 6 elements of F32",
        "missing | entry archive/data/0: found nothing",
        "beyond | tensor: found shape [4], strides [1], offset 3, expected one within a storage of"
            + " 6",
        "system | data.pkl: found posix.system, expected nothing but dicts and tensors",
        "protocol4 | pickle offset 3: found opcode MEMOIZE, expected one that builds plain data",
        "gemma2 | tensor model.layers.0.pre_feedforward_layernorm.weight: found one that Gemma 1",
        "int8 | tensor embedder.weight: found type I8, expected a matrix of F32, F16 or BF16",
      })
  void refuses(String name, String message) {
    Path file = resource("ckpt/" + name + ".ckpt");
    assertThatThrownBy(() -> Checkpoint.open(file))
        .isInstanceOf(MalformedFileException.class)
        .hasMessageStartingWith(file + ": ")
        .hasMessageContaining(message);
  }

  @Test
  void readsPartOfAStorage() throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      TensorFile file = TorchReader.read(resource("ckpt/view.ckpt"), arena);
      Tensor tensor = file.tensors().get("embedder.weight");
      assertThat(tensor).isNotNull();
      float[] values = new float[4];
      tensor.read(0, values, 0, 4);
      assertThat(values).containsExactly(2, 3, 4, 5);
    }
  }

  private static Object unpickle(String program) throws MalformedFileException {
    byte[] bytes = program.getBytes(StandardCharsets.ISO_8859_1);
    return Unpickler.load(
        "x",
        MemorySegment.ofArray(bytes),
        new Unpickler.Builder() {
          @Override
          public Object global(String name) {
            return name;
          }

          @Override
          public Object call(Object global, Unpickler.Tuple arguments) {
            return global;
          }

          @Override
          public Object persistent(Object id) {
            return id;
          }
        });
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "'' | offset 0: found 1 bytes, expected the 0 left",
        ". | an empty stack",
        "u. | no mark",
        "s. | a stack of 0, expected at least 2",
        "}NNs. | a key that is no text",
        "}(Nu. | no pairs",
        "NNa. | items for what is no list",
        "NNb. | attributes for what is no dict",
        "NNR. | arguments that are no tuple",
        "h\u0001. | memo 1",
        "X\u00ff\u00ff\u00ff\u007f. | found 2147483647 bytes",
        "X\u00ff\u00ff\u00ff\u00ff. | found 4294967295 bytes",
        "X\u0001\u0000\u0000\u0000\u00ff. | UTF-8",
        "\u008a\u0009123456789. | an integer of 9 bytes",
        "cos | found 1 bytes",
        "ios~system~. | opcode INST",
        "\u0081. | opcode NEWOBJ",
        "\u00ff. | opcode 0xff",
        "N\u0007. | opcode 0x07",
      })
  void refusesPrograms(String program, String message) {
    assertThatThrownBy(() -> unpickle(program.replace('~', '\n')))
        .isInstanceOf(MalformedFileException.class)
        .hasMessageStartingWith("x: pickle offset ")
        .hasMessageContaining(message);
  }

  @Test
  void readsNumbers() throws MalformedFileException {
    assertThat(unpickle("\u008a\u0000.")).isEqualTo(0L);
    assertThat(unpickle("\u008a\u0001\u00ff.")).isEqualTo(-1L);
    assertThat(unpickle("\u008a\u0003\u0000\u0000\u0001.")).isEqualTo(65536L);
    assertThat(unpickle("\u008a\u0008\u0001\u0000\u0000\u0000\u0000\u0000\u0000\u0080."))
        .isEqualTo(Long.MIN_VALUE + 1);
    assertThat(unpickle("J\u00fe\u00ff\u00ff\u00ff.")).isEqualTo(-2L);
    assertThat(unpickle("M\u00ff\u00ff.")).isEqualTo(65535L);
    assertThat(unpickle("G\u003f\u00f8\u0000\u0000\u0000\u0000\u0000\u0000.")).isEqualTo(1.5);
  }

  @Test
  void aListMayHoldItself() throws MalformedFileException {
    assertThat(unpickle("]q\u0000h\u0000a.")).isInstanceOf(Iterable.class);
  }

  @Test
  @Timeout(120)
  void survivesMutation() throws IOException {
    byte[] original = Files.readAllBytes(resource("fuzz/ckpt/model"));
    FormatFuzzer.prepare(dir);
    Random random = new Random(5);
    int opened = 0;
    int rounds = 2000;
    for (int round = 0; round < rounds; round++) {
      byte[] bytes = original.clone();
      if (random.nextInt(8) == 0) {
        bytes = Arrays.copyOf(bytes, random.nextInt(bytes.length));
      }
      for (int flips = random.nextInt(4); flips >= 0 && bytes.length > 0; flips--) {
        // The pickle is in front, the directory at the end.
        int at = random.nextInt(Math.min(bytes.length, 1500));
        at = random.nextBoolean() ? at : bytes.length - 1 - at;
        bytes[at] = (byte) (random.nextBoolean() ? random.nextInt() : bytes[at] ^ 1);
      }
      opened += FormatFuzzer.open(FormatFuzzer.Format.CKPT, dir, bytes) ? 1 : 0;
    }
    assertThat(opened).isBetween(1, rounds / 2);
  }
}
