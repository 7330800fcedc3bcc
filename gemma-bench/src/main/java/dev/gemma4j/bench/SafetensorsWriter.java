package dev.gemma4j.bench;

import dev.gemma4j.loader.GemmaConfig;
import dev.gemma4j.loader.TensorType;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.stream.Collectors;

/** Writes a directory as Hugging Face lays it out. */
final class SafetensorsWriter {
  private SafetensorsWriter() {}

  static void write(
      Path directory, GemmaConfig config, TensorType type, byte[] tokenizer, long seed)
      throws IOException {
    Files.createDirectories(directory);
    Files.writeString(directory.resolve("config.json"), configJson(config, type));
    Files.writeString(
        directory.resolve("generation_config.json"),
        """
        {
          "bos_token_id": 2,
          "eos_token_id": 1,
          "pad_token_id": 0
        }
        """);
    Files.write(directory.resolve("tokenizer.model"), tokenizer);
    List<SyntheticTensor> tensors = SyntheticTensor.of(config);
    RandomWeights weights = new RandomWeights(seed);
    try (FileChannel out =
        FileChannel.open(
            directory.resolve("model.safetensors"),
            StandardOpenOption.CREATE,
            StandardOpenOption.TRUNCATE_EXISTING,
            StandardOpenOption.WRITE)) {
      Channels.writeFully(out, header(tensors, type));
      for (SyntheticTensor tensor : tensors) {
        // The files store w where the model multiplies by 1 + w, so norms lie around 0 too.
        double std = tensor.isNorm() ? 0.1 : RandomWeights.std(tensor.cols());
        weights.write(out, type, std, tensor.elements());
      }
    }
  }

  /** Length and JSON, padded with spaces so that the first tensor starts on a cache line. */
  private static ByteBuffer header(List<SyntheticTensor> tensors, TensorType type) {
    StringBuilder json = new StringBuilder("{\"__metadata__\":{\"format\":\"pt\"}");
    long at = 0;
    for (SyntheticTensor tensor : tensors) {
      long end = at + type.byteSize(tensor.elements());
      String shape = tensor.shape().stream().map(String::valueOf).collect(Collectors.joining(","));
      json.append(
          String.format(
              ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%d,%d]}",
              tensor.name(), type, shape, at, end));
      at = end;
    }
    json.append('}');
    while ((Long.BYTES + json.length()) % 64 != 0) {
      json.append(' ');
    }
    byte[] bytes = json.toString().getBytes(StandardCharsets.UTF_8);
    return ByteBuffer.allocate(Long.BYTES + bytes.length)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putLong(bytes.length)
        .put(bytes)
        .flip();
  }

  private static String configJson(GemmaConfig c, TensorType type) {
    String torchType =
        switch (type) {
          case F32 -> "float32";
          case F16 -> "float16";
          default -> "bfloat16";
        };
    return """
    {
      "architectures": ["GemmaForCausalLM"],
      "attention_bias": false,
      "bos_token_id": 2,
      "eos_token_id": 1,
      "head_dim": %d,
      "hidden_act": "gelu_pytorch_tanh",
      "hidden_activation": "gelu_pytorch_tanh",
      "hidden_size": %d,
      "intermediate_size": %d,
      "max_position_embeddings": %d,
      "model_type": "gemma",
      "num_attention_heads": %d,
      "num_hidden_layers": %d,
      "num_key_value_heads": %d,
      "pad_token_id": 0,
      "rms_norm_eps": %s,
      "rope_theta": %s,
      "torch_dtype": "%s",
      "vocab_size": %d
    }
    """
        .formatted(
            c.headDim(),
            c.hiddenSize(),
            c.intermediateSize(),
            c.maxPositions(),
            c.numHeads(),
            c.numLayers(),
            c.numKvHeads(),
            c.rmsNormEps(),
            c.ropeTheta(),
            torchType,
            c.vocabSize());
  }
}
