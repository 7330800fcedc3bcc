package dev.gemma4j.bench;

import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;

/** What JMH shows beside operations per second: GB/s read and GFLOP/s done. */
@State(Scope.Thread)
@AuxCounters(AuxCounters.Type.OPERATIONS)
public class Rates {
  public double gigabytes;
  public double gigaflops;

  void add(double bytes, double flops) {
    gigabytes += bytes / 1e9;
    gigaflops += flops / 1e9;
  }
}
