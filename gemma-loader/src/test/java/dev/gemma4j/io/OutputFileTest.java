package dev.gemma4j.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedByInterruptException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

class OutputFileTest {
  @TempDir Path dir;

  private Path write(String name, String text) throws IOException {
    Path file = dir.resolve(name);
    OutputFile.write(file, out -> out.write(ByteBuffer.wrap(text.getBytes("UTF-8"))));
    return file;
  }

  private List<Path> files() throws IOException {
    try (var files = Files.list(dir)) {
      return files.toList();
    }
  }

  @Test
  void writesOrReplacesAWholeFile() throws IOException {
    assertThat(write("file", "first")).hasContent("first");
    assertThat(write("file", "second")).hasContent("second");
    assertThat(files()).containsExactly(dir.resolve("file"));
  }

  @Test
  void untilAllIsWrittenTheOldFileIsThere() throws IOException {
    Path file = write("file", "old");
    OutputFile.write(
        file,
        out -> {
          out.write(ByteBuffer.wrap(new byte[5]));
          assertThat(out.position()).isEqualTo(5);
          assertThat(file).hasContent("old");
        });
    assertThat(file).hasSize(5);
  }

  @Test
  void whatTheContentThrowsLeavesTheOldFile() throws IOException {
    Path file = write("file", "old");
    IOException cause = new IOException("no");
    assertThatThrownBy(
            () ->
                OutputFile.write(
                    file,
                    out -> {
                      out.write(ByteBuffer.wrap(new byte[5]));
                      throw cause;
                    }))
        .isSameAs(cause);
    assertThat(file).hasContent("old");
    assertThat(files()).containsExactly(file);
  }

  @Test
  void anInterruptLeavesTheOldFile() throws IOException {
    Path file = write("file", "old");
    Thread.currentThread().interrupt();
    try {
      assertThatThrownBy(() -> write("file", "new")).isInstanceOf(ClosedByInterruptException.class);
    } finally {
      assertThat(Thread.interrupted()).isTrue();
    }
    assertThat(file).hasContent("old");
    assertThat(files()).containsExactly(file);
  }

  @Test
  void placesWhereNoFileCanBeAreNamed() throws IOException {
    Path missing = dir.resolve("none/file");
    assertThatThrownBy(() -> OutputFile.write(missing, out -> {}))
        .isExactlyInstanceOf(IOException.class) // not of a file to read
        .hasMessage(missing + ": cannot be written: there is no directory " + missing.getParent());
    assertThatThrownBy(() -> OutputFile.write(dir, out -> {}))
        .isExactlyInstanceOf(IOException.class)
        .hasMessage(dir + ": cannot be written: it is no regular file");
  }

  @Test
  @EnabledOnOs(OS.LINUX)
  void theReasonIsTold() {
    Path file = Path.of("/sys/file"); // where not even root may create one
    assertThatThrownBy(() -> OutputFile.write(file, out -> {}))
        .isInstanceOf(IOException.class)
        .hasMessageMatching("/sys/file: cannot be written: [^/]+");
  }

  @Test
  @DisabledOnOs(OS.WINDOWS)
  void aLinkStaysOne() throws IOException {
    Path file = write("file", "old");
    Path link = Files.createSymbolicLink(dir.resolve("link"), file);
    write("link", "new");
    assertThat(link).isSymbolicLink();
    assertThat(file).hasContent("new");
  }

  @Test
  @DisabledOnOs(OS.WINDOWS)
  void whoMayReadItIsUpToTheUmask() throws IOException {
    Path other = Files.createFile(dir.resolve("other"));
    assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(write("file", ""))))
        .isEqualTo(PosixFilePermissions.toString(Files.getPosixFilePermissions(other)));
  }
}
