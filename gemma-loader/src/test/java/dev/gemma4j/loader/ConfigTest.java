package dev.gemma4j.loader;

import static dev.gemma4j.loader.TestFiles.resource;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ConfigTest {
  @TempDir Path dir;

  /** The config of gemma-mqa with one more entry, or another value for one. */
  private GemmaConfig with(String key, String value) throws IOException {
    String json = Files.readString(resource("forward/gemma-mqa-f32/config.json"));
    String entry = "\"" + key + "\": " + value;
    String changed = json.replaceAll("\"" + key + "\": [^,\n]*", entry);
    if (changed.equals(json) && !json.contains("\"" + key + "\"")) {
      changed = json.replaceFirst("\\{", "{" + entry + ",");
    }
    Path file = Files.writeString(dir.resolve("config.json"), changed);
    return HuggingFaceConfig.read(Json.read(file));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "hidden_act | \"gelu\"",
        "hidden_activation | null",
        "rope_scaling | null",
        "rope_scaling | {\"rope_type\": \"default\"}",
        "rope_scaling | {\"type\": \"default\"}",
        "tie_word_embeddings | true",
        "rope_parameters | {\"rope_type\": \"default\", \"rope_theta\": 10000.0}",
        "some_new_key | [1, {\"a\": 2}]",
      })
  void accepts(String key, String value) throws IOException {
    assertThat(with(key, value))
        .isEqualTo(new GemmaConfig(512, 64, 3, 4, 1, 32, 256, 8192, 1e-6f, 10_000));
  }

  @Test
  void readsRopeWhereTransformers5PutsIt() throws IOException {
    assertThat(with("rope_parameters", "{\"rope_theta\": 5000}").ropeTheta()).isEqualTo(5000);
  }

  @Test
  void ropeParametersWithoutAThetaLeaveTheOther() throws IOException {
    String json = Files.readString(resource("forward/gemma-mqa-f32/config.json"));
    Path file =
        Files.writeString(
            dir.resolve("config.json"),
            json.replaceFirst("\\{", "{\"rope_parameters\": {\"rope_type\": \"default\"},")
                .replaceFirst("\"rope_theta\": [0-9.]+", "\"rope_theta\": 100.0"));
    assertThat(HuggingFaceConfig.read(Json.read(file)).ropeTheta()).isEqualTo(100);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "model_type | \"gemma2\" | \"gemma\"",
        "model_type | null | a text",
        "hidden_act | \"silu\" | gelu_pytorch_tanh",
        "hidden_activation | \"relu\" | gelu_pytorch_tanh",
        "rope_scaling | {\"type\": \"linear\"} | default",
        "rope_scaling | {\"rope_type\": \"linear\", \"type\": \"default\"} | default",
        "rope_scaling | {\"factor\": 2} | default",
        "rope_parameters | {\"type\": \"linear\"} | default",
        "rope_parameters | {\"rope_type\": \"yarn\"} | default",
        "tie_word_embeddings | false | true",
        "tie_word_embeddings | 1 | true or false",
        "attention_bias | true | false",
        "quantization_config | {\"bits\": 4} | none",
        "vocab_size | 0 | from 1",
        "vocab_size | 2147483648 | an integer",
        "vocab_size | 99999999999999999999 | an integer",
        "hidden_size | 64.0 | an integer",
        "hidden_size | -64 | from 1",
        "num_key_value_heads | 3 | a divisor of the 4 query heads",
        "head_dim | 31 | even",
        "rms_norm_eps | 0 | above 0",
        "rms_norm_eps | 1e400 | above 0",
        "rms_norm_eps | NaN | valid JSON",
        "rope_theta | 1e39 | from 1",
        "rope_theta | -1 | from 1",
        "num_hidden_layers | 1000000 | from 1",
      })
  void refuses(String key, String value, String expected) {
    assertThatThrownBy(() -> with(key, value))
        .isInstanceOf(IOException.class)
        .message()
        .startsWith(dir.resolve("config.json") + ": ")
        .contains(expected)
        .containsAnyOf(key, "rope_type", "JSON")
        .hasLineCount(1);
  }

  @ParameterizedTest
  @ValueSource(strings = {"[]", "", "{} {}", "{\"a\": 1, \"a\": 2}", "{\"a\": \u0000}", "nul"})
  void refusesOtherJson(String json) throws IOException {
    Path file = Files.writeString(dir.resolve("config.json"), json);
    assertThatThrownBy(() -> Json.read(file))
        .isInstanceOf(IOException.class)
        .message()
        .startsWith(file.toString())
        .hasLineCount(1);
  }

  @Test
  void refusesDeepNesting() throws IOException {
    Path file = Files.writeString(dir.resolve("x.json"), "{\"a\":" + "[".repeat(1_000_000));
    assertThatThrownBy(() -> Json.read(file)).hasMessageContaining("nesting depth");
  }

  @Test
  void presetsAreThePublishedShapes() {
    assertThat(GemmaConfig.GEMMA_2B.numKvHeads()).isEqualTo(1);
    assertThat(GemmaConfig.GEMMA_7B.numHeads() * GemmaConfig.GEMMA_7B.headDim()).isEqualTo(4096);
  }

  @Test
  void refusesNaN() {
    assertThatThrownBy(() -> new GemmaConfig(1, 1, 1, 1, 1, 2, 1, 1, Float.NaN, 10_000))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("rmsNormEps must be above 0 and below 1, but is NaN");
    assertThatThrownBy(() -> new GemmaConfig(1, 1, 1, 1, 1, 2, 1, 1, 1e-6f, Float.NaN))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
