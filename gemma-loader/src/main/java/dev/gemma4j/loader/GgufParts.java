package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Reads a GGUF model that may be split into files: NAME-00001-of-00003.gguf and so on, of which the
 * first holds the metadata
 * (https://github.com/ggml-org/llama.cpp/blob/master/tools/gguf-split/README.md).
 */
final class GgufParts {
  private static final String COUNT = "split.count";
  private static final String NUMBER = "split.no";
  private static final String TENSORS = "split.tensors.count";
  private static final Pattern NAME = Pattern.compile("(.*)-(\\d{5})-of-(\\d{5})\\.gguf");

  private GgufParts() {}

  /** Whether the file is a part other than the first, by its name. */
  static boolean isLaterPart(Path path) {
    Matcher name = NAME.matcher(String.valueOf(path.getFileName()));
    return name.matches() && !name.group(2).equals("00001");
  }

  /** Reads a whole file, or all parts of the model that the file is any part of. */
  static TensorFile read(Path path, Arena arena) throws IOException {
    TensorFile file = GgufReader.read(path, arena);
    Values metadata = new Values(path.toString(), file.metadata());
    int count = metadata.integer(COUNT, 1);
    if (count == 1) {
      return file;
    }
    Matcher name = NAME.matcher(String.valueOf(path.getFileName()));
    if (!name.matches() || Integer.parseInt(name.group(3)) != count) {
      throw new MalformedFileException(
          path.toString(),
          COUNT,
          count + " in a file of this name",
          String.format("a name that ends in -00001-of-%05d.gguf", count));
    }
    return join(path, name.group(1), count, arena);
  }

  private static TensorFile join(Path path, String prefix, int count, Arena arena)
      throws IOException {
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    Map<String, String> unreadable = new LinkedHashMap<>();
    Map<String, Object> metadata = Map.of();
    Path first = path;
    for (int i = 0; i < count; i++) {
      Path part = path.resolveSibling(String.format("%s-%05d-of-%05d.gguf", prefix, i + 1, count));
      if (!Files.exists(part)) {
        throw new MalformedFileException(
            part.toString(), "file", "nothing", "part " + (i + 1) + " of " + count);
      }
      TensorFile file = GgufReader.read(part, arena);
      Values values = new Values(part.toString(), file.metadata());
      expect(values, COUNT, count);
      expect(values, NUMBER, i);
      if (i == 0) {
        metadata = file.metadata();
        first = part;
      }
      for (Tensor tensor : file.tensors().values()) {
        refuseTwins(part, tensor.name(), tensors, unreadable);
        tensors.put(tensor.name(), tensor);
      }
      for (Map.Entry<String, String> other : file.unreadable().entrySet()) {
        refuseTwins(part, other.getKey(), tensors, unreadable);
        unreadable.put(other.getKey(), other.getValue());
      }
    }
    Values values = new Values(first.toString(), metadata);
    if (values.has(TENSORS)) {
      expect(values, TENSORS, tensors.size() + unreadable.size());
    }
    return new TensorFile(tensors, unreadable, metadata);
  }

  private static void expect(Values values, String key, int expected)
      throws MalformedFileException {
    int found = values.integer(key);
    if (found != expected) {
      throw values.wrong(key, found, String.valueOf(expected));
    }
  }

  private static void refuseTwins(
      Path part, String name, Map<String, Tensor> tensors, Map<String, String> unreadable)
      throws MalformedFileException {
    if (tensors.containsKey(name) || unreadable.containsKey(name)) {
      throw new MalformedFileException(
          part.toString(), "tensor " + name, "one as in an earlier part", "no other");
    }
  }
}
