package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.loader.Checkpoint;
import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Models and adapters whose files hold what those of no published one do. */
class OddModelsTest {
  @TempDir private Path directory = Path.of("");

  @BeforeEach
  void copy() throws IOException {
    try (Stream<Path> files = Files.list(Goldens.resource("forward/gemma-mqa-f32"))) {
      for (Path file : files.toList()) {
        Files.copy(file, directory.resolve(file.getFileName()));
      }
    }
  }

  /** A SentencePiece model of eleven pieces, none of which begins or ends a text. */
  private void elevenPieces() throws IOException {
    ByteArrayOutputStream model = new ByteArrayOutputStream();
    for (int i = 0; i < 11; i++) {
      String text = i == 0 ? "<unk>" : String.valueOf((char) ('a' + i));
      byte[] bytes = text.getBytes(StandardCharsets.US_ASCII);
      model.writeBytes(new byte[] {0x0a, (byte) (bytes.length + 4), 0x0a, (byte) bytes.length});
      model.writeBytes(bytes);
      model.writeBytes(new byte[] {0x18, (byte) (i == 0 ? 2 : 1)});
    }
    byte none = 1; // and nine bytes of ones: -1
    for (int number : new int[] {41, 42}) {
      model.writeBytes(new byte[] {0x12, 12, (byte) (number << 3 | 0x80), (byte) (number >> 4)});
      for (int i = 0; i < 9; i++) {
        model.write(0xff);
      }
      model.write(none);
    }
    Files.write(directory.resolve("tokenizer.model"), model.toByteArray());
  }

  @Test
  void rowsWithoutAPiecePrintNothing() throws IOException {
    elevenPieces();
    GenerationOptions options =
        GenerationOptions.builder().temperature(0).ignoreEos(true).maxTokens(30).build();
    try (Gemma gemma = Gemma.load(directory)) {
      Generation generation = gemma.generate(Prompt.ofIds(2, 17, 33), options);
      assertThat(generation.tokens()).hasSize(30).anyMatch(id -> id >= 11);
      int[] ids = generation.tokens().stream().mapToInt(id -> id).filter(id -> id < 11).toArray();
      assertThat(generation.text()).isEqualTo(gemma.tokenizer().decode(ids));
    }
  }

  @Test
  void aPromptThatCannotBeginIsRefusedInWords() throws IOException {
    elevenPieces();
    try (Gemma gemma = Gemma.load(directory)) {
      GenerationOptions.Builder options = GenerationOptions.builder().maxTokens(1);
      for (Prompt prompt :
          List.of(Prompt.of("b"), Prompt.chat(List.of(new ChatMessage(Role.USER, "b"))))) {
        assertThatThrownBy(() -> gemma.generate(prompt, options.build()))
            .isInstanceOf(IllegalArgumentException.class)
            .hasMessageContaining("no beginning-of-text token")
            .hasMessageContaining("tokenizer.ggml.bos_token_id");
      }
      assertThatThrownBy(gemma::chat)
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("no beginning-of-text token");
      assertThatThrownBy(() -> gemma.embed("b"))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("no beginning-of-text token");
      assertThat(gemma.generate(Prompt.of("b"), options.bos(false).build()).tokens()).hasSize(1);
    }
  }

  @Test
  void textsBeginWithoutATokenWhereTheFilesSayNo() throws IOException {
    Files.writeString(directory.resolve("tokenizer_config.json"), "{\"add_bos_token\": false}");
    try (Gemma gemma = Gemma.load(directory)) {
      Tokenizer tokenizer = gemma.tokenizer();
      GenerationOptions options = GenerationOptions.defaults();
      assertThat(ChatTemplate.promptIds(Prompt.of("the king"), options, tokenizer))
          .isEqualTo(tokenizer.encode("the king"));
      Prompt chat = Prompt.chat(List.of(new ChatMessage(Role.USER, "the king")));
      assertThat(ChatTemplate.promptIds(chat, options, tokenizer)).startsWith(tokenizer.bosId());
      assertThat(gemma.embed("the king"))
          .isEqualTo(
              gemma
                  .embedIds(List.of(tokenizer.encode("the king")), Pooling.MEAN, true, null)
                  .getFirst());
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"F16", "Q4_0"})
  void aWeightThatATypeCannotHoldIsNamed(WeightType type) throws IOException {
    Path file = directory.resolve("model.safetensors");
    String name = "model.layers.1.mlp.up_proj.weight";
    ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
    String header =
        StandardCharsets.US_ASCII.decode(bytes.slice(8, (int) bytes.getLong(0))).toString();
    String entry = header.substring(header.indexOf(name));
    int begin = Integer.parseInt(entry.replaceFirst("(?s)[^}]*?data_offsets\":\\[(\\d+).*", "$1"));
    bytes.putFloat(8 + header.length() + begin + 4 * 7, 1e6f);
    Files.write(file, bytes.array());
    LoadOptions options = LoadOptions.defaults();
    Gemma.load(directory, options).close();
    assertThatThrownBy(() -> Gemma.load(directory, options.withWeights(type)))
        .isInstanceOf(MalformedFileException.class)
        .hasMessage(
            file
                + ": tensor "
                + name
                + ": found a value that is not, expected finite values that fit "
                + type);
  }

  @Test
  void anAdapterWhoseScaleMakesItInfiniteIsRefused() throws IOException {
    Files.writeString(
        directory.resolve("adapter_config.json"),
        """
        {"peft_type": "LORA", "r": 1, "lora_alpha": 1e38, "target_modules": ["k_proj"],
         "layers_to_transform": 0}\
        """);
    String name = "base_model.model.model.layers.0.self_attn.k_proj.lora_";
    byte[] header =
        """
        {"%sA.weight": {"dtype": "F32", "shape": [1, 64], "data_offsets": [0, 256]},
         "%sB.weight": {"dtype": "F32", "shape": [32, 1], "data_offsets": [256, 384]}}\
        """
            .formatted(name, name)
            .getBytes(StandardCharsets.UTF_8);
    ByteBuffer bytes = ByteBuffer.allocate(8 + header.length + 384).order(ByteOrder.LITTLE_ENDIAN);
    bytes.putLong(header.length).put(header);
    bytes.putFloat(bytes.capacity() - 4, 10);
    Path file = directory.resolve("adapter_model.safetensors");
    Files.write(file, bytes.array());
    try (Gemma gemma = Gemma.load(directory)) {
      assertThatThrownBy(() -> gemma.loadAdapter(directory))
          .isInstanceOf(MalformedFileException.class)
          .hasMessageStartingWith(
              file + ": tensor " + name + "B.weight: found a value that is inf");
    }
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void aScaleThatIsNotFiniteIsNamed(KernelType kernels) throws IOException {
    String name = "model.layers.1.mlp.up_proj.weight";
    Path source = Goldens.model("gguf/gemma-mqa.Q4_0.gguf");
    byte[] file = Files.readAllBytes(source);
    try (Checkpoint checkpoint = Checkpoint.open(source)) {
      byte[] data = checkpoint.tensor(name).data().toArray(ValueLayout.JAVA_BYTE);
      int at =
          new String(file, StandardCharsets.ISO_8859_1)
              .indexOf(new String(data, StandardCharsets.ISO_8859_1));
      ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN).putShort(at + 5 * 18, (short) 0x7e00);
    }
    Path odd = Files.write(directory.resolve("odd.gguf"), file);
    LoadOptions options = LoadOptions.defaults().withKernels(kernels);
    assertThatThrownBy(() -> Gemma.load(odd, options))
        .isInstanceOf(MalformedFileException.class)
        .hasMessage(
            odd + ": tensor " + name + ": found a scale that is NaN, expected finite scales");
  }

  static Iterable<KernelType> kernels() {
    return Goldens.kernels();
  }
}
