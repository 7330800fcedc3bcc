package dev.gemma4j.kernel;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * What {@link RowGroups} does with the blocks of 256 columns of Q4_K and Q6_K, whose scales are
 * products of one of the block and one of 32 or 16 columns.
 *
 * <p>The words of a block: for each run of columns that has a scale, ints whose bytes hold a nibble
 * of the run's first half and one of its second, and with Q6_K an int of the two upper bits of 16
 * columns, of which byte t holds those of the columns t, 4 + t, 8 + t and 12 + t; at last the runs'
 * scales as they are stored. So a block takes the bytes that it takes in a file.
 */
final class SuperBlocks {
  static final int COLUMNS = 256;

  private static final int LOW = 0x0f0f0f0f;
  private static final int HIGH = 0xf0f0f0f0;
  private static final int PAIRS = 0x03030303;
  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private SuperBlocks() {}

  static boolean serves(TensorType type) {
    return type == TensorType.Q4_K || type == TensorType.Q6_K;
  }

  /** Columns that share a scale. */
  private static int run(TensorType type) {
    return type == TensorType.Q4_K ? 32 : 16;
  }

  /** Ints of a run. */
  private static int runWords(TensorType type) {
    return type == TensorType.Q4_K ? 4 : 3;
  }

  /** Ints of a block, the scales at the end of them. */
  static int words(TensorType type) {
    return COLUMNS / run(type) * runWords(type) + scaleWords(type);
  }

  private static int scaleWords(TensorType type) {
    return type == TensorType.Q4_K ? 3 : 4;
  }

  /** Where the block's own scales (f16) are in the file: of Q4_K that of the minima is next. */
  static int halfAt(TensorType type) {
    return type == TensorType.Q4_K ? 0 : 208;
  }

  private static int scalesAt(TensorType type) {
    return type == TensorType.Q4_K ? 4 : 192;
  }

  /** Byte of a block of a file that holds the first nibble of a run. */
  private static int nibblesAt(TensorType type, int run) {
    return type == TensorType.Q4_K ? 16 + run / 2 * 32 : run / 8 * 64 + run % 4 * 16;
  }

  /** Whether a run's nibbles are the upper ones of their bytes. */
  private static boolean upper(TensorType type, int run) {
    return type == TensorType.Q4_K ? run % 2 == 1 : run % 8 >= 4;
  }

  /** Byte of a block of a file that holds the first upper bits of a run of Q6_K. */
  private static int pairsAt(int run) {
    return 128 + run / 8 * 32 + run % 2 * 16;
  }

  private static int pairShift(int run) {
    return run % 8 / 2 * 2;
  }

  /** Word {@code j} of the block at {@code from} of a file. */
  static int word(TensorType type, MemorySegment data, long from, int j) {
    int words = runWords(type);
    int scales = words(type) - scaleWords(type);
    if (j >= scales) {
      return data.get(INT, from + scalesAt(type) + 4L * (j - scales));
    }
    int run = j / words;
    int k = j % words;
    if (type == TensorType.Q6_K && k == 2) {
      int word = 0;
      for (int u = 0; u < 4; u++) {
        int bytes = data.get(INT, from + pairsAt(run) + 4L * u);
        word |= (bytes >>> pairShift(run) & PAIRS) << 2 * u;
      }
      return word;
    }
    long at = from + nibblesAt(type, run) + 4L * k;
    int first = data.get(INT, at);
    int second = data.get(INT, at + run(type) / 2);
    return upper(type, run) ? first >>> 4 & LOW | second & HIGH : first & LOW | (second & LOW) << 4;
  }

  /** Puts word {@code j} back to where it was in a block of zeros. */
  static void restore(TensorType type, int word, int j, MemorySegment block) {
    int words = runWords(type);
    int scales = words(type) - scaleWords(type);
    int run = j / words;
    int k = j % words;
    if (j >= scales) {
      block.set(INT, scalesAt(type) + 4L * (j - scales), word);
    } else if (type == TensorType.Q6_K && k == 2) {
      for (int u = 0; u < 4; u++) {
        set(block, pairsAt(run) + 4L * u, (word >>> 2 * u & PAIRS) << pairShift(run));
      }
    } else {
      long at = nibblesAt(type, run) + 4L * k;
      boolean upper = upper(type, run);
      set(block, at, upper ? (word & LOW) << 4 : word & LOW);
      set(block, at + run(type) / 2, upper ? word & HIGH : word >>> 4 & LOW);
    }
  }

  private static void set(MemorySegment block, long at, int bits) {
    block.set(INT, at, block.get(INT, at) | bits);
  }

  /**
   * {@code sums[i] += } the block's columns times x from k on, for rows from {@code lane} on.
   *
   * @param at of the block in the packed matrix
   * @param rows of the group
   */
  static void addBlock(
      Matrix w, long at, int rows, int lane, float[] x, int k, float[] sums, int n, Scratch s) {
    TensorType type = w.type();
    int run = run(type);
    int words = runWords(type);
    int[] block = s.ints(Math.max(words, scaleWords(type)) * rows);
    int[] scales = s.bits(scaleWords(type) * rows);
    short[] halves = s.shorts(rows);
    float[][] floats = s.rows(4, rows); // the first are the sums
    float[] runSums = floats[1];
    float[] blockSums = floats[2];
    float[] minima = floats[3];
    long scalesFrom = at + 4L * (words(type) - scaleWords(type)) * rows;
    MemorySegment.copy(w.data(), INT, scalesFrom, scales, 0, scaleWords(type) * rows);
    Arrays.fill(blockSums, 0, n, 0);
    Arrays.fill(minima, 0, n, 0);
    for (int r = 0; r < COLUMNS / run; r++, k += run) {
      MemorySegment.copy(w.data(), INT, at + 4L * r * words * rows, block, 0, words * rows);
      float sum = 0;
      for (int i = k; i < k + run; i++) {
        sum += x[i];
      }
      if (type == TensorType.Q4_K) {
        Arrays.fill(runSums, 0, n, 0);
        for (int j = 0; j < 4; j++) {
          RowGroups.addNibbles(block, j * rows + lane, x, k + 4 * j, 16, runSums, n);
        }
        addScaled(scales, rows, lane, r, runSums, -sum, blockSums, minima, n);
      } else {
        Arrays.fill(runSums, 0, n, -32 * sum);
        for (int j = 0; j < 2; j++) {
          RowGroups.addNibbles(block, j * rows + lane, x, k + 4 * j, 8, runSums, n);
        }
        for (int t = 0; t < 4; t++) {
          addPairs(block, 2 * rows + lane, t, x, k + t, runSums, n);
        }
        addScaled(scales, r / 4 * rows + lane, 24 - r % 4 * 8, runSums, blockSums, n);
      }
    }
    long halvesFrom = at + 4L * words(type) * rows + 2L * lane;
    MemorySegment.copy(w.data(), SHORT, halvesFrom, halves, 0, n);
    RowGroups.addScaled(halves, blockSums, sums, n);
    if (type == TensorType.Q4_K) {
      MemorySegment.copy(w.data(), SHORT, halvesFrom + 2L * rows, halves, 0, n);
      RowGroups.addScaled(halves, minima, sums, n);
    }
  }

  /** Byte t of each word: the upper bits of four columns, which stay where they are. */
  private static void addPairs(
      int[] words, int from, int t, float[] x, int c, float[] sums, int n) {
    int shift = 8 * t;
    float unit = Math.scalb(16f, -shift);
    float x0 = x[c] * unit;
    float x1 = x[c + 4] * unit * 0x1p-2f;
    float x2 = x[c + 8] * unit * 0x1p-4f;
    float x3 = x[c + 12] * 16;
    int mask = 3 << shift;
    int mask1 = mask << 2;
    int mask2 = mask << 4;
    int right = shift + 6;
    for (int i = 0; i < n; i++) {
      int p = words[from + i];
      float s = Math.fma((float) (p & mask), x0, sums[i]);
      s = Math.fma((float) (p & mask1), x1, s);
      s = Math.fma((float) (p & mask2), x2, s);
      sums[i] = Math.fma((float) (p >>> right & 3), x3, s);
    }
  }

  /** Of Q4_K, whose six bits of a scale and of a minimum are in two places from run 4 on. */
  private static void addScaled(
      int[] scales,
      int rows,
      int lane,
      int r,
      float[] x,
      float sum,
      float[] sums,
      float[] minima,
      int n) {
    int right = r % 4 * 8;
    int second = lane + rows;
    int third = lane + 2 * rows;
    if (r < 4) {
      for (int i = 0; i < n; i++) {
        sums[i] = Math.fma((float) (scales[lane + i] >> right & 63), x[i], sums[i]);
      }
      for (int i = 0; i < n; i++) {
        minima[i] = Math.fma((float) (scales[second + i] >> right & 63), sum, minima[i]);
      }
    } else {
      int upper = right + 2; // whose upper bits of six are 16 and 32
      for (int i = 0; i < n; i++) {
        int scale = scales[third + i] >> right & 15 | scales[lane + i] >> upper & 48;
        sums[i] = Math.fma((float) scale, x[i], sums[i]);
      }
      int middle = right + 4;
      for (int i = 0; i < n; i++) {
        int min = scales[third + i] >> middle & 15 | scales[second + i] >> upper & 48;
        minima[i] = Math.fma((float) min, sum, minima[i]);
      }
    }
  }

  /** Of Q6_K. */
  private static void addScaled(int[] scales, int from, int left, float[] x, float[] sums, int n) {
    for (int i = 0; i < n; i++) {
      sums[i] = Math.fma((float) (scales[from + i] << left >> 24), x[i], sums[i]);
    }
  }

  /** {@code panel[first + c][i]} is the block's column c of row {@code lane + i}. */
  static void decode(
      Matrix w, long at, int rows, int lane, int n, float[][] panel, int first, Scratch s) {
    TensorType type = w.type();
    int run = run(type);
    int words = runWords(type);
    int[] block = s.ints(Math.max(words, scaleWords(type)) * rows);
    int[] scales = s.bits(scaleWords(type) * rows);
    short[] halves = s.shorts(rows);
    float[][] floats = s.factors(4, rows);
    float[] d = floats[0];
    float[] least = floats[1];
    float[] factors = floats[2];
    float[] minima = floats[3];
    long scalesFrom = at + 4L * (words(type) - scaleWords(type)) * rows;
    MemorySegment.copy(w.data(), INT, scalesFrom, scales, 0, scaleWords(type) * rows);
    long halvesFrom = at + 4L * words(type) * rows + 2L * lane;
    MemorySegment.copy(w.data(), SHORT, halvesFrom, halves, 0, n);
    widen(halves, d, n);
    if (type == TensorType.Q4_K) {
      MemorySegment.copy(w.data(), SHORT, halvesFrom + 2L * rows, halves, 0, n);
      widen(halves, least, n);
    }
    for (int r = 0; r < COLUMNS / run; r++, first += run) {
      MemorySegment.copy(w.data(), INT, at + 4L * r * words * rows, block, 0, words * rows);
      Arrays.fill(factors, 0, n, 0);
      Arrays.fill(minima, 0, n, 0);
      if (type == TensorType.Q4_K) {
        addScaled(scales, rows, lane, r, d, -1, factors, minima, n);
        multiply(least, minima, n);
        for (int c = 0; c < 32; c++) {
          int from = c % 16 / 4 * rows + lane;
          nibbles(block, from, c % 4 * 8 + c / 16 * 4, factors, minima, panel[first + c], n);
        }
      } else {
        addScaled(scales, r / 4 * rows + lane, 24 - r % 4 * 8, d, factors, n);
        for (int c = 0; c < 16; c++) {
          int from = c % 8 / 4 * rows + lane;
          int right = c % 4 * 8 + c / 8 * 4;
          int upper = c % 4 * 8 + c / 4 * 2;
          sixBits(block, from, right, 2 * rows + lane, upper, factors, panel[first + c], n);
        }
      }
    }
  }

  private static void widen(short[] halves, float[] out, int n) {
    for (int i = 0; i < n; i++) {
      out[i] = Float.float16ToFloat(halves[i]);
    }
  }

  private static void multiply(float[] x, float[] y, int n) {
    for (int i = 0; i < n; i++) {
      y[i] *= x[i];
    }
  }

  private static void nibbles(
      int[] words, int from, int right, float[] factors, float[] minima, float[] out, int n) {
    for (int i = 0; i < n; i++) {
      out[i] = Math.fma((float) (words[from + i] >> right & 15), factors[i], minima[i]);
    }
  }

  private static void sixBits(
      int[] words, int from, int right, int pairs, int upper, float[] factors, float[] out, int n) {
    for (int i = 0; i < n; i++) {
      int q = words[from + i] >> right & 15 | (words[pairs + i] >> upper & 3) << 4;
      out[i] = (float) (q - 32) * factors[i];
    }
  }
}
