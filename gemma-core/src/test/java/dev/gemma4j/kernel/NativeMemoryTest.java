package dev.gemma4j.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.loader.TensorType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class NativeMemoryTest {
  @TempDir private Path directory;

  @Test
  void aMatrixOfAMappedFileIsOfTheClassThatKernelsKnow() throws IOException {
    byte[] bytes = new byte[69];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) i;
    }
    Path file = Files.write(directory.resolve("weights"), bytes);
    MemorySegment data;
    try (Arena arena = Arena.ofShared();
        FileChannel channel = FileChannel.open(file)) {
      MemorySegment mapped = channel.map(MapMode.READ_ONLY, 0, bytes.length, arena);
      MemorySegment part = mapped.asSlice(1, 68); // at an odd address
      data = new Matrix(TensorType.Q8_0, 2, 32, part).data();
      assertThat(NativeMemory.known(data)).isSameAs(data);
      assertThat(data.address()).isEqualTo(part.address());
      assertThat(data.byteSize()).isEqualTo(68);
      assertThat(data.isReadOnly()).isTrue();
      assertThat(data.toArray(ValueLayout.JAVA_BYTE))
          .isEqualTo(part.toArray(ValueLayout.JAVA_BYTE));
      assertThatThrownBy(() -> NativeMemory.known(mapped))
          .isInstanceOf(IllegalArgumentException.class);
    }
    assertThatThrownBy(() -> data.get(ValueLayout.JAVA_BYTE, 0))
        .as("it lives no longer than what it was mapped for")
        .isInstanceOf(IllegalStateException.class);
  }

  @Test
  void memoryStaysAsItIs() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment memory = arena.allocate(64);
      assertThat(NativeMemory.of(memory)).isSameAs(memory);
      assertThat(NativeMemory.known(memory)).isSameAs(memory);
    }
    MemorySegment array = MemorySegment.ofArray(new byte[64]);
    assertThat(NativeMemory.of(array)).isSameAs(array);
    assertThatThrownBy(() -> NativeMemory.known(array))
        .isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  void moreThanABufferHoldsIsReadInPlaceWithNativeAccess() throws IOException {
    Path file = directory.resolve("large");
    Arena arena = Arena.ofShared();
    try (FileChannel channel =
        FileChannel.open(
            file,
            StandardOpenOption.CREATE_NEW,
            StandardOpenOption.SPARSE,
            StandardOpenOption.READ,
            StandardOpenOption.WRITE)) {
      long size = (1L << 31) + 64;
      MemorySegment mapped = channel.map(MapMode.READ_WRITE, 0, size, arena); // of holes
      mapped.set(ValueLayout.JAVA_FLOAT, size - 4, 3);
      MemorySegment plain = NativeMemory.of(mapped.asReadOnly());
      assertThat(NativeMemory.class.getModule().isNativeAccessEnabled()).isTrue();
      assertThat(NativeMemory.known(plain).address()).isEqualTo(mapped.address());
      assertThat(plain.byteSize()).isEqualTo(size);
      assertThat(plain.isReadOnly()).isTrue();
      assertThat(plain.get(ValueLayout.JAVA_FLOAT, size - 4)).isEqualTo(3);
      assertThat(NativeMemory.of(mapped.asSlice(0, 15)).isMapped()).isFalse(); // odd
      arena.close();
      assertThatThrownBy(() -> plain.get(ValueLayout.JAVA_FLOAT, 0))
          .isInstanceOf(IllegalStateException.class);
    } finally {
      if (arena.scope().isAlive()) {
        arena.close();
      }
    }
  }
}
