package dev.gemma4j.bench;

import dev.gemma4j.loader.GemmaConfig;
import dev.gemma4j.loader.TensorType;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.function.IntConsumer;

/**
 * Writes a GGUF file of version 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) as
 * llama.cpp's converter does for Gemma: norms with 1 added, in F32.
 */
final class GgufWriter {
  private static final int ALIGNMENT = 32;
  private static final int UINT32 = 4;
  private static final int INT32 = 5;
  private static final int FLOAT32 = 6;
  private static final int BOOL = 7;
  private static final int STRING = 8;
  private static final int ARRAY = 9;

  private final ByteArrayOutputStream header = new ByteArrayOutputStream();
  private final ByteBuffer number = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
  private int keys;

  private GgufWriter() {}

  static void write(Path file, GemmaConfig config, TensorType type, Tokenizer tokenizer, long seed)
      throws IOException {
    List<SyntheticTensor> tensors = SyntheticTensor.of(config);
    GgufWriter metadata = new GgufWriter();
    metadata.model(config, type);
    metadata.tokenizer(tokenizer);
    GgufWriter writer = new GgufWriter();
    writer.header.writeBytes("GGUF".getBytes(StandardCharsets.UTF_8));
    writer.u32(3);
    writer.u64(tensors.size());
    writer.u64(metadata.keys);
    metadata.header.writeTo(writer.header);
    writer.tensors(tensors, type);
    writer.align();
    try (FileChannel out =
        FileChannel.open(
            file,
            StandardOpenOption.CREATE,
            StandardOpenOption.TRUNCATE_EXISTING,
            StandardOpenOption.WRITE)) {
      Channels.writeFully(out, ByteBuffer.wrap(writer.header.toByteArray()));
      data(out, tensors, type, new RandomWeights(seed));
    }
  }

  private static void data(
      FileChannel out, List<SyntheticTensor> tensors, TensorType type, RandomWeights weights)
      throws IOException {
    for (SyntheticTensor tensor : tensors) {
      if (tensor.isNorm()) {
        float[] scale = weights.floats(Math.toIntExact(tensor.elements()), 1, 0.1);
        ByteBuffer bytes =
            ByteBuffer.allocate(scale.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        bytes.asFloatBuffer().put(scale);
        Channels.writeFully(out, bytes);
      } else {
        weights.write(out, type, RandomWeights.std(tensor.cols()), tensor.elements());
      }
      int padding = (int) (aligned(out.position()) - out.position());
      Channels.writeFully(out, ByteBuffer.allocate(padding));
    }
  }

  private void model(GemmaConfig c, TensorType type) {
    string("general.architecture", "gemma");
    string("general.name", "synthetic " + type);
    u32("gemma.context_length", c.maxPositions());
    u32("gemma.embedding_length", c.hiddenSize());
    u32("gemma.block_count", c.numLayers());
    u32("gemma.feed_forward_length", c.intermediateSize());
    u32("gemma.attention.head_count", c.numHeads());
    u32("gemma.attention.head_count_kv", c.numKvHeads());
    u32("gemma.attention.key_length", c.headDim());
    u32("gemma.attention.value_length", c.headDim());
    f32("gemma.attention.layer_norm_rms_epsilon", c.rmsNormEps());
    f32("gemma.rope.freq_base", c.ropeTheta());
    u32("general.file_type", fileType(type));
  }

  private void tokenizer(Tokenizer tokenizer) {
    int n = tokenizer.vocabSize();
    string("tokenizer.ggml.model", "llama");
    array("tokenizer.ggml.tokens", STRING, n, id -> text(tokenizer.piece(id)));
    array("tokenizer.ggml.scores", FLOAT32, n, id -> f32(tokenizer.score(id)));
    // SentencePiece numbers its types from 1, and GGUF follows it.
    array("tokenizer.ggml.token_type", INT32, n, id -> u32(tokenizer.type(id).ordinal() + 1));
    u32("tokenizer.ggml.bos_token_id", tokenizer.bosId());
    u32("tokenizer.ggml.eos_token_id", tokenizer.eosId());
    u32("tokenizer.ggml.unknown_token_id", tokenizer.unkId());
    if (tokenizer.padId() >= 0) {
      u32("tokenizer.ggml.padding_token_id", tokenizer.padId());
    }
    bool("tokenizer.ggml.add_bos_token", true);
    bool("tokenizer.ggml.add_eos_token", false);
    bool("tokenizer.ggml.add_space_prefix", false);
  }

  /** Name, dimensions innermost first, type and offset of each. */
  private void tensors(List<SyntheticTensor> tensors, TensorType type) {
    long offset = 0;
    for (SyntheticTensor tensor : tensors) {
      TensorType stored = tensor.isNorm() ? TensorType.F32 : type;
      text(tensor.ggufName());
      u32(tensor.shape().size());
      for (long size : tensor.shape().reversed()) {
        u64(size);
      }
      u32(ggmlType(stored));
      u64(offset);
      offset = aligned(offset + stored.byteSize(tensor.elements()));
    }
  }

  private static int ggmlType(TensorType type) {
    return switch (type) {
      case F32 -> 0;
      case F16 -> 1;
      case Q4_0 -> 2;
      case Q8_0 -> 8;
      case BF16 -> 30;
      default -> throw new IllegalArgumentException("cannot write " + type);
    };
  }

  private static int fileType(TensorType type) {
    return switch (type) {
      case Q8_0 -> 7;
      case BF16 -> 32;
      default -> ggmlType(type);
    };
  }

  private static long aligned(long at) {
    return (at + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }

  private void align() {
    header.writeBytes(new byte[(int) (aligned(header.size()) - header.size())]);
  }

  private void key(String key, int type) {
    keys++;
    text(key);
    u32(type);
  }

  private void string(String key, String value) {
    key(key, STRING);
    text(value);
  }

  private void u32(String key, int value) {
    key(key, UINT32);
    u32(value);
  }

  private void f32(String key, float value) {
    key(key, FLOAT32);
    f32(value);
  }

  private void bool(String key, boolean value) {
    key(key, BOOL);
    header.write(value ? 1 : 0);
  }

  private void array(String key, int type, int count, IntConsumer element) {
    key(key, ARRAY);
    u32(type);
    u64(count);
    for (int i = 0; i < count; i++) {
      element.accept(i);
    }
  }

  private void text(String value) {
    byte[] bytes = value.getBytes(StandardCharsets.UTF_8);
    u64(bytes.length);
    header.writeBytes(bytes);
  }

  private void f32(float value) {
    u32(Float.floatToRawIntBits(value));
  }

  private void u32(int value) {
    header.write(number.putInt(0, value).array(), 0, 4);
  }

  private void u64(long value) {
    header.write(number.putLong(0, value).array(), 0, 8);
  }
}
