package dev.gemma4j.io;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.FileChannel;
import java.nio.channels.WritableByteChannel;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.ThreadLocalRandom;
import org.jspecify.annotations.Nullable;

/**
 * A file that appears under its name only when all of it is written and on the disk, in place of
 * what was there. Nothing remains of an attempt that fails.
 */
public final class OutputFile implements WritableByteChannel {
  private final Path path;
  private final FileChannel temporary;
  private long position;

  private OutputFile(Path path, FileChannel temporary) {
    this.path = path;
    this.temporary = temporary;
  }

  /** Writes the bytes. */
  @FunctionalInterface
  public interface Content {
    /**
     * Writes them.
     *
     * @throws IOException what is thrown leaves no file
     */
    void write(OutputFile out) throws IOException;
  }

  /**
   * Writes a file, or replaces one.
   *
   * @throws ClosedByInterruptException when the thread is interrupted
   * @throws IOException when it cannot be written, which names it and the reason, such as that its
   *     directory is missing; and what the content throws
   */
  public static void write(Path path, Content content) throws IOException {
    if (Files.exists(path) && !Files.isRegularFile(path)) {
      throw unwritable(path, "it is no regular file", null);
    }
    Path target =
        Files.exists(path) ? path.toRealPath() : path.toAbsolutePath(); // not a link to it
    Path directory = target.getParent();
    if (directory == null || !Files.isDirectory(directory)) {
      throw unwritable(path, "there is no directory " + directory, null);
    }
    // Not createTempFile, which lets nobody else read it, whatever the umask.
    String random = Long.toUnsignedString(ThreadLocalRandom.current().nextLong(), 36);
    Path temporary = directory.resolve("." + target.getFileName() + "." + random + ".tmp");
    try {
      try (FileChannel channel = create(temporary, path)) {
        OutputFile out = new OutputFile(path, channel);
        content.write(out);
        out.force();
      }
      move(temporary, target, path);
    } catch (Throwable t) {
      delete(temporary, t);
      throw t;
    }
  }

  private static FileChannel create(Path temporary, Path path) throws IOException {
    try {
      return FileChannel.open(temporary, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
    } catch (IOException e) {
      throw unwritable(path, e);
    }
  }

  private void force() throws IOException {
    try {
      temporary.force(true);
    } catch (IOException e) {
      throw unwritable(path, e);
    }
  }

  private static void move(Path temporary, Path target, Path path) throws IOException {
    try {
      Files.move(
          temporary, target, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    } catch (IOException e) {
      throw unwritable(path, e);
    }
  }

  private static void delete(Path file, Throwable cause) {
    try {
      Files.deleteIfExists(file);
    } catch (IOException e) {
      cause.addSuppressed(e);
    }
  }

  /** All bytes that remain. */
  @Override
  public int write(ByteBuffer bytes) throws IOException {
    int length = bytes.remaining();
    try {
      while (bytes.hasRemaining()) {
        temporary.write(bytes);
      }
    } catch (IOException e) {
      throw unwritable(path, e);
    }
    position += length;
    return length;
  }

  /** How many bytes were written. */
  public long position() {
    return position;
  }

  @Override
  public boolean isOpen() {
    return temporary.isOpen();
  }

  /** Whoever made it closes it, when it is whole. */
  @Override
  public void close() {}

  private static IOException unwritable(Path path, IOException e) {
    return e instanceof ClosedByInterruptException ? e : unwritable(path, reason(e), e);
  }

  private static IOException unwritable(Path path, String reason, @Nullable IOException cause) {
    return new IOException(path + ": cannot be written: " + reason, cause);
  }

  /** What went wrong with a file, without its name. */
  public static String reason(IOException e) {
    if (e instanceof AccessDeniedException) {
      return "access denied";
    }
    String reason = e instanceof FileSystemException f ? f.getReason() : e.getMessage();
    return reason == null ? e.getClass().getSimpleName() : reason;
  }
}
