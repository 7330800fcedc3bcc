package dev.gemma4j.loader;

import static dev.gemma4j.loader.TestFiles.resource;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.List;
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
    if (!type.name().matches("IQ.*|Q._K")) { // these the package reads, but does not write
      check(type, type + ".rows.raw.bin", type + ".rows.f32.bin");
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"Q5_0", "IQ4_NL", "MXFP4"})
  void copiesToQ8WithoutLoss(TensorType type) throws IOException {
    for (String part : type == TensorType.IQ4_NL ? List.of("") : List.of("", ".rows")) {
      byte[] raw = Files.readAllBytes(resource("blocks/" + type + part + ".raw.bin"));
      for (int at = 0; at < raw.length; at += type.blockBytes()) {
        MemorySegment block =
            MemorySegment.ofArray(Arrays.copyOfRange(raw, at, at + type.blockBytes()));
        MemorySegment q8 = MemorySegment.ofArray(new byte[3 + 34]);
        float[] expected = new float[32];
        type.dequantize(block, 0, expected, 0, 32);
        float[] found = new float[32];
        if (type.copyToQ8(block, 0, q8, 3, 32)) {
          TensorType.Q8_0.dequantize(q8.asSlice(3), 0, found, 0, 32);
          assertThat(found).isEqualTo(expected);
        } else {
          // 2^(e-128), twice of which is the scale of the values: no half below 2^-24, above 2^15
          assertThat(raw[at] & 0xff).matches(e -> e < 104 || e > 143, "outside of halves");
        }
      }
    }
  }

  @Test
  void mostTypesHaveNoFormInQ8() {
    MemorySegment target = MemorySegment.ofArray(new byte[34 * 8]);
    for (TensorType type : TensorType.values()) {
      MemorySegment data = MemorySegment.ofArray(new byte[(int) type.byteSize(256)]);
      boolean exact = type.copyToQ8(data, 0, target, 0, 256);
      // MXFP4 has no scale of 0: its smallest, 2^-128, is no half
      assertThat(exact).as(type.name()).isEqualTo(type.name().matches("Q5_0|IQ4_NL"));
    }
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
