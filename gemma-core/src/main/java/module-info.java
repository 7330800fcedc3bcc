/**
 * Gemma on the JVM: the forward pass, sessions, sampling and chat. {@link dev.gemma4j.Gemma} is
 * where to start.
 */
module dev.gemma4j {
  requires transitive dev.gemma4j.loader;
  requires com.fasterxml.jackson.core;
  requires jdk.jfr;
  requires org.slf4j;
  requires static transitive org.jspecify;
  // Absent unless the JVM runs with --add-modules jdk.incubator.vector; the scalar kernels serve
  // then.
  requires static jdk.incubator.vector;

  exports dev.gemma4j;
  exports dev.gemma4j.constraint;
  exports dev.gemma4j.sampling;
}
