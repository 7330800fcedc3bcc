package dev.gemma4j.loader;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.CharConversionException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads one safetensors file (https://github.com/huggingface/safetensors#format): an 8-byte length,
 * a JSON header of that length, and the tensors' bytes, without gaps.
 */
final class SafetensorsReader {
  private static final ValueLayout.OfLong LONG =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final int LENGTH_BYTES = 8;
  private static final int MAX_HEADER = 100_000_000; // as the reference
  private static final int MAX_DIMENSIONS = 16;

  /** A hundred times what any model has, of tensors and of metadata. */
  private static final int MAX_COUNT = 1 << 16;

  /** Bits of one element by type, for all that the format knows. */
  private static final Map<String, Integer> BITS =
      Map.ofEntries(
          Map.entry("BOOL", 8),
          Map.entry("F4", 4),
          Map.entry("F6_E2M3", 6),
          Map.entry("F6_E3M2", 6),
          Map.entry("U8", 8),
          Map.entry("I8", 8),
          Map.entry("F8_E5M2", 8),
          Map.entry("F8_E4M3", 8),
          Map.entry("F8_E8M0", 8),
          Map.entry("I16", 16),
          Map.entry("U16", 16),
          Map.entry("F16", 16),
          Map.entry("BF16", 16),
          Map.entry("I32", 32),
          Map.entry("U32", 32),
          Map.entry("F32", 32),
          Map.entry("C64", 64),
          Map.entry("F64", 64),
          Map.entry("I64", 64),
          Map.entry("U64", 64));

  private static final Map<String, TensorType> TYPES =
      Map.of("F32", TensorType.F32, "F16", TensorType.F16, "BF16", TensorType.BF16);

  private final Path path;
  private final String file;
  private final MemorySegment bytes;
  private final List<Entry> entries = new ArrayList<>();
  private final Map<String, Object> metadata = new LinkedHashMap<>();

  private record Entry(String name, String type, List<Long> shape, long begin, long end) {}

  private SafetensorsReader(Path path, MemorySegment bytes) {
    this.path = path;
    this.file = path.toString();
    this.bytes = bytes;
  }

  static TensorFile read(Path path, Arena arena) throws IOException {
    return InputFile.parse(path, arena, bytes -> new SafetensorsReader(path, bytes).read());
  }

  private TensorFile read() throws IOException {
    if (bytes.byteSize() < LENGTH_BYTES) {
      throw new MalformedFileException(file, "size", bytes.byteSize() + " bytes", "at least 8");
    }
    long length = bytes.get(LONG, 0);
    long available = Math.min(MAX_HEADER, bytes.byteSize() - LENGTH_BYTES);
    if (length < 2 || length > available) {
      throw new MalformedFileException(
          file, "header length", Long.toUnsignedString(length), "from 2 to " + available);
    }
    try (JsonParser parser =
        Json.parser(bytes.asSlice(LENGTH_BYTES, length).toArray(ValueLayout.JAVA_BYTE))) {
      header(parser);
    } catch (JsonProcessingException | CharConversionException e) {
      throw Json.malformed(file, e);
    }
    return tensors(bytes.asSlice(LENGTH_BYTES + length));
  }

  // The header may have 100 MB, so it is read as it comes, not into a tree.
  private void header(JsonParser parser) throws IOException {
    expect(parser, parser.nextToken(), JsonToken.START_OBJECT, "header");
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      String name = parser.currentName();
      expect(parser, parser.nextToken(), JsonToken.START_OBJECT, name);
      if (name.equals("__metadata__")) {
        while (parser.nextToken() != JsonToken.END_OBJECT) {
          String key = parser.currentName();
          expect(parser, parser.nextToken(), JsonToken.VALUE_STRING, "__metadata__." + key);
          metadata.put(key, parser.getText());
          checkCount("__metadata__", metadata.size());
        }
      } else {
        entries.add(entry(parser, name));
        checkCount("header", entries.size());
      }
    }
    if (parser.nextToken() != null) {
      throw new MalformedFileException(file, "header", "more after the object", "its end");
    }
  }

  private void checkCount(String field, int count) throws MalformedFileException {
    if (count > MAX_COUNT) {
      throw new MalformedFileException(
          file, field, "more than " + MAX_COUNT + " entries", "at most as many");
    }
  }

  private Entry entry(JsonParser parser, String name) throws IOException {
    String type = "";
    List<Long> shape = null;
    List<Long> offsets = List.of();
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      String key = parser.currentName();
      String field = name + "." + key;
      parser.nextToken();
      switch (key) {
        case "dtype" -> {
          expect(parser, parser.currentToken(), JsonToken.VALUE_STRING, field);
          type = parser.getText();
        }
        case "shape" -> shape = numbers(parser, field);
        case "data_offsets" -> offsets = numbers(parser, field);
        default -> parser.skipChildren();
      }
    }
    if (!BITS.containsKey(type)) {
      throw new MalformedFileException(
          file, name + ".dtype", type.isEmpty() ? "nothing" : type, "a safetensors type, as F32");
    }
    if (shape == null) {
      throw new MalformedFileException(file, name + ".shape", "nothing", "a list");
    }
    if (offsets.size() != 2) {
      throw new MalformedFileException(
          file, name + ".data_offsets", offsets.size() + " numbers", "2");
    }
    return new Entry(name, type, shape, offsets.get(0), offsets.get(1));
  }

  private List<Long> numbers(JsonParser parser, String field) throws IOException {
    expect(parser, parser.currentToken(), JsonToken.START_ARRAY, field);
    List<Long> numbers = new ArrayList<>(2);
    while (parser.nextToken() != JsonToken.END_ARRAY) {
      expect(parser, parser.currentToken(), JsonToken.VALUE_NUMBER_INT, field);
      if (!(parser.getNumberValue() instanceof Integer || parser.getNumberValue() instanceof Long)
          || parser.getLongValue() < 0) {
        throw new MalformedFileException(file, field, parser.getText(), "0 to 2^63 - 1");
      }
      if (numbers.size() == MAX_DIMENSIONS) {
        throw new MalformedFileException(
            file, field, "more", "at most " + MAX_DIMENSIONS + " numbers");
      }
      numbers.add(parser.getLongValue());
    }
    return numbers;
  }

  private void expect(JsonParser parser, JsonToken found, JsonToken expected, String field)
      throws IOException {
    if (found != expected) {
      throw new MalformedFileException(
          file, field, String.valueOf(parser.getText()), expected.name());
    }
  }

  private TensorFile tensors(MemorySegment data) throws MalformedFileException {
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    Map<String, String> unreadable = new LinkedHashMap<>();
    // Adjoining without gap or overlap, the format's rule, also keeps each within the file.
    entries.sort(Comparator.comparingLong(Entry::begin).thenComparingLong(Entry::end));
    long end = 0;
    for (Entry entry : entries) {
      String field = entry.name + ".data_offsets";
      String found = "[" + entry.begin + ", " + entry.end + "]";
      if (entry.begin != end || entry.end < entry.begin || entry.end > data.byteSize()) {
        throw new MalformedFileException(
            file, field, found, "a start of " + end + " and an end up to " + data.byteSize());
      }
      if (entry.end - entry.begin != byteSize(entry)) {
        throw new MalformedFileException(
            file, field, found, byteSize(entry) + " bytes for " + entry.type + " " + entry.shape);
      }
      end = entry.end;
      TensorType type = TYPES.get(entry.type);
      if (type == null) {
        unreadable.put(entry.name, entry.type);
      } else {
        MemorySegment slice = data.asSlice(entry.begin, entry.end - entry.begin);
        tensors.put(entry.name, new Tensor(entry.name, type, entry.shape, slice, path));
      }
    }
    if (end != data.byteSize()) {
      throw new MalformedFileException(
          file, "size", (data.byteSize() - end) + " bytes after the last tensor", "none");
    }
    return new TensorFile(tensors, unreadable, metadata);
  }

  private long byteSize(Entry entry) throws MalformedFileException {
    try {
      long bits = BITS.get(entry.type);
      for (long n : entry.shape) {
        bits = Math.multiplyExact(bits, n);
      }
      if (bits % 8 == 0) {
        return bits / 8;
      }
    } catch (ArithmeticException e) {
      // falls through: no such tensor exists
    }
    throw new MalformedFileException(
        file,
        entry.name + ".shape",
        entry.shape.toString(),
        "one of whole bytes that a file holds");
  }
}
