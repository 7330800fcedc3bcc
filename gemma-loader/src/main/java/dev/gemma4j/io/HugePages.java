package dev.gemma4j.io;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

/**
 * Weights in the large pages of Linux (2 MB on most machines). Every weight is read for every
 * token, and what is mapped of a file is read faster where neighbours lie together in memory; and
 * there are fewer pages to set up when they are first touched.
 *
 * <p>The kernel gives large pages to who asks ({@code madvise}, "transparent huge pages"), which
 * Java has no method for. So this works where the JVM lets this module call the C library
 * (--enable-native-access); everywhere else memory is what Java gives, and nothing is reported.
 *
 * @see <a href="https://docs.kernel.org/admin-guide/mm/transhuge.html">transhuge.html</a>
 * @see <a href="https://man7.org/linux/man-pages/man2/madvise.2.html">madvise(2)</a>
 */
@SuppressWarnings("restricted") // available() asks for the right to
public final class HugePages {
  private static final long SIZE = 2 << 20;

  // The first call of a C function takes a JVM a tenth of a second, more than small models gain.
  private static final long MIN_MAPPED = 64 << 20;

  // The same on all of Linux's architectures that have a 64-bit JVM.
  private static final int PROT_READ_WRITE = 1 | 2;
  private static final int MAP_PRIVATE_ANONYMOUS = 2 | 0x20;
  private static final int MADV_HUGEPAGE = 14;

  private HugePages() {}

  /** Whether the system is asked for them at all; it may still have none. */
  public static boolean available() {
    // Asking for a method handle without that right would print a warning.
    return System.getProperty("os.name").equals("Linux")
        && HugePages.class.getModule().isNativeAccessEnabled();
  }

  /**
   * Zeroed memory that lives as long as the arena, at a cache line's beginning. What is large is
   * asked for in large pages, and the system sets a page up when it is first touched, so that
   * threads that fill parts share that work; it does not count for {@code -XX:MaxDirectMemorySize}.
   *
   * @throws OutOfMemoryError when there is not so much memory
   * @throws IllegalStateException when the arena is closed
   */
  public static MemorySegment allocate(Arena arena, long bytes) {
    if (bytes >= SIZE && available()) {
      // Begins where a page does; a large one is seldom where the system puts memory.
      long mapped = Math.addExact(bytes, SIZE);
      long at = Native.mmap(mapped);
      if (at != -1) {
        long aligned = (at + SIZE - 1) / SIZE * SIZE;
        Native.advise(aligned, bytes);
        try {
          return MemorySegment.ofAddress(aligned)
              .reinterpret(bytes, arena, segment -> Native.munmap(at, mapped));
        } catch (RuntimeException e) { // the arena is closed, or another thread's
          Native.munmap(at, mapped);
          throw e;
        }
      }
    }
    return arena.allocate(bytes, 64);
  }

  /**
   * Asks that what is not in the page cache yet comes there in large pages; what is there stays as
   * it is. XFS has such pages, and ext4 from Linux 6.16 on; elsewhere nothing changes.
   *
   * @param file all of a mapped file
   */
  public static void advise(MemorySegment file) {
    if (file.byteSize() >= MIN_MAPPED && available()) {
      Native.advise(file.address(), file.byteSize());
    }
  }

  /** Apart, so that nothing is looked up before it is needed. */
  private static final class Native {
    private static final MethodHandle MMAP =
        function(
            "mmap",
            FunctionDescriptor.of(
                ValueLayout.JAVA_LONG,
                ValueLayout.JAVA_LONG,
                ValueLayout.JAVA_LONG,
                ValueLayout.JAVA_INT,
                ValueLayout.JAVA_INT,
                ValueLayout.JAVA_INT,
                ValueLayout.JAVA_LONG));
    private static final MethodHandle MUNMAP =
        function(
            "munmap",
            FunctionDescriptor.of(
                ValueLayout.JAVA_INT, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG));
    private static final MethodHandle MADVISE =
        function(
            "madvise",
            FunctionDescriptor.of(
                ValueLayout.JAVA_INT,
                ValueLayout.JAVA_LONG,
                ValueLayout.JAVA_LONG,
                ValueLayout.JAVA_INT));

    private static MethodHandle function(String name, FunctionDescriptor type) {
      SymbolLookup libc = Linker.nativeLinker().defaultLookup();
      return Linker.nativeLinker().downcallHandle(libc.findOrThrow(name), type);
    }

    /** The address, or -1. */
    static long mmap(long bytes) {
      try {
        return (long) MMAP.invokeExact(0L, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0L);
      } catch (Throwable e) {
        throw new AssertionError(e); // C functions throw nothing
      }
    }

    static void munmap(long at, long bytes) {
      try {
        int ignored = (int) MUNMAP.invokeExact(at, bytes);
      } catch (Throwable e) {
        throw new AssertionError(e);
      }
    }

    /** A kernel without large pages refuses, which does no harm. */
    static void advise(long at, long bytes) {
      try {
        int ignored = (int) MADVISE.invokeExact(at, bytes, MADV_HUGEPAGE);
      } catch (Throwable e) {
        throw new AssertionError(e);
      }
    }
  }
}
