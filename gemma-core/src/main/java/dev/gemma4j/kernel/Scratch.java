package dev.gemma4j.kernel;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The buffers that one worker of the pool keeps between kernel calls; they only ever grow. */
public final class Scratch {
  private float[] panel = new float[0];
  private float[] scores = new float[0];
  private float[] input = new float[0];
  private MemorySegment aligned = MemorySegment.NULL;

  /** At least {@code size} floats for dequantised weights or a permuted input. */
  public float[] panel(int size) {
    if (panel.length < size) {
      panel = new float[size];
    }
    return panel;
  }

  /** At least {@code size} floats for a copied part of the input. */
  float[] input(int size) {
    if (input.length < size) {
      input = new float[size];
    }
    return input;
  }

  /** At least {@code size} floats for attention scores or sums. */
  public float[] scores(int size) {
    if (scores.length < size) {
      // Grows by doubling: a decode asks for one position more each step.
      scores = new float[Math.max(size, 2 * scores.length)];
    }
    return scores;
  }

  /**
   * At least {@code bytes} at a cache line's beginning: a vector load that crosses lines costs
   * twice, and arrays on the heap begin anywhere.
   */
  MemorySegment aligned(long bytes) {
    if (aligned.byteSize() < bytes) {
      aligned = Arena.ofAuto().allocate(bytes, 64);
    }
    return aligned;
  }
}
