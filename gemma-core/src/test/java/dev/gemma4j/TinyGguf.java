package dev.gemma4j;

import dev.gemma4j.loader.TensorType;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;

/** Writes a Gemma with random weights of one type, and the same weights as F32. */
final class TinyGguf {
  static final int VOCAB = 64;
  private static final int HIDDEN = 256;
  private static final int LAYERS = 2;
  private static final int KV = 128;

  /** About that of trained weights. */
  private static final double RMS = 0.06;

  private final TensorType type;
  private final Random random = new Random(7);
  private final Map<String, byte[]> data = new LinkedHashMap<>();
  private final Map<String, byte[]> floats = new LinkedHashMap<>();
  private final Map<String, int[]> shapes = new LinkedHashMap<>();

  private TinyGguf(TensorType type) {
    this.type = type;
    matrix("token_embd", VOCAB, HIDDEN);
    norm("output_norm");
    for (int l = 0; l < LAYERS; l++) {
      String layer = "blk." + l + ".";
      norm(layer + "attn_norm");
      matrix(layer + "attn_q", 2 * KV, HIDDEN);
      matrix(layer + "attn_k", KV, HIDDEN);
      matrix(layer + "attn_v", KV, HIDDEN);
      matrix(layer + "attn_output", HIDDEN, 2 * KV);
      norm(layer + "ffn_norm");
      matrix(layer + "ffn_gate", 2 * HIDDEN, HIDDEN);
      matrix(layer + "ffn_up", 2 * HIDDEN, HIDDEN);
      matrix(layer + "ffn_down", HIDDEN, 2 * HIDDEN);
    }
  }

  static void write(TensorType type, int number, Path file, Path asFloats) throws IOException {
    TinyGguf model = new TinyGguf(type);
    Files.write(file, model.file(model.data, number));
    Files.write(asFloats, model.file(model.floats, 0));
  }

  private void norm(String name) {
    float[] scale = new float[HIDDEN];
    for (int i = 0; i < scale.length; i++) {
      scale[i] = 1 + 0.1f * (float) random.nextGaussian();
    }
    shapes.put(name, new int[] {HIDDEN});
    data.put(name, bytes(scale));
    floats.put(name, bytes(scale));
  }

  private void matrix(String name, int rows, int cols) {
    byte[] blocks = new byte[(int) type.byteSize((long) rows * cols)];
    random.nextBytes(blocks);
    setScales(blocks, 1);
    if (type != TensorType.MXFP4) {
      double square = 0;
      for (float value : decode(blocks, rows * cols)) {
        square += (double) value * value;
      }
      setScales(blocks, RMS / Math.sqrt(square / (rows * cols)));
    }
    shapes.put(name, new int[] {rows, cols});
    data.put(name, blocks);
    floats.put(name, bytes(decode(blocks, rows * cols)));
  }

  private float[] decode(byte[] blocks, int count) {
    float[] values = new float[count];
    type.dequantize(MemorySegment.ofArray(blocks), 0, values, 0, count);
    return values;
  }

  /** The halves of each block: where they lie, and what centres random integers. */
  private void setScales(byte[] blocks, double factor) {
    int[] at =
        switch (type) {
          case Q2_K -> new int[] {80, 82};
          case Q3_K -> new int[] {108};
          case Q6_K -> new int[] {208};
          case Q4_1, Q5_1, Q4_K, Q5_K -> new int[] {0, 2};
          default -> new int[] {0};
        };
    double second =
        switch (type) {
          case Q4_1 -> -7.5;
          case Q5_1 -> -15.5;
          case Q2_K -> 1.5;
          case Q4_K -> 7.5;
          default -> 15.5;
        };
    ByteBuffer buffer = ByteBuffer.wrap(blocks).order(ByteOrder.LITTLE_ENDIAN);
    for (int block = 0; block < blocks.length; block += type.blockBytes()) {
      if (type == TensorType.MXFP4) {
        blocks[block] = (byte) (120 + random.nextInt(3)); // 2^-8 to 2^-6
        continue;
      }
      for (int i = 0; i < at.length; i++) {
        float scale = (float) (factor * (i == 0 ? 1 : second));
        buffer.putShort(block + at[i], Float.floatToFloat16(scale));
      }
    }
  }

  private static byte[] bytes(float[] values) {
    ByteBuffer buffer = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
    buffer.asFloatBuffer().put(values);
    return buffer.array();
  }

  private final ByteArrayOutputStream out = new ByteArrayOutputStream();

  private byte[] file(Map<String, byte[]> tensors, int number) {
    out.reset();
    out.writeBytes("GGUF".getBytes(StandardCharsets.US_ASCII));
    integer(3, 4);
    integer(tensors.size(), 8);
    integer(8, 8);
    text("general.architecture");
    integer(8, 4);
    text("gemma");
    key("gemma.context_length", 64);
    key("gemma.embedding_length", HIDDEN);
    key("gemma.block_count", LAYERS);
    key("gemma.feed_forward_length", 2 * HIDDEN);
    key("gemma.attention.head_count", 2);
    key("gemma.attention.head_count_kv", 1);
    text("gemma.attention.layer_norm_rms_epsilon");
    integer(6, 4);
    integer(Float.floatToIntBits(1e-6f), 4);
    long offset = 0;
    for (Map.Entry<String, byte[]> tensor : tensors.entrySet()) {
      int[] shape = shapes.getOrDefault(tensor.getKey(), new int[0]);
      text(tensor.getKey() + ".weight");
      integer(shape.length, 4);
      for (int i = shape.length - 1; i >= 0; i--) {
        integer(shape[i], 8);
      }
      integer(shape.length == 1 ? 0 : number, 4);
      integer(offset, 8);
      offset += tensor.getValue().length + (-tensor.getValue().length & 31);
    }
    out.writeBytes(new byte[-out.size() & 31]);
    for (byte[] tensor : tensors.values()) {
      out.writeBytes(Arrays.copyOf(tensor, tensor.length + (-tensor.length & 31)));
    }
    return out.toByteArray();
  }

  private void key(String key, int value) {
    text(key);
    integer(4, 4);
    integer(value, 4);
  }

  private void text(String text) {
    integer(text.length(), 8);
    out.writeBytes(text.getBytes(StandardCharsets.US_ASCII));
  }

  private void integer(long value, int bytes) {
    for (int i = 0; i < bytes; i++) {
      out.write((int) (value >>> 8 * i));
    }
  }
}
