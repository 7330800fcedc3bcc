package dev.gemma4j.loader;

import static dev.gemma4j.loader.TestFiles.copy;
import static dev.gemma4j.loader.TestFiles.replace;
import static dev.gemma4j.loader.TestFiles.resource;
import static dev.gemma4j.loader.TestFiles.safetensors;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assumptions.assumeThat;

import dev.gemma4j.loader.TestFiles.Gguf;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class HostileFilesTest {
  @TempDir Path dir;

  private TensorFile readSafetensors(byte[] bytes) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      return SafetensorsReader.read(Files.write(dir.resolve("x.safetensors"), bytes), arena);
    }
  }

  private TensorFile readGguf(byte[] bytes) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      return GgufReader.read(Files.write(dir.resolve("x.gguf"), bytes), arena);
    }
  }

  private void refusesGguf(byte[] bytes, String message) {
    assertThatThrownBy(() -> readGguf(bytes))
        .isInstanceOf(IOException.class)
        .message()
        .startsWith(dir.resolve("x.gguf") + ": ")
        .contains(message)
        .hasLineCount(1);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}} |"
            + " shape",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]}} |"
            + " shape",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,8]}} | shape",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}} | data_offsets",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}} | a start of 0",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}} | 4 bytes after",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}} | data_offsets",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9223372036854775807]}} |"
            + " data_off",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}} | data_offsets",
        "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}} | shape",
        "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}} | dtype",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"a\":{}} | Duplicate",
        "{\"a\":3} | a: found 3",
        "{\"a\\n\\u2028b\":3} | a\\u000a\\u2028b: found 3",
        "{\"__metadata__\":{\"k\":1}} | __metadata__.k",
        "[] | header",
        "{}x | valid JSON",
        "{}{} | more after the object",
      })
  void refusesSafetensorsHeaders(String header, String message) {
    assertThatThrownBy(() -> readSafetensors(safetensors(header, 8)))
        .isInstanceOf(IOException.class)
        .message()
        .startsWith(dir.resolve("x.safetensors") + ": ")
        .contains(message)
        .hasLineCount(1);
  }

  @Test
  void readsSafetensorsThatLookOdd() throws IOException {
    String header =
        "{\"__metadata__\":{\"format\":\"pt\"},"
            + "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[8,12]},"
            + "\"empty\":{\"dtype\":\"F16\",\"shape\":[0,3],\"data_offsets\":[8,8]},"
            + "\"ids\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}   ";
    TensorFile file = readSafetensors(safetensors(header, 12));
    assertThat(file.tensors()).containsOnlyKeys("scalar", "empty");
    assertThat(file.unreadable()).containsEntry("ids", "I64");
    assertThat(file.metadata()).containsEntry("format", "pt");
  }

  @Test
  void refusesDeepSafetensorsHeader() {
    assertThatThrownBy(
            () -> readSafetensors(safetensors("{\"a\":{\"x\":" + "[".repeat(1 << 20), 0)))
        .hasMessageContaining("nesting depth");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "../x.safetensors",
        "/etc/x.safetensors",
        "a/b.safetensors",
        "..\\\\x.safetensors",
        "..",
        "",
        ".safetensors",
        "config.json",
        "x\\u0000.safetensors",
      })
  void indexMayNotLeaveTheDirectory(String file) throws IOException {
    copy("malformed/index-01", dir);
    replace(
        dir.resolve("model.safetensors.index.json"),
        "\"model.norm.weight\": \"model-00002-of-00002.safetensors\"",
        "\"model.norm.weight\": \"" + file + "\"");
    assertThatThrownBy(() -> Checkpoint.open(dir))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("weight_map.model.norm.weight")
        .hasMessageContaining("beside the index");
  }

  @Test
  void refusesImpossibleGgufCounts() {
    for (long huge : new long[] {-1, Long.MAX_VALUE, 1L << 32, 1_000_000}) {
      refusesGguf(new Gguf(3, huge, 0).done(64), "tensor count");
      refusesGguf(new Gguf(3, 0, huge).done(64), "metadata count");
      refusesGguf(new Gguf(3, 0, 1).int64(huge).done(64), "metadata key 0 length");
      refusesGguf(new Gguf(3, 0, 1).string("k").int32(8).int64(huge).done(64), "k length");
      refusesGguf(
          new Gguf(3, 0, 1).string("k").int32(9).int32(10).int64(huge).done(64), "k length");
    }
  }

  /** Of these many small things, each takes several times its bytes on the heap. */
  @Test
  void refusesMoreThanAnyModelHas() throws IOException {
    int many = (1 << 16) + 1;
    refusesGguf(
        new Gguf(3, many, 0).done(32 * many), "tensor count: found 65537, expected at most 65536");
    refusesGguf(
        new Gguf(3, 0, many).done(13 * many),
        "metadata count: found 65537, expected at most 65536");
    int texts = 1 << 19;
    Gguf arrays = new Gguf(3, 0, 3);
    for (String key : List.of("a", "b", "c")) {
      arrays.string(key).int32(9).int32(8).int64(texts).bytes(new int[8 * texts]);
    }
    refusesGguf(arrays.done(0), "c: found 524288 texts or arrays after 1048576");
    StringBuilder header = new StringBuilder("{");
    for (int i = 0; i < many; i++) {
      header.append("\"t" + i + "\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},");
    }
    String tensors = header.append("\"__metadata__\":{}}").toString();
    assertThatThrownBy(() -> readSafetensors(safetensors(tensors, 0)))
        .hasMessageContaining("header: found more than 65536 entries");
    String texts2 = tensors.replaceAll("\\{[^{}]+}", "\"\"").replace(",\"__metadata__\":{}", "");
    assertThatThrownBy(() -> readSafetensors(safetensors("{\"__metadata__\":" + texts2 + "}", 0)))
        .hasMessageContaining("__metadata__: found more than 65536 entries");
    copy("malformed/model_dir-01", dir);
    String json = "{\"a\":[" + "{},".repeat(1_000_000) + "{}]}";
    Files.writeString(dir.resolve("config.json"), json);
    assertThatThrownBy(() -> Checkpoint.open(dir))
        .hasMessageContaining("config.json: JSON: found more than 1000000 values");
    Path tokenizer =
        Files.writeString(dir.resolve("tokenizer.json"), json.replace("a", "added_tokens"));
    assertThatThrownBy(() -> TokenizerJson.read(tokenizer))
        .hasMessageContaining("tokenizer.json: JSON: found more than 1000000 values");
  }

  @Test
  void saysThatAFileIsEmpty() {
    refusesGguf(new byte[0], "size: found an empty file, expected a GGUF model");
  }

  @Test
  @EnabledOnOs(OS.LINUX)
  void namesTheFileThatCannotBeMapped() throws IOException {
    Path unmappable = Path.of("/sys/kernel/mm/transparent_hugepage/enabled");
    assumeThat(unmappable).isRegularFile();
    Path file = Files.createSymbolicLink(dir.resolve("x.gguf"), unmappable);
    assertThatThrownBy(() -> Checkpoint.open(file))
        .isInstanceOf(IOException.class)
        .hasMessageStartingWith(file + ": cannot be read: ");
  }

  @Test
  void refusesOtherVersions() {
    refusesGguf(new Gguf(1, 0, 0).done(0), "version: found 1");
    refusesGguf(new Gguf(0x03000000, 0, 0).done(0), "a big-endian 3");
  }

  @Test
  void refusesBadMetadata() {
    refusesGguf(new Gguf(3, 0, 1).string("k").int32(13).done(32), "value type 13");
    refusesGguf(new Gguf(3, 0, 1).string("k").int32(7).bytes(2).done(32), "expected 0 or 1");
    refusesGguf(new Gguf(3, 0, 1).string("k").int32(8).int64(1).bytes(0xff).done(32), "UTF-8");
    refusesGguf(new Gguf(3, 0, 2).uint32("k", 1).uint32("k", 1).done(0), "k: found a second");
    for (int alignment : new int[] {0, 3, 48, 1 << 21, -1}) {
      refusesGguf(
          new Gguf(3, 0, 1).uint32("general.alignment", alignment).done(0), "general.alignment");
    }
  }

  @Test
  void refusesBadTensors() {
    refusesGguf(new Gguf(3, 1, 0).tensor("t", 0, 0).done(128), "0 dimensions");
    refusesGguf(new Gguf(3, 1, 0).tensor("t", 0, 0, 1L, 1L, 1L, 1L, 1L).done(128), "5 dimensions");
    refusesGguf(new Gguf(3, 1, 0).tensor("t", 0, 0, -1L).done(128), "dimension");
    refusesGguf(new Gguf(3, 1, 0).tensor("t", 0, 0, 1L << 32, 1L << 32).done(128), "shape");
    refusesGguf(new Gguf(3, 1, 0).tensor("t", 0, 0, 1L << 61, 2L).done(128), "shape");
    refusesGguf(new Gguf(3, 1, 0).tensor("t", 0, 4, 1L).done(128), "offset 4");
    refusesGguf(new Gguf(3, 1, 0).tensor("t", 0, -32, 1L).done(128), "offset");
    refusesGguf(new Gguf(3, 1, 0).tensor("t", 0, Long.MAX_VALUE - 31, 8L).done(128), "within");
    refusesGguf(new Gguf(3, 1, 0).tensor("t", 0, 0, 33L).done(128), "within the 128 bytes");
    refusesGguf(new Gguf(3, 1, 0).tensor("t", 8, 0, 16L).done(128), "Q8_0 block of 32");
    refusesGguf(new Gguf(3, 1, 0).tensor("t", 4, 0, 32L).done(128), "type 4");
    refusesGguf(
        new Gguf(3, 2, 0).tensor("t", 0, 0, 8L).tensor("t", 0, 32, 8L).done(128), "a second one");
    refusesGguf(
        new Gguf(3, 2, 0).tensor("t", 0, 0, 16L).tensor("u", 0, 32, 8L).done(128), "tensor u");
  }

  @Test
  void keepsUnknownMetadata() throws IOException {
    byte[] bytes =
        new Gguf(2, 0, 4)
            .string("big")
            .int32(10)
            .int64(-1)
            .string("nested")
            .int32(9)
            .int32(9)
            .int64(2)
            .int32(0)
            .int64(2)
            .bytes(1, 255)
            .int32(8)
            .int64(1)
            .string("x")
            .string("flag")
            .int32(7)
            .bytes(1)
            .string("double")
            .int32(12)
            .int64(Double.doubleToLongBits(0.5))
            .done(0);
    assertThat(readGguf(bytes).metadata())
        .containsEntry("big", new BigInteger("18446744073709551615"))
        .containsEntry("nested", List.of(List.of(1L, 255L), List.of("x")))
        .containsEntry("flag", true)
        .containsEntry("double", 0.5);
  }

  @Test
  void namesTheTypeThatItCannotRead() throws IOException {
    // IQ1_S: 256 values in 50 bytes, so the 8 columns become 256
    Path file =
        Files.write(dir.resolve("x.gguf"), Files.readAllBytes(resource("malformed/gguf-01.gguf")));
    byte[] bytes = Files.readAllBytes(file);
    int at = indexOf(bytes, "blk.0.ffn_up.weight") + "blk.0.ffn_up.weight".length() + 4;
    bytes[at] = 0;
    bytes[at + 1] = 1; // 256 columns
    bytes[at + 8] = 1; // one row
    bytes[at + 16] = 19;
    Files.write(file, bytes);
    assertThatThrownBy(() -> Checkpoint.open(file))
        .hasMessageContaining("tensor blk.0.ffn_up.weight: found type IQ1_S, expected one of F32,");
  }

  @ParameterizedTest
  @CsvSource({
    "tokenizer.ggml.tokens, tokenizer.ggml.tokens: found nothing",
    "tokenizer.ggml.scores, tokenizer.ggml.scores: found nothing",
    "tokenizer.ggml.token_type, tokenizer.ggml.token_type: found nothing",
    "tokenizer.ggml.model, tokenizer.ggml.model: found nothing",
    "gemma.embedding_length, gemma.embedding_length: found nothing",
    "gemma.attention.layer_norm_rms_epsilon, layer_norm_rms_epsilon: found nothing",
    "general.architecture, general.architecture: found nothing",
    "blk.0.attn_q.weight, tensor blk.0.attn_q.weight: found no such tensor",
    "output_norm.weight, tensor output_norm.weight: found no such tensor",
  })
  void namesWhatIsMissing(String key, String message) throws IOException {
    byte[] bytes = Files.readAllBytes(resource("malformed/gguf-01.gguf"));
    bytes[indexOf(bytes, key)] = 'X';
    Path file = Files.write(dir.resolve("x.gguf"), bytes);
    assertThatThrownBy(() -> Checkpoint.open(file))
        .isInstanceOf(IOException.class)
        .hasMessageStartingWith(file + ": ")
        .hasMessageContaining(message);
  }

  /** Without a type the format's is linear. */
  @ParameterizedTest
  @CsvSource({
    "gemma.rope.scaling.factor, 4, , gemma.rope.scaling.factor: found 4.0",
    "gemma.rope.scale_linear, 4, , gemma.rope.scale_linear: found 4.0",
    "gemma.rope.scaling.factor, 4, linear, gemma.rope.scaling.type: found",
    "gemma.rope.scaling.factor, 4, none,",
    "gemma.rope.scaling.factor, 1, ,",
    "gemma.rope.scaling.factor, 0, ,",
  })
  void refusesScaledPositions(String key, float factor, String type, String message)
      throws IOException {
    byte[] model = Files.readAllBytes(resource("gguf/gemma-mqa.F32.gguf"));
    Gguf added = new Gguf(3, 0, 0);
    int header = added.size();
    added.string(key).int32(6).int32(Float.floatToIntBits(factor));
    added.text(type == null ? "x" : "gemma.rope.scaling.type", type == null ? "" : type);
    added.text("y", "z".repeat(header - added.size() - 21 & 31)); // the data stays aligned
    int size = added.size();
    byte[] bytes = Arrays.copyOf(model, model.length + size - header);
    System.arraycopy(added.done(0), header, bytes, header, size - header);
    System.arraycopy(model, header, bytes, size, model.length - header);
    bytes[16] += 3; // the number of pairs
    Path file = Files.write(dir.resolve("x.gguf"), bytes);
    if (message == null) {
      Checkpoint.open(file).close();
    } else {
      assertThatThrownBy(() -> Checkpoint.open(file))
          .isInstanceOf(IOException.class)
          .hasMessageContaining(message);
    }
  }

  @Test
  void refusesATokenizerLargerThanTheVocabulary() throws IOException {
    byte[] bytes = Files.readAllBytes(resource("malformed/gguf-01.gguf"));
    String name = "token_embd.weight";
    int rows = indexOf(bytes, name) + name.length() + 4 + 8;
    bytes[rows] = (byte) 0xe0; // 480 instead of 512
    bytes[rows + 1] = 1;
    Path file = Files.write(dir.resolve("x.gguf"), bytes);
    assertThatThrownBy(() -> Checkpoint.open(file))
        .hasMessageContaining("with id 480, expected only ids of the 480 rows of the embedding");
  }

  @Test
  void ignoresATiedHeadAndRotaryBuffers() throws IOException {
    copy("malformed/index-01", dir);
    replace(
        dir.resolve("model.safetensors.index.json"),
        "\"weight_map\": {",
        "\"weight_map\": {\"lm_head.weight\": \"x.safetensors\", "
            + "\"model.layers.0.self_attn.rotary_emb.inv_freq\": \"x.safetensors\", ");
    String header =
        "{\"lm_head.weight\":{\"dtype\":\"F32\",\"shape\":[512,8],\"data_offsets\":[0,16384]},"
            + "\"model.layers.0.self_attn.rotary_emb.inv_freq\":"
            + "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16384,16392]}}";
    Files.write(dir.resolve("x.safetensors"), safetensors(header, 16392));
    try (Checkpoint checkpoint = Checkpoint.open(dir)) {
      assertThat(checkpoint.tensors()).hasSize(11);
    }
    String other = header.replace("512,8", "8,512");
    Files.write(dir.resolve("x.safetensors"), safetensors(other, 16392));
    assertThatThrownBy(() -> Checkpoint.open(dir))
        .hasMessageContaining("x.safetensors: tensor lm_head.weight: found shape [8, 512]");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.0.post_feedforward_layernorm.weight",
        "model.layers.1.self_attn.q_proj.weight",
      })
  void refusesWhatBelongsToAnotherModel(String name) throws IOException {
    copy("malformed/index-01", dir);
    replace(
        dir.resolve("model.safetensors.index.json"),
        "\"weight_map\": {",
        "\"weight_map\": {\"" + name + "\": \"x.safetensors\", ");
    for (String type : List.of("F32", "I32")) {
      String header =
          "{\"" + name + "\":{\"dtype\":\"" + type + "\",\"shape\":[2],\"data_offsets\":[0,8]}}";
      Files.write(dir.resolve("x.safetensors"), safetensors(header, 8));
      assertThatThrownBy(() -> Checkpoint.open(dir))
          .isInstanceOf(IOException.class)
          .hasMessageContaining(
              "tensor " + name + ": found one that Gemma 1 lacks, expected only those of 1 layers");
    }
  }

  @Test
  void refusesLayersThatAGgufDoesNotCount() throws IOException {
    byte[] bytes = Files.readAllBytes(resource("gguf/gemma-mqa.Q4_0.gguf"));
    bytes[indexOf(bytes, "gemma.block_count") + "gemma.block_count".length() + 4] = 2;
    Path file = Files.write(dir.resolve("x.gguf"), bytes);
    assertThatThrownBy(() -> Checkpoint.open(file))
        .hasMessageStartingWith(file + ": tensor blk.2.")
        .hasMessageContaining("found one that Gemma 1 lacks, expected only those of 2 layers");
  }

  private static int indexOf(byte[] bytes, String text) {
    int at = new String(bytes, StandardCharsets.ISO_8859_1).indexOf(text);
    assertThat(at).isPositive();
    return at;
  }

  @ParameterizedTest
  @ValueSource(strings = {"malformed/gguf-01.gguf", "malformed/model_dir-01/model.safetensors"})
  @Timeout(120)
  void survivesMutation(String name) throws IOException {
    byte[] original = Files.readAllBytes(resource(name));
    copy("malformed/model_dir-01", dir);
    Path file = dir.resolve(Path.of(name).getFileName().toString());
    Random random = new Random(42);
    // Metadata in front, where damage matters, gets most of it.
    int front = name.endsWith("gguf") ? 14_000 : 1_600;
    int refused = 0;
    int rounds = 2000;
    for (int round = 0; round < rounds; round++) {
      byte[] bytes = original.clone();
      if (random.nextInt(8) == 0) {
        bytes = Arrays.copyOf(bytes, random.nextInt(bytes.length));
      }
      for (int flips = random.nextInt(4); flips >= 0 && bytes.length > 0; flips--) {
        int at = random.nextInt(Math.min(bytes.length, random.nextInt(8) == 0 ? 64 : front));
        bytes[at] =
            switch (random.nextInt(3)) {
              case 0 -> (byte) (bytes[at] ^ 1 << random.nextInt(8));
              case 1 -> (byte) random.nextInt(256);
              default -> (byte) (random.nextBoolean() ? 0xff : 0);
            };
      }
      Files.write(file, bytes);
      try (Checkpoint checkpoint = Checkpoint.open(file)) {
        for (Tensor tensor : checkpoint.tensors()) {
          float[] values = new float[Math.toIntExact(tensor.elements())];
          tensor.type().dequantize(tensor.data(), 0, values, 0, values.length);
        }
      } catch (IOException e) {
        refused++;
        assertThat(e.getMessage()).as("round %d", round).contains(file.getFileName().toString());
        assertThat(e.getMessage().lines()).as("round %d", round).hasSize(1);
      } catch (RuntimeException | Error e) {
        throw new AssertionError("round " + round, e);
      }
    }
    assertThat(refused).isBetween(rounds / 3, rounds - 1);
  }
}
