package dev.gemma4j.kernel;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The buffers that one worker of the pool keeps between kernel calls; they only ever grow. */
public final class Scratch {
  private float[] panel = new float[0];
  private float[] scores = new float[0];
  private float[] input = new float[0];
  private float[][] rows = new float[0][];
  private float[][] sums = new float[0][];
  private float[][] factors = new float[0][];
  private short[] shorts = new short[0];
  private int[] ints = new int[0];
  private int[] bits = new int[0];
  private int kept;
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

  /** At least {@code count} arrays of at least {@code size} floats each. */
  float[][] rows(int count, int size) {
    rows = grown(rows, count, size);
    return rows;
  }

  /** More of these. */
  float[][] sums(int count, int size) {
    sums = grown(sums, count, size);
    return sums;
  }

  /** More of these, for scales. */
  float[][] factors(int count, int size) {
    factors = grown(factors, count, size);
    return factors;
  }

  private static float[][] grown(float[][] arrays, int count, int size) {
    if (arrays.length >= count && arrays[0].length >= size) {
      return arrays;
    }
    int longest = arrays.length == 0 ? size : Math.max(size, arrays[0].length);
    return new float[Math.max(count, arrays.length)][longest];
  }

  /** At least {@code size} shorts for weights as stored. */
  short[] shorts(int size) {
    if (shorts.length < size) {
      shorts = new short[size];
    }
    return shorts;
  }

  /** At least {@code size} ints for weights as stored. */
  int[] ints(int size) {
    if (ints.length < size) {
      ints = new int[size];
    }
    return ints;
  }

  /** At least {@code size} ints for the order of columns, or more weights. */
  int[] bits(int size) {
    if (bits.length < size) {
      bits = new int[size];
    }
    return bits;
  }

  /** Stores what was only read to have it in the caches, so that the JIT compiler must read it. */
  void keep(int value) {
    kept = value;
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
