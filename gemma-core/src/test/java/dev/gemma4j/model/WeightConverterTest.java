package dev.gemma4j.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.gemma4j.loader.TensorType;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Objects;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The same bytes as the gguf Python package 0.19.0 writes for the same rows. */
class WeightConverterTest {
  private static byte[] resource(String name) throws IOException {
    try (InputStream in =
        Objects.requireNonNull(
            WeightConverterTest.class.getResourceAsStream("/dev/gemma4j/blocks/" + name), name)) {
      return in.readAllBytes();
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"Q8_0", "Q4_0", "BF16", "F16"})
  void encodesAsTheReferenceDoes(TensorType type) throws IOException {
    byte[] expected = resource(type + ".rows.raw.bin");
    byte[] bytes = resource(type + ".rows.source.f32.bin");
    float[] source = new float[bytes.length / 4];
    ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(source);
    assertThat(source).hasSize(4 * 512);
    MemorySegment target = MemorySegment.ofArray(new byte[expected.length]);
    for (int row = 0; row < 4; row++) {
      float[] values = Arrays.copyOfRange(source, row * 512, (row + 1) * 512);
      WeightConverter.encode(values, type, target, type.byteSize(row * 512L));
    }
    assertThat(target.toArray(ValueLayout.JAVA_BYTE)).isEqualTo(expected);
  }

  /** As in C, whatever the sign of the zeros. */
  @ParameterizedTest
  @ValueSource(floats = {0, -0f})
  void zerosAsQ4HaveTheScaleMinusZero(float zero) {
    byte[] block = new byte[18];
    float[] values = new float[32];
    Arrays.fill(values, zero);
    WeightConverter.encode(values, TensorType.Q4_0, MemorySegment.ofArray(block), 0);
    assertThat(block).startsWith(0, 0x80, 0x88).endsWith(0x88);
  }
}
