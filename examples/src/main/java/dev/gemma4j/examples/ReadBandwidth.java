package dev.gemma4j.examples;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.LongAdder;

/** How fast this machine reads memory: what bounds the decoding of one sequence. */
final class ReadBandwidth {
  private static final long BYTES = 1L << 30; // beyond any last-level cache
  private static final int PASSES = 7;
  private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED;

  private ReadBandwidth() {}

  /** The median of some passes, each thread reading its own part. */
  static double gigabytesPerSecond(int threads) {
    LongAdder sink = new LongAdder(); // keeps the reads from being optimised away
    double[] rates = new double[PASSES];
    try (Arena arena = Arena.ofShared()) {
      MemorySegment buffer = arena.allocate(BYTES, 64);
      buffer.fill((byte) 1);
      sink.add(sum(buffer.asSlice(0, BYTES / 16))); // the JIT's turn
      for (int pass = 0; pass < PASSES; pass++) {
        long start = System.nanoTime();
        List<Thread> team = new ArrayList<>();
        for (int i = 0; i < threads; i++) {
          long from = BYTES / threads * i / 64 * 64;
          long size = BYTES / threads / 64 * 64;
          MemorySegment part = buffer.asSlice(from, size);
          team.add(Thread.ofPlatform().start(() -> sink.add(sum(part))));
        }
        for (Thread thread : team) {
          join(thread);
        }
        rates[pass] = BYTES / 1e9 / ((System.nanoTime() - start) / 1e9);
      }
    }
    Arrays.sort(rates);
    return sink.sum() == 0 ? 0 : rates[PASSES / 2];
  }

  private static void join(Thread thread) {
    try {
      thread.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  private static long sum(MemorySegment part) {
    long total = 0;
    // In pieces, so that the inner loop counts in an int and the JIT vectorises it.
    for (long from = 0; from < part.byteSize(); from += 1 << 20) {
      MemorySegment piece = part.asSlice(from, Math.min(1 << 20, part.byteSize() - from));
      total += pieceSum(piece, (int) (piece.byteSize() / 64));
    }
    return total;
  }

  private static long pieceSum(MemorySegment piece, int lines) {
    long a = 0;
    long b = 0;
    long c = 0;
    long d = 0;
    for (int i = 0; i < lines; i++) {
      long at = 64L * i;
      a += piece.get(LONG, at) + piece.get(LONG, at + 8);
      b += piece.get(LONG, at + 16) + piece.get(LONG, at + 24);
      c += piece.get(LONG, at + 32) + piece.get(LONG, at + 40);
      d += piece.get(LONG, at + 48) + piece.get(LONG, at + 56);
    }
    return a + b + c + d;
  }
}
