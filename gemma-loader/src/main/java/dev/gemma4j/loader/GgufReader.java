package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Reads one GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): metadata, tensor
 * descriptions, and the tensors' bytes.
 */
final class GgufReader {
  private static final int MAGIC = 'G' | 'G' << 8 | 'U' << 16 | 'F' << 24;
  private static final int MAX_DIMENSIONS = 4;

  /** A hundred times what any model has, of pairs and of tensors. */
  private static final int MAX_COUNT = 1 << 16;

  // length, type and one byte of value; length, dimension count, one dimension, type, offset
  private static final int LEAST_PAIR = 8 + 4 + 1;
  private static final int LEAST_TENSOR = 8 + 4 + 8 + 4 + 8;

  private final Path path;
  private final String file;
  private final MemorySegment bytes;
  private final GgufCursor in;

  /** A tensor's description; offset is from the start of the data. */
  private record Entry(String name, GgmlType type, List<Long> shape, long offset, long size) {}

  private GgufReader(Path path, MemorySegment bytes) {
    this.path = path;
    this.file = path.toString();
    this.bytes = bytes;
    this.in = new GgufCursor(file, bytes);
  }

  static TensorFile read(Path path, Arena arena) throws IOException {
    return InputFile.parse(path, arena, bytes -> new GgufReader(path, bytes).read());
  }

  private TensorFile read() throws MalformedFileException {
    if (bytes.byteSize() == 0) {
      throw new MalformedFileException(file, "size", "an empty file", "a GGUF model");
    }
    int magic = in.int32("magic");
    if (magic != MAGIC) {
      throw new MalformedFileException(
          file, "magic", String.format("0x%08x", magic), String.format("0x%08x (GGUF)", MAGIC));
    }
    int version = in.int32("version");
    if (version != 2 && version != 3) {
      boolean swapped = version != 0 && (version & 0xffff) == 0;
      throw new MalformedFileException(
          file,
          "version",
          swapped
              ? "a big-endian " + Integer.reverseBytes(version)
              : Integer.toUnsignedString(version),
          "2 or 3, little-endian");
    }
    int tensorCount = count(LEAST_TENSOR, "tensor count");
    int pairCount = count(LEAST_PAIR, "metadata count");
    Map<String, Object> metadata = metadata(pairCount);
    long alignment = alignment(new Values(file, metadata));
    List<Entry> entries = new ArrayList<>();
    Set<String> names = new HashSet<>();
    for (int i = 0; i < tensorCount; i++) {
      Entry entry = entry("tensor " + i, alignment);
      if (!names.add(entry.name)) {
        throw new MalformedFileException(file, "tensor " + entry.name, "a second one", "one");
      }
      entries.add(entry);
    }
    long start = Math.ceilDiv(in.position(), alignment) * alignment;
    checkPlaces(entries, bytes.byteSize() - start);
    return tensors(entries, start, metadata);
  }

  private int count(int leastBytes, String field) throws MalformedFileException {
    int count = in.count(leastBytes, field);
    if (count > MAX_COUNT) {
      throw new MalformedFileException(file, field, String.valueOf(count), "at most " + MAX_COUNT);
    }
    return count;
  }

  private Map<String, Object> metadata(int count) throws MalformedFileException {
    Map<String, Object> values = new LinkedHashMap<>();
    Map<String, Integer> types = new HashMap<>();
    for (int i = 0; i < count; i++) {
      String key = in.string("metadata key " + i);
      int type = in.type(key);
      types.put(key, type);
      if (values.put(key, in.value(type, key)) != null) {
        throw new MalformedFileException(file, key, "a second value", "one");
      }
    }
    return new GgufMetadata(values, types);
  }

  private long alignment(Values metadata) throws MalformedFileException {
    String key = "general.alignment";
    int alignment = metadata.integer(key, 32);
    if (alignment < 1 || alignment > 1 << 20 || Integer.bitCount(alignment) != 1) {
      throw new MalformedFileException(
          file, key, String.valueOf(alignment), "a power of two up to 2^20");
    }
    return alignment;
  }

  private Entry entry(String label, long alignment) throws MalformedFileException {
    String name = in.string(label + " name");
    String field = "tensor " + name;
    int dimensions = in.int32(field);
    if (dimensions < 1 || dimensions > MAX_DIMENSIONS) {
      throw new MalformedFileException(
          file, field, Integer.toUnsignedString(dimensions) + " dimensions", "1 to 4");
    }
    List<Long> shape = new ArrayList<>();
    for (int d = 0; d < dimensions; d++) {
      long size = in.int64(field);
      if (size < 1) {
        throw new MalformedFileException(
            file, field, "dimension " + Long.toUnsignedString(size), "at least 1");
      }
      shape.addFirst(size); // the file has the innermost first
    }
    int number = in.int32(field);
    GgmlType type = GgmlType.of(number);
    if (type == null) {
      throw new MalformedFileException(
          file, field, "type " + Integer.toUnsignedString(number), "a type number of ggml");
    }
    long offset = in.int64(field);
    if (offset < 0 || offset % alignment != 0) {
      throw new MalformedFileException(
          file,
          field,
          "offset " + Long.toUnsignedString(offset),
          "a multiple of the alignment " + alignment);
    }
    return new Entry(name, type, shape, offset, byteSize(field, type, shape));
  }

  private long byteSize(String field, GgmlType type, List<Long> shape)
      throws MalformedFileException {
    if (shape.getLast() % type.blockSize() != 0) {
      throw new MalformedFileException(
          file,
          field,
          "rows of " + shape.getLast(),
          "a multiple of the " + type.name() + " block of " + type.blockSize());
    }
    try {
      long size = Math.multiplyExact(shape.getLast() / type.blockSize(), type.blockBytes());
      for (long n : shape.subList(0, shape.size() - 1)) {
        size = Math.multiplyExact(size, n);
      }
      return size;
    } catch (ArithmeticException e) {
      throw new MalformedFileException(file, field, "shape " + shape, "one that a file can hold");
    }
  }

  private void checkPlaces(List<Entry> entries, long available) throws MalformedFileException {
    List<Entry> sorted = new ArrayList<>(entries);
    sorted.sort(Comparator.comparingLong(Entry::offset));
    long end = 0;
    for (Entry entry : sorted) {
      if (entry.offset > available || entry.size > available - entry.offset) {
        throw new MalformedFileException(
            file,
            "tensor " + entry.name,
            entry.size + " bytes at offset " + entry.offset,
            "an end within the " + Math.max(0, available) + " bytes of data");
      }
      if (entry.offset < end) {
        throw new MalformedFileException(
            file,
            "tensor " + entry.name,
            "offset " + entry.offset,
            "at least " + end + ", where the tensor before it ends");
      }
      end = entry.offset + entry.size;
    }
  }

  private TensorFile tensors(List<Entry> entries, long start, Map<String, Object> metadata) {
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    Map<String, String> unreadable = new LinkedHashMap<>();
    for (Entry entry : entries) {
      TensorType type = entry.type.readable();
      if (type == null) {
        unreadable.put(entry.name, entry.type.name());
      } else {
        MemorySegment data = bytes.asSlice(start + entry.offset, entry.size);
        tensors.put(entry.name, new Tensor(entry.name, type, entry.shape, data, path));
      }
    }
    return new TensorFile(tensors, unreadable, metadata);
  }
}
