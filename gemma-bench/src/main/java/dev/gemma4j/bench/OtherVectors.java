package dev.gemma4j.bench;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;

/**
 * An application that uses the Vector API for itself: what C2 learns of the JDK's methods there, it
 * applies to the library's kernels.
 */
final class OtherVectors {
  private static final int SIZE = 1 << 20;
  private static final int ROUNDS = 30;
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

  private OtherVectors() {}

  /** Reads vectors and numbers from memory, a mapped file and arrays, until C2 has compiled it. */
  static void read() throws IOException {
    Path file = Files.createTempFile("vectors", null);
    try (Arena arena = Arena.ofConfined();
        FileChannel channel =
            FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      List<MemorySegment> segments =
          List.of(
              MemorySegment.ofArray(new byte[SIZE]),
              MemorySegment.ofArray(new int[SIZE / Integer.BYTES]),
              channel.map(MapMode.READ_WRITE, 0, SIZE, arena),
              arena.allocate(SIZE));
      float sum = 0;
      for (int i = 0; i < ROUNDS; i++) {
        for (MemorySegment segment : segments) {
          sum += read(segment);
        }
      }
      if (sum != 0) {
        throw new IllegalStateException("zeros have the sum " + sum);
      }
    } finally {
      Files.delete(file);
    }
  }

  private static float read(MemorySegment segment) {
    float sum = 0;
    for (long i = 0; i < SIZE; i += 64) { // the longest vector
      sum += FloatVector.fromMemorySegment(FloatVector.SPECIES_PREFERRED, segment, i, LE).lane(0);
      sum += IntVector.fromMemorySegment(IntVector.SPECIES_PREFERRED, segment, i, LE).lane(0);
      sum += ShortVector.fromMemorySegment(ShortVector.SPECIES_PREFERRED, segment, i, LE).lane(0);
      sum += ByteVector.fromMemorySegment(ByteVector.SPECIES_PREFERRED, segment, i, LE).lane(0);
      sum += segment.get(ValueLayout.JAVA_SHORT_UNALIGNED, i);
    }
    return sum;
  }
}
