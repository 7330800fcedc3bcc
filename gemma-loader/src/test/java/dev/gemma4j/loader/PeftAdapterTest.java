package dev.gemma4j.loader;

import static dev.gemma4j.loader.TestFiles.copy;
import static dev.gemma4j.loader.TestFiles.replace;
import static dev.gemma4j.loader.TestFiles.safetensors;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A good adapter of fuzz/base, made by make_files.py, and all that can be wrong with one. */
class PeftAdapterTest {
  private static final String Q = "model.layers.0.self_attn.q_proj";
  private static final String DOWN = "model.layers.0.mlp.down_proj";

  @TempDir Path dir;
  private GemmaConfig shape = GemmaConfig.GEMMA_2B;

  @BeforeEach
  void copyTheGoodOne() throws IOException {
    copy("fuzz/base", dir);
    shape = HuggingFaceConfig.read(Json.read(dir.resolve("config.json")));
  }

  private PeftAdapter open() throws IOException {
    return PeftAdapter.open(dir, shape);
  }

  private void refused(String file, String... parts) {
    assertThatThrownBy(this::open)
        .isInstanceOf(MalformedFileException.class)
        .message()
        .startsWith(dir.resolve(file) + ": ")
        .contains(parts)
        .contains(": found ", ", expected ")
        .hasLineCount(1);
  }

  /** Another value for a key of the config, or one more key. */
  private void set(String key, String value) throws IOException {
    Path file = dir.resolve("adapter_config.json");
    String json = Files.readString(file);
    String entry = "\"" + key + "\": " + value;
    String old = "\"" + key + "\": (\\{[^}]*}|\\[[^]]*]|[^,}]*)";
    String changed = json.replaceFirst(old, java.util.regex.Matcher.quoteReplacement(entry));
    if (changed.equals(json) && !json.contains(entry)) {
      changed = "{" + entry + "," + json.substring(1);
    }
    Files.writeString(file, changed);
  }

  /** Tensors of one type, all zero; each as "name rows cols". */
  private void tensors(String type, String... tensors) throws IOException {
    StringBuilder header = new StringBuilder("{");
    int end = 0;
    for (String each : tensors) {
      String[] parts = each.split(" ", -1);
      int bytes =
          Integer.parseInt(parts[1]) * Integer.parseInt(parts[2]) * (type.equals("F32") ? 4 : 2);
      header.append(header.length() > 1 ? "," : "");
      header.append(
          "\"%s\":{\"dtype\":\"%s\",\"shape\":[%s,%s],\"data_offsets\":[%d,%d]}"
              .formatted(
                  "base_model.model." + parts[0], type, parts[1], parts[2], end, end + bytes));
      end += bytes;
    }
    Files.write(
        dir.resolve("adapter_model.safetensors"), safetensors(header.append("}").toString(), end));
  }

  private static String[] good(String... more) {
    String[] good = {
      Q + ".lora_A.weight 2 4",
      Q + ".lora_B.weight 4 2",
      DOWN + ".lora_A.weight 1 4",
      DOWN + ".lora_B.weight 4 1"
    };
    String[] all = Arrays.copyOf(good, good.length + more.length);
    System.arraycopy(more, 0, all, good.length, more.length);
    return all;
  }

  @Test
  void readsWhatIsAddedAndTheScales() throws IOException {
    PeftAdapter adapter = open();
    assertThat(adapter.updates()).extracting(PeftAdapter.Update::module).containsExactly(Q, DOWN);
    PeftAdapter.Update q = adapter.updates().get(0);
    assertThat(q.a().shape()).containsExactly(2L, 4L);
    assertThat(q.b().shape()).containsExactly(4L, 2L);
    assertThat(q.a().type()).isEqualTo(TensorType.F16);
    // use_rslora, alpha_pattern and rank_pattern
    assertThat(q.scale()).isCloseTo((float) (4.5 / Math.sqrt(2)), within(1e-6f));
    assertThat(adapter.updates().get(1).scale()).isEqualTo(3);
    adapter.close();
    adapter.close(); // harmless
    assertThatThrownBy(() -> q.a().read(0, new float[1], 0, 1))
        .isInstanceOf(IllegalStateException.class);
    set("use_rslora", "false");
    try (PeftAdapter plain = open()) {
      assertThat(plain.updates().getFirst().scale()).isEqualTo(2.25f);
    }
  }

  @ParameterizedTest
  @CsvSource({"F32", "F16", "BF16"})
  void readsTheTypesThatAdaptersHave(String type) throws IOException {
    tensors(type, good());
    try (PeftAdapter adapter = open()) {
      assertThat(adapter.updates()).hasSize(2);
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "task_type | null",
        "layers_to_transform | 0",
        "layers_to_transform | [0]",
        "target_modules | [\"q_proj\", \"model.layers.0.mlp.down_proj\", \"c_attn\"]",
        "target_modules | \".*_proj\"",
        "exclude_modules | [\"k_proj\"]",
        "modules_to_save | []",
        "init_lora_weights | \"gaussian\"",
        "rank_pattern | {\"^model.layers.0.mlp.down_proj\": 1, \"down_proj\": 7}",
        "some_new_key | [1, {\"a\": 2}]",
      })
  void accepts(String key, String value) throws IOException {
    set(key, value);
    try (PeftAdapter adapter = open()) {
      assertThat(adapter.updates()).hasSize(2);
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "peft_type | \"IA3\" | \"LORA\"",
        "peft_type | null | a text",
        "task_type | \"SEQ_CLS\" | CAUSAL_LM",
        "bias | \"all\" | \"none\"",
        "use_dora | true | plain LoRA",
        "use_qalora | true | plain LoRA",
        "use_bdlora | {\"nblocks\": 2} | plain LoRA",
        "lora_bias | true | plain LoRA",
        "modules_to_save | [\"lm_head\"] | plain LoRA",
        "trainable_token_indices | [1] | plain LoRA",
        "target_parameters | [\"x\"] | plain LoRA",
        "layer_replication | [[0, 1]] | plain LoRA",
        "alora_invocation_tokens | [1, 2] | plain LoRA",
        "arrow_config | {\"top_k\": 3} | plain LoRA",
        "kasa_config | {\"a\": 1} | plain LoRA",
        "monteclora_config | {\"a\": 1} | plain LoRA",
        "fan_in_fan_out | true | false",
        "init_lora_weights | \"pissa\" | change the base model",
        "init_lora_weights | \"olora\" | change the base model",
        "init_lora_weights | 1 | true, false",
        "r | 0 | from 1",
        "r | -1 | from 1",
        "r | 2.0 | an integer",
        "r | 99999999999 | an integer",
        "r | 100000 | from 1",
        "r | null | an integer",
        "lora_alpha | \"16\" | a number",
        "use_rslora | 1 | true or false",
        "rank_pattern | {\"(a+)+$\": 2} | the name of a module",
        "rank_pattern | {\"down_proj\": 0} | from 1",
        "rank_pattern | {\"down_proj\": \"x\"} | an integer",
        "alpha_pattern | {\"q_proj\": 1e400} | a finite number",
        "alpha_pattern | [] | an object",
        "alpha_pattern | {\"q_proj\": true} | a number",
        "layers_to_transform | \"all\" | an integer",
      })
  void refusesInTheConfig(String key, String value, String expected) throws IOException {
    set(key, value);
    refused("adapter_config.json", key, expected);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "r | 3 | q_proj.lora_A.weight: found shape [2, 4], expected shape [3, 4]",
        "rank_pattern | {} | down_proj.lora_A.weight: found shape [1, 4], expected shape [2, 4]",
        "target_modules | [\"q_proj\"] | down_proj: found tensors, expected none",
        "target_modules | [\"q_proj\", \"down_proj\", \"v_proj\"] | v_proj.lora_A.weight: found no"
            + " such",
        "layers_to_transform | 1 | q_proj: found tensors, expected none",
      })
  void refusesTensorsThatTheConfigContradicts(String key, String value, String expected)
      throws IOException {
    set(key, value);
    refused("adapter_model.safetensors", expected);
  }

  @ParameterizedTest
  @CsvSource({
    "model.layers.1.self_attn.q_proj.lora_A.weight",
    "model.layers.0.self_attn.q_proj.lora_magnitude_vector",
    "model.layers.0.self_attn.q_proj.lora_B.bias",
    "model.embed_tokens.lora_embedding_A",
    "lm_head.lora_A.weight",
    "model.layers.0.input_layernorm.weight",
    "model.layers.00.self_attn.q_proj.lora_A.weight",
  })
  void refusesOtherTensors(String name) throws IOException {
    tensors("F32", good(name + " 2 4"));
    refused("adapter_model.safetensors", name, "only .lora_A.weight and .lora_B.weight");
  }

  @Test
  void refusesOtherShapesAndTypes() throws IOException {
    String[] wide = good();
    wide[1] = Q + ".lora_B.weight 2 4"; // [in, out], as fan_in_fan_out would have it
    tensors("F32", wide);
    refused("adapter_model.safetensors", "q_proj.lora_B.weight", "shape [4, 2]");
    tensors("F32", Arrays.copyOfRange(good(), 1, 4));
    refused("adapter_model.safetensors", "q_proj.lora_A.weight", "no such tensor");
    tensors("I16", good());
    refused("adapter_model.safetensors", "q_proj.lora_A.weight", "type I16", "F32, F16 or BF16");
    set("target_modules", "\"none\"");
    tensors("F32");
    refused("adapter_model.safetensors", "tensors", "none");
  }

  @Test
  void refusesValuesThatAreNotFinite() throws IOException {
    Path file = dir.resolve("adapter_model.safetensors");
    byte[] bytes = Files.readAllBytes(file);
    ByteBuffer.wrap(bytes)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putShort(bytes.length - 2, (short) 0x7c00);
    Files.write(file, bytes);
    refused("adapter_model.safetensors", "value 3 that is not finite");
  }

  @Test
  void refusesMissingAndOtherFiles() throws IOException {
    assertThatThrownBy(() -> PeftAdapter.open(dir.resolve("none"), shape))
        .hasMessageContaining("none: path: found nothing");
    assertThatThrownBy(() -> PeftAdapter.open(dir.resolve("config.json"), shape))
        .hasMessageContaining("found a file");
    Files.delete(dir.resolve("adapter_model.safetensors"));
    refused("adapter_model.safetensors", "found nothing");
    Files.write(dir.resolve("adapter_model.bin"), new byte[8]);
    refused("adapter_model.safetensors", "found adapter_model.bin instead");
    Files.delete(dir.resolve("adapter_config.json"));
    refused("adapter_config.json", "found nothing");
  }

  @Test
  void whateverIsCutOrChangedIsReadOrRefused() throws IOException {
    Random random = new Random(4);
    for (String name : List.of("adapter_config.json", "adapter_model.safetensors")) {
      byte[] good = Files.readAllBytes(dir.resolve(name));
      for (int round = 0; round < 300; round++) {
        byte[] bad = good.clone();
        if (round % 2 == 0) {
          bad = Arrays.copyOf(bad, random.nextInt(bad.length));
        } else {
          bad[random.nextInt(bad.length)] = (byte) random.nextInt(256);
        }
        Files.write(dir.resolve(name), bad);
        try (PeftAdapter adapter = open()) {
          assertThat(round % 2).isEqualTo(1); // nothing that was cut is read
          assertThat(adapter.updates()).isNotEmpty();
        } catch (IOException e) {
          assertThat(e).hasMessageContaining(": found ").message().hasLineCount(1);
        }
      }
      Files.write(dir.resolve(name), good);
    }
    replace(dir.resolve("adapter_config.json"), "LORA", "LOHA");
    refused("adapter_config.json", "LOHA");
  }
}
