package dev.gemma4j.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.loader.TensorType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * A mapped file that has become shorter is an error of the call that reads it, also while C2 has
 * compiled the JDK's vector methods by themselves, in which a fault ends the JVM.
 */
class KernelFaultTest {
  private static final int ROWS = 512;
  private static final int COLS = 2048;

  @TempDir Path dir;

  @ParameterizedTest
  @EnumSource(names = {"F32", "F16", "BF16", "Q8_0"}) // the others are packed
  @DisabledOnOs(OS.WINDOWS) // where a mapped file keeps its size
  void isAnError(TensorType type) throws IOException {
    Kernels kernels =
        KernelProvider.vectorAvailable() ? KernelProvider.vector() : KernelProvider.scalar();
    for (int batch : new int[] {1, 2, 8, 32}) {
      Path file = dir.resolve(type + "." + batch);
      Files.write(file, new byte[(int) type.byteSize((long) ROWS * COLS)]);
      try (FileChannel channel =
              FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE);
          Arena arena = Arena.ofConfined()) {
        MemorySegment data = channel.map(MapMode.READ_ONLY, 0, channel.size(), arena);
        Matrix w = new Matrix(type, ROWS, COLS, data);
        if (kernels.packs(type)) {
          return;
        }
        float[] x = new float[batch * COLS];
        float[] y = new float[batch * ROWS];
        Scratch scratch = new Scratch();
        for (int i = 0; i < 20; i++) {
          kernels.matmul(w, 0, ROWS, x, COLS, batch, y, ROWS, scratch);
        }
        assertThat(y).containsOnly(0);
        for (int percent = 90; percent >= 0; percent -= 10) {
          channel.truncate(data.byteSize() * percent / 100);
          assertThatThrownBy(() -> kernels.matmul(w, 0, ROWS, x, COLS, batch, y, ROWS, scratch))
              .isInstanceOf(InternalError.class)
              .hasMessageContaining("unsafe memory access");
        }
      }
    }
  }
}
