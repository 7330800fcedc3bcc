package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The entries of a mapped zip file that stores them uncompressed, so that each is a slice of the
 * mapping (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT). Of any size, which
 * java.util.zip's entries are not: it copies them.
 */
final class ZipArchive {
  private static final int END = 0x06054b50;
  private static final int END_BYTES = 22;
  private static final int END64 = 0x06064b50;
  private static final int LOCATOR64 = 0x07064b50;
  private static final int LOCATOR64_BYTES = 20;
  private static final int CENTRAL = 0x02014b50;
  private static final int CENTRAL_BYTES = 46;
  private static final int LOCAL = 0x04034b50;
  private static final int LOCAL_BYTES = 30;
  private static final int MAX_COMMENT = 0xffff;
  private static final int ZIP64_EXTRA = 1;

  /** The largest checkpoints have some hundred entries. */
  private static final int MAX_ENTRIES = 1 << 16;

  private static final int MAX_NAME = 512;

  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfLong LONG =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private final String file;
  private final MemorySegment bytes;

  private ZipArchive(String file, MemorySegment bytes) {
    this.file = file;
    this.bytes = bytes;
  }

  /** The bytes of each entry by its name, in the order of the directory. */
  static Map<String, MemorySegment> entries(String file, MemorySegment bytes)
      throws MalformedFileException {
    return new ZipArchive(file, bytes).entries();
  }

  private int u16(long at) {
    return Short.toUnsignedInt(bytes.get(SHORT, at));
  }

  private long u32(long at) {
    return Integer.toUnsignedLong(bytes.get(INT, at));
  }

  private MalformedFileException malformed(String field, String found, String expected) {
    return new MalformedFileException(file, field, found, expected);
  }

  private void require(long at, long size, String field) throws MalformedFileException {
    if (at < 0 || size < 0 || at > bytes.byteSize() || size > bytes.byteSize() - at) {
      throw malformed(
          field,
          Long.toUnsignedString(size) + " bytes at offset " + Long.toUnsignedString(at),
          "an end within the file of " + bytes.byteSize());
    }
  }

  private Map<String, MemorySegment> entries() throws MalformedFileException {
    long end = findEnd();
    long count = u16(end + 10);
    long at = u32(end + 16);
    long locator = end - LOCATOR64_BYTES;
    if (locator >= 0 && bytes.get(INT, locator) == LOCATOR64) {
      long end64 = bytes.get(LONG, locator + 8);
      require(end64, 56, "zip64 end");
      if (bytes.get(INT, end64) != END64) {
        throw malformed("zip64 end", "no signature at offset " + end64, "one");
      }
      count = bytes.get(LONG, end64 + 32);
      at = bytes.get(LONG, end64 + 48);
    }
    if (count < 0 || count > MAX_ENTRIES) {
      throw malformed("entries", Long.toUnsignedString(count), "at most " + MAX_ENTRIES);
    }
    Map<String, MemorySegment> entries = new LinkedHashMap<>();
    for (int i = 0; i < count; i++) {
      String field = "directory entry " + i;
      require(at, CENTRAL_BYTES, field);
      if (bytes.get(INT, at) != CENTRAL) {
        throw malformed(field, "no signature at offset " + at, "one");
      }
      int nameBytes = u16(at + 28);
      int extraBytes = u16(at + 30);
      require(at + CENTRAL_BYTES, nameBytes + extraBytes, field);
      if (nameBytes > MAX_NAME) {
        throw malformed(field, "a name of " + nameBytes + " bytes", "at most " + MAX_NAME);
      }
      String name =
          new String(
              bytes.asSlice(at + CENTRAL_BYTES, nameBytes).toArray(ValueLayout.JAVA_BYTE),
              StandardCharsets.UTF_8);
      MemorySegment data = data("entry " + name, at, at + CENTRAL_BYTES + nameBytes, extraBytes);
      if (entries.put(name, data) != null) {
        throw malformed("entry " + name, "a second one", "one");
      }
      at += CENTRAL_BYTES + nameBytes + extraBytes + u16(at + 32);
    }
    return entries;
  }

  /** The end record's offset: it is last, but for a comment. */
  private long findEnd() throws MalformedFileException {
    long last = bytes.byteSize() - END_BYTES;
    for (long at = last; at >= Math.max(0, last - MAX_COMMENT); at--) {
      if (bytes.get(INT, at) == END) {
        return at;
      }
    }
    throw malformed("end record", "none", "a zip file's");
  }

  private MemorySegment data(String field, long central, long extra, int extraBytes)
      throws MalformedFileException {
    int method = u16(central + 10);
    if (method != 0) {
      throw malformed(field, "compression method " + method, "0, which is none");
    }
    if ((u16(central + 8) & 1) != 0) {
      throw malformed(field, "an encrypted one", "one in the clear");
    }
    long stored = u32(central + 20);
    long size = u32(central + 24);
    long local = u32(central + 42);
    // Of the three, those that do not fit into 32 bits stand in an extra field, in this order.
    long wide = zip64(extra, extraBytes);
    long wideEnd = wide < 0 ? 0 : wide + u16(wide - 2);
    long[] values = {size, stored, local};
    for (int i = 0; i < values.length; i++) {
      if (values[i] == 0xffff_ffffL && wide >= 0 && wide + 8 <= wideEnd) {
        values[i] = bytes.get(LONG, wide);
        wide += 8;
      }
    }
    if (values[0] != values[1]) {
      throw malformed(field, values[1] + " bytes for " + values[0], "as many");
    }
    require(values[2], LOCAL_BYTES, field);
    if (bytes.get(INT, values[2]) != LOCAL) {
      throw malformed(field, "no signature at offset " + values[2], "one");
    }
    long start = values[2] + LOCAL_BYTES + u16(values[2] + 26) + u16(values[2] + 28);
    require(start, values[0], field);
    return bytes.asSlice(start, values[0]);
  }

  /** Where the zip64 values of an extra field begin, whole within it; or -1. */
  private long zip64(long at, int size) {
    long end = at + size;
    while (at + 4 <= end) {
      int length = u16(at + 2);
      if (u16(at) == ZIP64_EXTRA) {
        return at + 4 + length <= end ? at + 4 : -1;
      }
      at += 4 + length;
    }
    return -1;
  }
}
