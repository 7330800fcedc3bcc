package dev.gemma4j.loader;

import dev.gemma4j.io.HugePages;
import dev.gemma4j.io.MappedFault;
import dev.gemma4j.io.OutputFile;
import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.stream.Stream;

/** Opens files, with errors that say what is wrong with them. */
final class InputFile {
  private static final long MAX_TEXT = 16 << 20;

  private InputFile() {}

  /** Maps the whole file, however large. */
  static MemorySegment map(Path path, Arena arena) throws IOException {
    requireFile(path);
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      MemorySegment bytes = channel.map(MapMode.READ_ONLY, 0, channel.size(), arena);
      HugePages.advise(bytes);
      return bytes;
    } catch (ClosedByInterruptException e) {
      throw e;
    } catch (IOException e) { // that of mapping does not name the file
      throw unreadable(path, e);
    }
  }

  /** Understands the bytes of a mapped file. */
  interface Parser<T> {
    T parse(MemorySegment bytes) throws IOException;
  }

  /** Maps a file and parses it; it may become shorter meanwhile. */
  static <T> T parse(Path path, Arena arena, Parser<T> parser) throws IOException {
    MemorySegment bytes = map(path, arena);
    try {
      return parser.parse(bytes);
    } catch (InternalError e) {
      throw shrunk(path.toString(), e);
    }
  }

  /**
   * What to throw for the error that reading a mapped page raises when the file no longer has it.
   */
  static IOException shrunk(String file, InternalError e) {
    if (!MappedFault.is(e)) {
      throw e;
    }
    IOException result = shrunk(file);
    result.initCause(e);
    return result;
  }

  static IOException shrunk(String file) {
    return new MalformedFileException(
        file, "size", "less than when it was opened", "a file that does not change");
  }

  /** The bytes of a file that configures, so that it has no reason to be large. */
  static byte[] readText(Path path) throws IOException {
    return read(path, MAX_TEXT);
  }

  /** All bytes of a file of at most so many; not of an empty one. */
  static byte[] read(Path path, long max) throws IOException {
    InputStream in = open(path, max);
    try (in) {
      // The size that the system tells is not always true: /proc has files that never end.
      byte[] bytes = in.readNBytes((int) Math.min(max + 1, Integer.MAX_VALUE));
      if (bytes.length > max) {
        throw tooLarge(path, "more than " + max, max);
      }
      return bytes;
    } catch (MalformedFileException | ClosedByInterruptException e) {
      throw e;
    } catch (IOException e) {
      throw unreadable(path, e);
    }
  }

  /** Opens a file of at most so many bytes; not an empty one. */
  static InputStream open(Path path, long max) throws IOException {
    requireFile(path);
    try {
      long size = Files.size(path);
      if (size > max) {
        throw tooLarge(path, String.valueOf(size), max);
      }
      if (size == 0) { // as of those of /proc that block for ever
        throw new MalformedFileException(path.toString(), "size", "0 bytes", "some");
      }
      return Files.newInputStream(path);
    } catch (FileSystemException e) {
      throw unreadable(path, e);
    }
  }

  private static MalformedFileException tooLarge(Path path, String bytes, long max) {
    return new MalformedFileException(path.toString(), "size", bytes + " bytes", "at most " + max);
  }

  static List<Path> withExtension(Path directory, String extension) throws IOException {
    try (Stream<Path> files = Files.list(directory)) {
      return files.filter(file -> file.toString().endsWith(extension)).sorted().toList();
    } catch (FileSystemException e) {
      throw unreadable(directory, e);
    }
  }

  static void requireFile(Path path) throws IOException {
    if (!Files.exists(path)) {
      throw new MalformedFileException(path.toString(), "file", "nothing", "a file");
    }
    // A pipe would block, a directory fail in words of its own.
    if (!Files.isRegularFile(path)) {
      throw new MalformedFileException(path.toString(), "file", "something else", "a regular file");
    }
  }

  /** What to throw for an error that may not name the file. */
  static IOException unreadable(Path path, IOException e) {
    return new IOException(path + ": cannot be read: " + OutputFile.reason(e), e);
  }
}
