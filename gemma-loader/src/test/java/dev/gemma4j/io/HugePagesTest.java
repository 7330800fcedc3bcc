package dev.gemma4j.io;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIf;
import org.junit.jupiter.api.io.TempDir;

class HugePagesTest {
  private static final long LARGE = 5_000_001;

  static boolean kernelHasThem() {
    return Files.exists(Path.of("/sys/kernel/mm/transparent_hugepage/enabled"));
  }

  @Test
  void allocatesZeroedMemory() {
    try (Arena arena = Arena.ofConfined()) {
      for (long bytes : new long[] {0, 1, 100, (2 << 20) - 1, 2 << 20, LARGE}) {
        MemorySegment memory = HugePages.allocate(arena, bytes);
        assertThat(memory.byteSize()).isEqualTo(bytes);
        assertThat(memory.address() % 64).isZero();
        assertThat(memory.mismatch(MemorySegment.ofArray(new byte[(int) bytes]))).isEqualTo(-1);
        memory.fill((byte) 7); // all of it can be written
      }
    }
  }

  @Test
  @EnabledIf("kernelHasThem")
  void largeMemoryIsAdvised() throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      assertThat(HugePages.available()).isTrue(); // the build starts tests with that right
      assertThat(isAdvised(HugePages.allocate(arena, LARGE))).isTrue();
      assertThat(isAdvised(arena.allocate(LARGE))).isFalse();
    }
  }

  @Test
  @EnabledIf("kernelHasThem")
  void memoryGoesBackWithTheArena() throws IOException {
    MemorySegment memory;
    try (Arena arena = Arena.ofShared()) {
      memory = HugePages.allocate(arena, 1 << 30); // never touched
      assertThat(mappings(memory.address())).hasSize(1);
    }
    assertThatThrownBy(() -> memory.get(ValueLayout.JAVA_BYTE, 0))
        .isInstanceOf(IllegalStateException.class);
    assertThat(mappings(memory.address())).isEmpty();
  }

  @Test
  @EnabledIf("kernelHasThem")
  void aClosedArenaKeepsNothing() throws IOException {
    Arena closed = Arena.ofShared();
    closed.close();
    long before = advised();
    assertThatThrownBy(() -> HugePages.allocate(closed, LARGE))
        .isInstanceOf(IllegalStateException.class);
    assertThat(advised()).isEqualTo(before);
  }

  @Test
  void whatThereIsNotIsSaidAsJavaDoes() {
    try (Arena arena = Arena.ofConfined()) {
      assertThatThrownBy(() -> HugePages.allocate(arena, 1L << 46))
          .isInstanceOf(OutOfMemoryError.class);
    }
  }

  @Test
  @EnabledIf("kernelHasThem")
  void aLargeFileIsAdvised(@TempDir Path dir) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment small = sparse(dir.resolve("small"), 32 << 20, arena);
      MemorySegment large = sparse(dir.resolve("large"), 65 << 20, arena);
      HugePages.advise(small);
      HugePages.advise(large);
      assertThat(isAdvised(small)).isFalse();
      assertThat(isAdvised(large)).isTrue();
      assertThat(large.get(ValueLayout.JAVA_BYTE, 1 << 20)).isZero();
    }
  }

  /** What a program sees that does not give the right. */
  @Test
  void withoutNativeAccessItIsJavasMemoryAndSilent() throws Exception {
    List<String> command =
        List.of(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-cp",
            System.getProperty("java.class.path"),
            Denied.class.getName());
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String output = new String(process.getInputStream().readAllBytes(), UTF_8);
    assertThat(process.waitFor()).isZero();
    assertThat(output).isEqualTo("false " + LARGE + " 0");
  }

  static final class Denied {
    private Denied() {}

    public static void main(String... args) {
      try (Arena arena = Arena.ofConfined()) {
        MemorySegment memory = HugePages.allocate(arena, LARGE);
        System.out.print(HugePages.available() + " " + memory.byteSize() + " ");
        System.out.print(memory.get(ValueLayout.JAVA_BYTE, LARGE - 1));
      }
    }
  }

  private static MemorySegment sparse(Path file, long size, Arena arena) throws IOException {
    try (FileChannel channel =
        FileChannel.open(
            file, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      return channel.map(MapMode.READ_WRITE, 0, size, arena);
    }
  }

  private static boolean isAdvised(MemorySegment memory) throws IOException {
    List<String> mapping = mappings(memory.address());
    assertThat(mapping).hasSize(1);
    return mapping.getFirst().contains(" hg");
  }

  private static long advised() throws IOException {
    try (Stream<String> lines = Files.lines(Path.of("/proc/self/smaps"))) {
      return lines.filter(line -> line.startsWith("VmFlags:") && line.contains(" hg")).count();
    }
  }

  /** The flags (VmFlags) of the mapping of this process that has an address, if there is one. */
  private static List<String> mappings(long address) throws IOException {
    boolean inside = false;
    for (String line : Files.readAllLines(Path.of("/proc/self/smaps"))) {
      if (line.matches("[0-9a-f]+-[0-9a-f]+ .*")) {
        String[] range = line.substring(0, line.indexOf(' ')).split("-");
        inside =
            Long.compareUnsigned(Long.parseUnsignedLong(range[0], 16), address) <= 0
                && Long.compareUnsigned(address, Long.parseUnsignedLong(range[1], 16)) < 0;
      } else if (inside && line.startsWith("VmFlags:")) {
        return List.of(line);
      }
    }
    return List.of();
  }
}
