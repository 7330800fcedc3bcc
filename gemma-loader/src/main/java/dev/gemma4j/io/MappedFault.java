package dev.gemma4j.io;

/** What the JVM throws for memory of a mapped file that the file no longer has. */
public final class MappedFault {
  private MappedFault() {}

  /** Whether it is one, by the JVM's words; any other internal error is not ours to explain. */
  public static boolean is(InternalError e) {
    return String.valueOf(e.getMessage()).contains("unsafe memory access");
  }
}
