package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.AbstractList;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * Reads GGUF's little-endian values one after the other
 * (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), and never more than there are.
 */
final class GgufCursor {
  /** Names and vocabulary of the largest models have a tenth of it. */
  static final long MAX_HEADER = 64 << 20;

  private static final int MAX_DEPTH = 4;

  /** Several times a vocabulary and its merges; on the heap each takes ten times its bytes. */
  private static final int MAX_ELEMENTS = 1 << 20;

  private static final int BOOL = 7;
  private static final int STRING = 8;
  private static final int ARRAY = 9;

  /** Bytes of each value type by its number; of texts and arrays the least they can have. */
  private static final int[] SIZES = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfLong LONG =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private final String file;
  private final MemorySegment bytes;
  private final long limit;
  private long position;
  private int elements; // of arrays, as far as they are objects

  GgufCursor(String file, MemorySegment bytes) {
    this.file = file;
    this.bytes = bytes;
    this.limit = Math.min(bytes.byteSize(), MAX_HEADER);
  }

  long position() {
    return position;
  }

  /** Steps over n bytes and says where they began. */
  private long take(long n, String field) throws MalformedFileException {
    if (n < 0 || n > limit - position) {
      throw new MalformedFileException(
          file,
          field,
          Long.toUnsignedString(n) + " bytes at offset " + position,
          "at most the " + (limit - position) + " that are left");
    }
    long at = position;
    position += n;
    return at;
  }

  int int32(String field) throws MalformedFileException {
    return bytes.get(INT, take(4, field));
  }

  long int64(String field) throws MalformedFileException {
    return bytes.get(LONG, take(8, field));
  }

  /** A number of things that each take at least so many bytes of the rest of the file. */
  int count(int leastBytes, String field) throws MalformedFileException {
    long count = int64(field);
    long most = (limit - position) / leastBytes;
    if (count < 0 || count > most) {
      throw new MalformedFileException(
          file, field, Long.toUnsignedString(count), "at most the " + most + " that fit");
    }
    return (int) count; // limit is an int
  }

  String string(String field) throws MalformedFileException {
    int length = count(1, field + " length");
    if (length == 0) {
      return "";
    }
    byte[] text = new byte[length];
    MemorySegment.copy(bytes, ValueLayout.JAVA_BYTE, take(length, field), text, 0, length);
    // A vocabulary has 256,000 of them. What is malformed becomes U+FFFD, which is seldom meant.
    String decoded = new String(text, StandardCharsets.UTF_8);
    if (decoded.indexOf('\ufffd') < 0) {
      return decoded;
    }
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(text)).toString();
    } catch (CharacterCodingException e) {
      throw new MalformedFileException(file, field, "bytes that are no UTF-8", "UTF-8");
    }
  }

  /** A metadata value, after its type. */
  Object value(int type, String key) throws MalformedFileException {
    return value(type, key, 0);
  }

  /** The number of a type of values. */
  int type(String key) throws MalformedFileException {
    int type = int32(key);
    if (type < 0 || type >= SIZES.length) {
      throw new MalformedFileException(
          file, key, "value type " + Integer.toUnsignedString(type), "0 to " + (SIZES.length - 1));
    }
    return type;
  }

  private Object value(int type, String key, int depth) throws MalformedFileException {
    return switch (type) {
      case STRING -> string(key);
      case ARRAY -> array(key, depth + 1);
      default -> {
        long at = take(SIZES[type], key);
        if (type == BOOL && (bytes.get(ValueLayout.JAVA_BYTE, at) & 0xfe) != 0) {
          throw new MalformedFileException(
              file, key, "byte " + bytes.get(ValueLayout.JAVA_BYTE, at), "0 or 1");
        }
        yield scalar(bytes, at, type);
      }
    };
  }

  private static Object scalar(MemorySegment bytes, long at, int type) {
    return switch (type) {
      case 0 -> (long) Byte.toUnsignedInt(bytes.get(ValueLayout.JAVA_BYTE, at));
      case 1 -> (long) bytes.get(ValueLayout.JAVA_BYTE, at);
      case 2 -> (long) Short.toUnsignedInt(bytes.get(SHORT, at));
      case 3 -> (long) bytes.get(SHORT, at);
      case 4 -> Integer.toUnsignedLong(bytes.get(INT, at));
      case 5 -> (long) bytes.get(INT, at);
      case 6 -> Float.intBitsToFloat(bytes.get(INT, at));
      case BOOL -> bytes.get(ValueLayout.JAVA_BYTE, at) != 0;
      case 10 -> {
        long value = bytes.get(LONG, at);
        if (value < 0) {
          yield new BigInteger(Long.toUnsignedString(value));
        }
        yield value;
      }
      case 11 -> bytes.get(LONG, at);
      case 12 -> Double.longBitsToDouble(bytes.get(LONG, at));
      default -> throw new AssertionError(type);
    };
  }

  private List<Object> array(String key, int depth) throws MalformedFileException {
    if (depth > MAX_DEPTH) {
      throw new MalformedFileException(
          file, key, "arrays nested deeper", "at most " + MAX_DEPTH + " within each other");
    }
    int type = type(key);
    int length = count(SIZES[type], key + " length");
    if (length == 0 || type != STRING && type != ARRAY) {
      return new Scalars(scalars(type, length, key), type);
    }
    if (length > MAX_ELEMENTS - elements) {
      throw new MalformedFileException(
          file,
          key,
          length + " texts or arrays after " + elements,
          "at most " + MAX_ELEMENTS + " in all");
    }
    elements += length;
    List<Object> list = new ArrayList<>(length);
    for (int i = 0; i < length; i++) {
      list.add(value(type, key, depth));
    }
    return Collections.unmodifiableList(list);
  }

  private MemorySegment scalars(int type, int length, String key) throws MalformedFileException {
    long size = (long) length * SIZES[type];
    MemorySegment slice = bytes.asSlice(take(size, key), size);
    // A copy, as the metadata outlives the mapping.
    return MemorySegment.ofArray(slice.toArray(ValueLayout.JAVA_BYTE));
  }

  /** Numbers as they lie in the file: boxed, a hostile file could make them many times larger. */
  static final class Scalars extends AbstractList<Object> {
    private final MemorySegment bytes;
    private final int type;

    Scalars(MemorySegment bytes, int type) {
      this.bytes = bytes;
      this.type = type;
    }

    /** The number of the elements' type; any, of an empty array. */
    int type() {
      return type;
    }

    byte[] bytes() {
      return bytes.toArray(ValueLayout.JAVA_BYTE);
    }

    @Override
    public Object get(int index) {
      return scalar(bytes, (long) index * SIZES[type], type);
    }

    @Override
    public int size() {
      return (int) (bytes.byteSize() / SIZES[type]);
    }
  }
}
