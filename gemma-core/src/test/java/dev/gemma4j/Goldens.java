package dev.gemma4j;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.gemma4j.kernel.KernelProvider;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;

/**
 * The reference checkpoints and what transformers 5.18.0 (torch 2.13.0, float32) computes from
 * them; made by shared/reference/scripts/forward_goldens.py.
 */
final class Goldens {
  static final List<String> DIRECTORIES =
      List.of(
          "gemma-mqa-f32",
          "gemma-mha-f32",
          "gemma-gqa-f32",
          "gemma-mqa-bf16",
          "gemma-mha-bf16",
          "gemma-gqa-bf16",
          "gemma-mqa-ckpt"); // gemma-mqa-f32 as a PyTorch checkpoint
  static final List<String> GGUFS =
      List.of("mqa", "mha").stream()
          .flatMap(
              m -> List.of("F32", "F16", "BF16", "Q8_0", "Q4_0").stream().map(t -> m + "." + t))
          .map(name -> "gguf/gemma-" + name + ".gguf")
          .toList();

  private static final Map<String, JsonNode> GOLDENS = new ConcurrentHashMap<>();

  private Goldens() {}

  /** The kernels that this JVM can run. */
  static List<KernelType> kernels() {
    return KernelProvider.vectorAvailable()
        ? List.of(KernelType.SCALAR, KernelType.VECTOR)
        : List.of(KernelType.SCALAR);
  }

  static List<String> all() {
    List<String> all = new ArrayList<>(DIRECTORIES);
    all.addAll(GGUFS);
    return all;
  }

  static Path model(String name) {
    return resource("forward/" + name);
  }

  static Path resource(String name) {
    URL url = Objects.requireNonNull(Goldens.class.getResource(name), name);
    try {
      return Path.of(url.toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Read once, and never changed. */
  static JsonNode of(String model) {
    return GOLDENS.computeIfAbsent(model, Goldens::read);
  }

  private static JsonNode read(String model) {
    String name =
        model.endsWith(".gguf") ? model.replace(".gguf", ".goldens.json") : model + "/goldens.json";
    try {
      return new ObjectMapper().readTree(resource("forward/" + name).toFile());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static Gemma load(String model) {
    return load(model, LoadOptions.defaults());
  }

  static Gemma load(String model, LoadOptions options) {
    try {
      return Gemma.load(model(model), options);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static int[] ids(JsonNode array) {
    int[] ids = new int[array.size()];
    for (int i = 0; i < ids.length; i++) {
      ids[i] = array.get(i).intValue();
    }
    return ids;
  }

  static float[] floats(JsonNode array) {
    float[] floats = new float[array.size()];
    for (int i = 0; i < floats.length; i++) {
      floats[i] = array.get(i).floatValue();
    }
    return floats;
  }
}
