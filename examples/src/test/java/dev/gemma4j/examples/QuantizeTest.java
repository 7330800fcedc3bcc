package dev.gemma4j.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.Quantizer;
import dev.gemma4j.WeightType;
import dev.gemma4j.loader.Checkpoint;
import dev.gemma4j.loader.Tensor;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Files that quantize writes are read back the same, and nothing else is left behind. */
class QuantizeTest {
  @TempDir Path directory;
  private Path demo = Path.of("");
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  @BeforeEach
  void demo() throws Exception {
    demo = Files.createDirectory(directory.resolve("demo"));
    DemoModel.extract(demo);
  }

  private int run(Object... args) {
    String[] texts = List.of(args).stream().map(Object::toString).toArray(String[]::new);
    return Main.run(
        texts,
        InputStream.nullInputStream(),
        new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8),
        new PrintStream(err, true, StandardCharsets.UTF_8));
  }

  private static float[] values(Tensor tensor) throws Exception {
    float[] values = new float[Math.toIntExact(tensor.elements())];
    tensor.read(0, values, 0, values.length);
    return values;
  }

  // The largest error of a block: half a step, of which 127 or 8 reach its largest value.
  @ParameterizedTest
  @CsvSource({"F32, 0", "F16, 0.0005", "BF16, 0.004", "Q8_0, 0.0045", "Q4_0, 0.13"})
  void readsBackWhatWasWritten(String type, float error) throws Exception {
    Path file = directory.resolve("out.gguf");
    assertThat(run("quantize", demo, file, "--type", type)).isZero();
    try (Checkpoint source = Checkpoint.open(demo);
        Checkpoint written = Checkpoint.open(file)) {
      assertThat(written.config()).isEqualTo(source.config());
      for (Tensor tensor : source.tensors()) {
        Tensor copy = written.tensor(tensor.name());
        assertThat(copy.shape()).isEqualTo(tensor.shape());
        if (tensor.shape().size() == 1) {
          assertThat(copy.type().name()).isEqualTo("F32");
          assertThat(written.normScale(tensor.name()))
              .containsExactly(source.normScale(tensor.name()));
        } else {
          assertThat(copy.type().name()).isEqualTo(type);
          float[] expected = values(tensor);
          float[] found = values(copy);
          for (int from = 0; from < expected.length; from += 32) {
            float max = 0;
            for (int i = from; i < from + 32; i++) {
              max = Math.max(max, Math.abs(expected[i]));
            }
            for (int i = from; i < from + 32; i++) {
              if (Math.abs(found[i] - expected[i]) > error * max + 1e-7f * error) {
                assertThat(found[i]).as(tensor.name() + "[" + i + "]").isEqualTo(expected[i]);
              }
            }
          }
        }
      }
      Tokenizer tokenizer = source.tokenizer();
      Tokenizer copy = written.tokenizer();
      assertThat(copy.vocabulary().pieces()).isEqualTo(tokenizer.vocabulary().pieces());
      assertThat(copy.bosId()).isEqualTo(tokenizer.bosId());
      assertThat(copy.eosId()).isEqualTo(tokenizer.eosId());
      assertThat(copy.padId()).isEqualTo(tokenizer.padId());
      String text = "Once upon  a time\n\n\tthere was a \u00e9\u4e16 <start_of_turn>king";
      assertThat(copy.encode(text)).isEqualTo(tokenizer.encode(text));
    }
  }

  @Test
  void aThreadIsNeeded() {
    Path file = directory.resolve("out.gguf");
    assertThatThrownBy(
            () -> Quantizer.quantize(demo, file, WeightType.Q8_0, 0, (stage, done, total) -> {}))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("threads must be 1 or more, but is 0");
  }

  @Test
  void copiesTheMetadataOfGguf() throws Exception {
    Path first = directory.resolve("first.gguf");
    Path second = directory.resolve("second.gguf");
    Quantizer.quantize(demo, first, WeightType.F32, 2, (stage, done, total) -> {});
    Quantizer.quantize(first, second, WeightType.F32, 1, (stage, done, total) -> {});
    assertThat(second).hasSameBinaryContentAs(first);
  }

  @Test
  void refusesItsInputAndLeavesNothingOfAFailure() throws Exception {
    Path file = directory.resolve("out.gguf");
    Quantizer.quantize(demo, file, WeightType.F16, 2, (stage, done, total) -> {});
    byte[] before = Files.readAllBytes(file);
    assertThat(run("quantize", file, file, "--type", "Q8_0")).isEqualTo(1);
    assertThat(err.toString(StandardCharsets.UTF_8)).contains("expected another file");
    Path folder = Files.createDirectory(directory.resolve("folder.gguf"));
    assertThat(run("quantize", file, folder, "--type", "Q8_0")).isEqualTo(1);
    assertThat(run("quantize", directory.resolve("no"), file, "--type", "Q8_0")).isEqualTo(1);
    assertThat(run("quantize", demo, file, "--type", "Q3_K")).isEqualTo(2);
    Thread.currentThread().interrupt();
    int status = run("quantize", demo, file, "--type", "Q8_0");
    assertThat(Thread.interrupted()).isTrue();
    assertThat(status).isEqualTo(130);
    assertThat(file).hasBinaryContent(before);
    try (var files = Files.list(directory)) {
      assertThat(files.map(f -> f.getFileName().toString()))
          .containsExactlyInAnyOrder("demo", "out.gguf", "folder.gguf");
    }
  }

  @Test
  void namesTheValueThatIsNotFinite() throws Exception {
    Path file = directory.resolve("out.gguf");
    Quantizer.quantize(demo, file, WeightType.F32, 2, (stage, done, total) -> {});
    assertThat(run("inspect", file)).isZero();
    long position;
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      Tensor last = checkpoint.tensor("model.layers.0.mlp.up_proj.weight");
      Tensor first = checkpoint.tensors().getFirst();
      position = Files.size(file);
      for (Tensor tensor : checkpoint.tensors()) { // F32 rows here need no padding
        position -= tensor.data().byteSize();
      }
      position += last.data().address() - first.data().address() + 4 * 5;
    }
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
      ByteBuffer nan = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN);
      channel.write(nan.putFloat(0, Float.NaN), position);
    }
    assertThat(run("inspect", file)).isEqualTo(1);
    assertThat(err.toString(StandardCharsets.UTF_8))
        .contains("model.layers.0.mlp.up_proj.weight[5]", "NaN")
        .hasLineCount(1);
    assertThat(run("quantize", file, directory.resolve("b.gguf"), "--type", "F16")).isEqualTo(1);
    assertThat(directory.resolve("b.gguf")).doesNotExist();
  }
}
