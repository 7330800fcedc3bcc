package dev.gemma4j.loader;

import static dev.gemma4j.loader.TestFiles.copy;
import static dev.gemma4j.loader.TestFiles.replace;
import static dev.gemma4j.loader.TestFiles.resource;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assumptions.assumeThat;

import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class CheckpointTest {
  private static final String MQA = "forward/gemma-mqa-f32";

  @TempDir Path dir;

  @ParameterizedTest
  @CsvSource({
    "gemma-mqa, 4, 1, 32, 256",
    "gemma-mha, 3, 3, 32, 192",
    "gemma-gqa, 4, 2, 16, 128",
  })
  void readsHuggingFaceDirectories(String name, int heads, int kv, int headDim, int mlp)
      throws IOException {
    GemmaConfig expected =
        new GemmaConfig(512, 64, 3, heads, kv, headDim, mlp, 8192, 1e-6f, 10_000);
    for (String type : List.of("f32", "bf16")) {
      try (Checkpoint c = Checkpoint.open(resource("forward/" + name + "-" + type))) {
        assertThat(c.config()).isEqualTo(expected);
        assertThat(c.tensors()).hasSize(2 + 3 * 9);
        Tensor q = c.tensor("model.layers.2.self_attn.q_proj.weight");
        assertThat(q.shape()).containsExactly((long) heads * headDim, 64L);
        assertThat(q.type().name()).isEqualToIgnoringCase(type);
        assertThat(q.elements()).isEqualTo(heads * headDim * 64L);
        assertThat(q.data().isReadOnly()).isTrue();
        assertThat(c.eosIds()).containsExactly(1);
        assertThat(c.chatTemplate()).isEmpty();
        assertThat(c.tokenizer().vocabSize()).isEqualTo(512);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"gemma-mqa", "gemma-mha"})
  void ggufAndSafetensorsGiveTheSameModel(String name) throws IOException {
    try (Checkpoint hf = Checkpoint.open(resource("forward/" + name + "-f32"));
        Checkpoint gguf = Checkpoint.open(resource("gguf/" + name + ".F32.gguf"))) {
      assertThat(gguf.config()).isEqualTo(hf.config());
      assertThat(gguf.tensors()).hasSameSizeAs(hf.tensors());
      for (Tensor expected : hf.tensors()) {
        Tensor tensor = gguf.tensor(expected.name());
        assertThat(tensor.shape()).isEqualTo(expected.shape());
        if (expected.shape().size() == 1) {
          float[] scale = hf.normScale(expected.name());
          assertThat(gguf.normScale(expected.name())).isEqualTo(scale);
          assertThat(scale[3]).isEqualTo(1 + floats(expected)[3]);
        } else {
          assertThat(MemorySegment.ofArray(floats(tensor)).mismatch(expected.data()))
              .as(expected.name())
              .isEqualTo(-1);
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"F16, 0.001", "BF16, 0.005", "Q8_0, 0.01", "Q4_0, 0.15"})
  void ggufTypesAreNearTheOriginal(String type, float tolerance) throws IOException {
    try (Checkpoint f32 = Checkpoint.open(resource("gguf/gemma-mqa.F32.gguf"));
        Checkpoint c = Checkpoint.open(resource("gguf/gemma-mqa." + type + ".gguf"))) {
      Tensor tensor = c.tensor("model.layers.1.mlp.down_proj.weight");
      assertThat(tensor.type()).isEqualTo(TensorType.valueOf(type));
      float[] found = floats(tensor);
      float[] expected = floats(f32.tensor(tensor.name()));
      float max = 0;
      for (float value : expected) {
        max = Math.max(max, Math.abs(value));
      }
      for (int i = 0; i < found.length; i++) {
        assertThat(Math.abs(found[i] - expected[i])).isLessThan(tolerance * max);
      }
    }
  }

  private static float[] floats(Tensor tensor) {
    float[] values = new float[(int) tensor.elements()];
    tensor.type().dequantize(tensor.data(), 0, values, 0, values.length);
    return values;
  }

  @Test
  void ggufTokenizerIsTheOneOfTheModelFile() throws IOException {
    try (Checkpoint hf = Checkpoint.open(resource(MQA));
        Checkpoint gguf = Checkpoint.open(resource("gguf/gemma-mqa.Q4_0.gguf"))) {
      var expected = hf.tokenizer();
      var tokenizer = gguf.tokenizer();
      assertThat(tokenizer.vocabSize()).isEqualTo(expected.vocabSize());
      assertThat(tokenizer.bosId()).isEqualTo(expected.bosId());
      assertThat(tokenizer.eosId()).isEqualTo(expected.eosId());
      for (int id = 0; id < expected.vocabSize(); id++) {
        assertThat(tokenizer.piece(id)).isEqualTo(expected.piece(id));
        assertThat(tokenizer.type(id)).as(expected.piece(id)).isEqualTo(expected.type(id));
      }
      for (String text : List.of("", " a  b\n\tc", "Grüße, 世界 🙂", "<start_of_turn>user")) {
        assertThat(tokenizer.encode(text)).as(text).isEqualTo(expected.encode(text));
      }
      // No eot_token_id says so, but the vocabulary has an end of turn.
      assertThat(gguf.eosIds()).containsExactly(1, tokenizer.idOf("<end_of_turn>"));
      assertThat(gguf.metadata())
          .containsEntry("general.architecture", "gemma")
          .containsEntry("gemma.block_count", 3L);
    }
  }

  /** Opens a directory, for a test that needs another locale. */
  static final class Opener {
    private Opener() {}

    public static void main(String[] args) throws IOException {
      try (Checkpoint c = Checkpoint.open(Path.of(args[0]))) {
        c.checkFiles();
      }
    }
  }

  @Test
  @EnabledOnOs(OS.LINUX)
  void aPathNeedNotBeTextInTheLocale() throws Exception {
    assumeThat(System.getProperty("sun.jnu.encoding")).isEqualTo("UTF-8");
    Files.copy(resource("gguf/gemma-mqa.Q4_0.gguf"), dir.resolve("gemm\u00e4.gguf"));
    ProcessBuilder java =
        new ProcessBuilder(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-cp",
            System.getProperty("java.class.path"),
            Opener.class.getName(),
            dir.toString());
    java.environment().put("LC_ALL", "C");
    Process process = java.redirectErrorStream(true).start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.US_ASCII);
    assertThat(process.waitFor()).as(output).isZero();
  }

  @Test
  void opensOneFileOrADirectoryWithOneGguf() throws IOException {
    try (Checkpoint c = Checkpoint.open(resource(MQA + "/model.safetensors"))) {
      assertThat(c.tensors()).hasSize(29);
    }
    Path gguf = resource("gguf/gemma-mqa.Q8_0.gguf");
    Files.copy(gguf, dir.resolve("one.gguf"));
    try (Checkpoint c = Checkpoint.open(dir)) {
      assertThat(c.config().numLayers()).isEqualTo(3);
    }
    Files.copy(gguf, dir.resolve("two.gguf"));
    assertThatThrownBy(() -> Checkpoint.open(dir))
        .isInstanceOf(MalformedFileException.class)
        .hasMessage(
            dir
                + ": config.json: found nothing, and 2 .gguf or .ckpt files,"
                + " expected a config.json, or exactly one .gguf or .ckpt file");
  }

  @Test
  void saysWhatIsMissing() throws IOException {
    assertThatThrownBy(() -> Checkpoint.open(dir.resolve("gone")))
        .hasMessageContaining(dir.resolve("gone") + ": path: found nothing, expected a model");
    assertThatThrownBy(() -> Checkpoint.open(dir)).hasMessageContaining("config.json");
    Files.writeString(dir.resolve("weights.bin"), "");
    assertThatThrownBy(() -> Checkpoint.open(dir.resolve("weights.bin")))
        .hasMessageContaining("expected a .safetensors, .gguf or .ckpt file");
    Files.copy(resource(MQA + "/config.json"), dir.resolve("config.json"));
    assertThatThrownBy(() -> Checkpoint.open(dir)).hasMessageContaining("model.safetensors");
    assertThatThrownBy(() -> Checkpoint.open(dir.resolve("model.safetensors")))
        .isInstanceOf(MalformedFileException.class)
        .hasMessageContaining("model.safetensors");
    Files.copy(resource(MQA + "/model.safetensors"), dir.resolve("model.safetensors"));
    try (Checkpoint c = Checkpoint.open(dir)) {
      assertThatThrownBy(c::tokenizer).hasMessageContaining("tokenizer.model");
      assertThatThrownBy(() -> c.tensor("x")).isInstanceOf(IllegalArgumentException.class);
    }
  }

  @Test
  void anEmptyFileIsNotRead() throws IOException { // those of /proc that look so may block
    copy(MQA, dir);
    Files.writeString(dir.resolve("chat_template.jinja"), "");
    try (Checkpoint c = Checkpoint.open(dir)) {
      assertThat(c.chatTemplate()).isEmpty();
    }
    for (String name : List.of("tokenizer.json", "tokenizer.model", "config.json")) {
      Path file = Files.writeString(dir.resolve(name), "");
      assertThatThrownBy(() -> Checkpoint.open(dir))
          .isInstanceOf(MalformedFileException.class)
          .hasMessage(file + ": size: found 0 bytes, expected some");
    }
  }

  @Test
  void isClosedOnceAndForAll() throws IOException {
    Checkpoint c = Checkpoint.open(resource(MQA));
    Tensor tensor = c.tensor("model.norm.weight");
    c.close();
    c.close();
    assertThatThrownBy(c::tensors).isInstanceOf(IllegalStateException.class);
    assertThatThrownBy(() -> c.normScale("model.norm.weight"))
        .isInstanceOf(IllegalStateException.class);
    assertThatThrownBy(() -> floats(tensor)).isInstanceOf(IllegalStateException.class);
    assertThat(c.config().numLayers()).isEqualTo(3);
  }

  @ParameterizedTest
  @CsvSource(
      quoteCharacter = '`',
      value = {
        "null, 2",
        "\"<bos>\", 2",
        "\"<start_of_turn>\", 4",
        "`{\"content\": \"<start_of_turn>\", \"lstrip\": false}`, 4"
      })
  void textsBeginWithTheTokenOfTheTokenizerConfig(String token, int id) throws IOException {
    copy(MQA, dir);
    Files.writeString(dir.resolve("tokenizer_config.json"), "{\"bos_token\": " + token + "}");
    try (Checkpoint c = Checkpoint.open(dir)) {
      assertThat(c.tokenizer().bosId()).isEqualTo(id);
    }
    Files.delete(dir.resolve("tokenizer.model"));
    Files.copy(resource("fuzz/tokenizer_json/bpe"), dir.resolve("tokenizer.json"));
    try (Checkpoint c = Checkpoint.open(dir)) {
      assertThat(c.tokenizer().bosId()).isEqualTo(id);
    }
  }

  /** Both in a directory and in the GGUF file that is made of it. */
  @ParameterizedTest
  @CsvSource({"false, false", "true, true", "null, true"})
  void textsBeginWithATokenUnlessTheTokenizerConfigSaysNo(String said, boolean adds)
      throws IOException {
    copy(MQA, dir);
    Files.writeString(dir.resolve("tokenizer_config.json"), "{\"add_bos_token\": " + said + "}");
    try (Checkpoint c = Checkpoint.open(dir)) {
      assertThat(c.tokenizer().addsBos()).isEqualTo(adds);
      assertThat(c.tokenizer().bosId()).isEqualTo(2); // which chats begin with
      Map<String, Object> metadata =
          GgufWriter.metadata(
              "x", c.config(), TensorType.F32, c.tokenizer().vocabulary(), c.eosIds(), null);
      Tokenizer copy = GgufTokenizer.read(new Values("x.gguf", metadata));
      assertThat(copy).isNotNull();
      assertThat(copy.addsBos()).isEqualTo(adds);
      assertThat(copy.bosId()).isEqualTo(2);
    }
  }

  @Test
  void refusesAnUnknownTokenToBeginWith() throws IOException {
    copy(MQA, dir);
    Path file = Files.writeString(dir.resolve("tokenizer_config.json"), "{\"bos_token\": \"<x>\"}");
    assertThatThrownBy(() -> Checkpoint.open(dir))
        .hasMessage(file + ": bos_token: found \"<x>\", expected one of the 512 tokens");
  }

  @Test
  void eosIdsAndChatTemplateComeFromTheirFiles() throws IOException {
    copy(MQA, dir);
    Path generation = dir.resolve("generation_config.json");
    Path tokenizerConfig = dir.resolve("tokenizer_config.json");
    Files.writeString(generation, "{\"eos_token_id\": [1, 107]}");
    Files.writeString(tokenizerConfig, "{\"chat_template\": \"{{ bos }}\"}");
    try (Checkpoint c = Checkpoint.open(dir)) {
      assertThat(c.eosIds()).containsExactly(1, 107);
      assertThat(c.chatTemplate()).contains("{{ bos }}");
    }
    Files.delete(generation);
    replace(dir.resolve("config.json"), "\"eos_token_id\": 1", "\"eos_token_id\": [7]");
    Files.writeString(
        tokenizerConfig,
        "{\"chat_template\": [{\"name\": \"rag\", \"template\": \"r\"},"
            + " {\"name\": \"default\", \"template\": \"d\"}]}");
    try (Checkpoint c = Checkpoint.open(dir)) {
      assertThat(c.eosIds()).containsExactly(7);
      assertThat(c.chatTemplate()).contains("d");
    }
    replace(dir.resolve("config.json"), "\"eos_token_id\": [7]", "\"eos_token_id\": null");
    Files.delete(tokenizerConfig);
    Files.writeString(dir.resolve("chat_template.jinja"), "j");
    try (Checkpoint c = Checkpoint.open(dir)) {
      assertThat(c.eosIds()).containsExactly(1);
      assertThat(c.chatTemplate()).contains("j");
    }
    Files.writeString(generation, "{\"eos_token_id\": 512}");
    assertThatThrownBy(() -> Checkpoint.open(dir))
        .hasMessage(generation + ": eos_token_id: found 512, expected 0 to 511");
  }

  @ParameterizedTest
  @CsvSource({"gemma2-tiny, gemma2", "gemma3-tiny, gemma3_text"})
  void refusesOtherGemmasByName(String name, String type) {
    assertThatThrownBy(() -> Checkpoint.open(resource("forward/" + name)))
        .isInstanceOf(MalformedFileException.class)
        .hasMessageContaining(
            "config.json: model_type: found \"" + type + "\", expected \"gemma\"");
  }
}
