package dev.gemma4j.kernel;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;

/**
 * Memory off the heap as segments of one class, which loops that read them know.
 *
 * <p>A segment's class is one of the JDK's own: for memory, for mapped files, for each kind of
 * array. Without more, C2 takes it from what the JDK's methods have met anywhere in the process,
 * and compiles each load for all of them. That is more than it inlines in a kernel, which then
 * makes an object of each vector: products took three to ten times as long beside a model whose
 * weights lay elsewhere, or after vectors that the application itself had read from arrays.
 */
final class NativeMemory {
  private static final Class<?> CLASS = Arena.global().allocate(Long.BYTES).getClass();

  /** As many bytes as the JDK makes a buffer of. */
  private static final long BUFFER = Integer.MAX_VALUE - 8;

  private NativeMemory() {}

  /**
   * The same memory, no longer of the class of mapped files. More than 2 GB of a file stay as they
   * are, as no buffer holds them, unless this module has the right to native access.
   */
  @SuppressWarnings("restricted") // asks for the right to
  static MemorySegment of(MemorySegment segment) {
    if (!segment.isMapped()) {
      return segment;
    }
    if (segment.byteSize() <= BUFFER && segment.byteSize() % Short.BYTES == 0) {
      // The JDK does not take a view of a buffer as numbers for mapped.
      return MemorySegment.ofBuffer(
          segment.asByteBuffer().order(ByteOrder.nativeOrder()).asShortBuffer());
    }
    return NativeMemory.class.getModule().isNativeAccessEnabled()
        ? segment.reinterpret(segment.byteSize())
        : segment;
  }

  /**
   * The segment itself, whose class C2 knows from here on. For a method that loops over it to call
   * before the loop.
   *
   * @throws IllegalArgumentException when it is of another class, as a mapped one that {@link #of}
   *     left so
   */
  static MemorySegment known(MemorySegment segment) {
    if (segment.getClass() != CLASS) { // not a choice of two ways, which would meet again
      throw new IllegalArgumentException("kernels read no " + segment);
    }
    return segment;
  }
}
