package dev.gemma4j.loader;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.stream.Stream;

/** Finds, copies and makes files for tests. Resources come from ../shared/reference at the time. */
final class TestFiles {
  private TestFiles() {}

  static Path resource(String name) {
    URL url = TestFiles.class.getResource(name);
    assertThat(url).as(name).isNotNull();
    try {
      return Path.of(url.toURI());
    } catch (URISyntaxException e) {
      throw new AssertionError(e);
    }
  }

  /** A copy of a directory that a test may spoil. */
  static Path copy(String name, Path target) throws IOException {
    Path source = resource(name);
    Files.createDirectories(target);
    try (Stream<Path> files = Files.list(source)) {
      for (Path file : files.toList()) {
        Files.copy(file, target.resolve(file.getFileName()), StandardCopyOption.REPLACE_EXISTING);
      }
    }
    return target;
  }

  static void replace(Path file, String from, String to) throws IOException {
    String text = Files.readString(file);
    assertThat(text).contains(from);
    Files.writeString(file, text.replace(from, to));
  }

  static byte[] safetensors(String header, int dataBytes) {
    byte[] json = header.getBytes(StandardCharsets.UTF_8);
    return ByteBuffer.allocate(8 + json.length + dataBytes)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putLong(json.length)
        .put(json)
        .array();
  }

  /** Writes GGUF's primitives. */
  static final class Gguf {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();

    Gguf(int version, long tensors, long pairs) {
      out.writeBytes("GGUF".getBytes(StandardCharsets.US_ASCII));
      int32(version).int64(tensors).int64(pairs);
    }

    Gguf int32(int value) {
      out.writeBytes(ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(value).array());
      return this;
    }

    Gguf int64(long value) {
      out.writeBytes(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(value).array());
      return this;
    }

    Gguf string(String text) {
      byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
      int64(bytes.length);
      out.writeBytes(bytes);
      return this;
    }

    Gguf uint32(String key, int value) {
      return string(key).int32(4).int32(value);
    }

    Gguf text(String key, String value) {
      return string(key).int32(8).string(value);
    }

    Gguf tensor(String name, int type, long offset, Long... dims) {
      string(name).int32(dims.length);
      List.of(dims).forEach(this::int64);
      return int32(type).int64(offset);
    }

    Gguf bytes(int... values) {
      for (int value : values) {
        out.write(value);
      }
      return this;
    }

    int size() {
      return out.size();
    }

    byte[] done(int dataBytes) {
      out.writeBytes(new byte[-out.size() & 31]);
      out.writeBytes(new byte[dataBytes]);
      return out.toByteArray();
    }
  }
}
