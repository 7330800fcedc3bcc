package dev.gemma4j.loader;

import static dev.gemma4j.loader.TestFiles.resource;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;

/** Against gguf.quants.dequantize of the Python package gguf 0.19.0, bit for bit. */
class TensorTypeTest {
  @ParameterizedTest
  @EnumSource(value = TensorType.class, mode = Mode.EXCLUDE, names = "F32")
  void decodesAsTheReference(TensorType type) throws IOException {
    check(type, type + ".raw.bin", type + ".f32.bin");
    check(type, type + ".rows.raw.bin", type + ".rows.f32.bin");
  }

  private static void check(TensorType type, String raw, String expected) throws IOException {
    MemorySegment data = MemorySegment.ofArray(Files.readAllBytes(resource("blocks/" + raw)));
    byte[] bytes = Files.readAllBytes(resource("blocks/" + expected));
    float[] floats = new float[bytes.length / 4];
    ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(floats);
    assertThat(data.byteSize()).isEqualTo(type.byteSize(floats.length));

    float[] whole = new float[floats.length + 3];
    type.dequantize(data, 0, whole, 3, floats.length);
    float[] single = new float[floats.length];
    for (int i = 0; i < floats.length; i += type.blockSize()) {
      type.dequantize(data, i, single, i, type.blockSize());
    }
    for (int i = 0; i < floats.length; i++) {
      int bits = Float.floatToRawIntBits(floats[i]);
      assertThat(Float.floatToRawIntBits(whole[3 + i])).as("%s [%d]", raw, i).isEqualTo(bits);
      assertThat(Float.floatToRawIntBits(single[i])).as("%s [%d]", raw, i).isEqualTo(bits);
    }
  }

  @Test
  void checksItsArguments() {
    MemorySegment data = MemorySegment.ofArray(new byte[34]);
    float[] target = new float[64];
    TensorType q8 = TensorType.Q8_0;
    assertThatThrownBy(() -> q8.dequantize(data, 1, target, 0, 32))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> q8.dequantize(data, 0, target, 0, 16))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> q8.dequantize(data, 32, target, 0, 32))
        .isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> q8.dequantize(data, 0, target, 33, 32))
        .isInstanceOf(IndexOutOfBoundsException.class);
    q8.dequantize(data, 0, target, 64, 0);
    assertThat(TensorType.Q4_0.byteSize(256_000L * 3072)).isEqualTo(442_368_000L);
    assertThatThrownBy(() -> TensorType.F32.byteSize(Long.MAX_VALUE))
        .isInstanceOf(ArithmeticException.class);
  }
}
