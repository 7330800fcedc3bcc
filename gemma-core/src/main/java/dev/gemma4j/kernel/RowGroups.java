package dev.gemma4j.kernel;

import dev.gemma4j.io.HugePages;
import dev.gemma4j.loader.TensorType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * Q8_0, Q4_0, Q4_K and Q6_K for the scalar kernels, with the rows side by side: scales change every
 * 32 columns, and a loop over so few is too short for the JIT to vectorise, but one over {@value
 * #ROWS} rows is not.
 *
 * <p>A group of rows is stored block by block: the first four bytes of each row's integers as one
 * int, a row beside the other, then the next four, and at last the rows' scales (f16). {@link
 * SuperBlocks} tells what the ints of Q4_K and Q6_K are.
 */
final class RowGroups {
  /** Rows of a group, but for the last. */
  static final int ROWS = 512;

  private static final int BLOCK = 32;
  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private RowGroups() {}

  static boolean serves(TensorType type) {
    return type == TensorType.Q8_0 || type == TensorType.Q4_0 || SuperBlocks.serves(type);
  }

  /** Ints of one row in one block. */
  private static int words(TensorType type) {
    return SuperBlocks.serves(type)
        ? SuperBlocks.words(type)
        : type.blockSize() / (type == TensorType.Q8_0 ? 4 : 8);
  }

  /** Where the scales (f16) are in a block of a file. */
  private static int halfAt(TensorType type) {
    return SuperBlocks.serves(type) ? SuperBlocks.halfAt(type) : 0;
  }

  /** Rows of the group that begins with {@code row}. */
  private static int rows(Matrix w, int row) {
    return Math.min(ROWS, w.rows() - row);
  }

  static Matrix pack(Matrix w, Arena arena, WorkerPool pool) {
    MemorySegment target = HugePages.allocate(arena, w.data().byteSize());
    int tiles = (w.rows() + Kernels.ROW_GROUP - 1) / Kernels.ROW_GROUP;
    pool.split(
        tiles,
        (from, to) -> {
          for (int tile = from; tile < to; tile++) {
            packTile(w, tile * Kernels.ROW_GROUP, target);
          }
        });
    return new Matrix(w.type(), w.rows(), w.cols(), target, true);
  }

  /** As many rows as fill a line of the cache. */
  private static void packTile(Matrix w, int row, MemorySegment target) {
    MemorySegment data = w.data();
    TensorType type = w.type();
    int words = words(type);
    int blockBytes = type.blockBytes();
    int first = row - row % ROWS;
    int rows = rows(w, first);
    int last = Math.min(w.rows(), row + Kernels.ROW_GROUP);
    long to = first * w.rowBytes();
    for (int b = 0; b < w.cols() / type.blockSize(); b++, to += (long) rows * blockBytes) {
      for (int r = row; r < last; r++) {
        long from = r * w.rowBytes() + (long) b * blockBytes;
        long lane = r - first;
        for (int j = 0; j < words; j++) {
          int word =
              SuperBlocks.serves(type)
                  ? SuperBlocks.word(type, data, from, j)
                  : data.get(INT, from + 2 + 4L * j);
          target.set(INT, to + 4 * ((long) j * rows + lane), word);
        }
        for (int h = 0; h < (blockBytes - 4 * words) / 2; h++) {
          short half = data.get(SHORT, from + halfAt(type) + 2L * h);
          target.set(SHORT, to + 4L * words * rows + 2 * ((long) h * rows + lane), finite(half));
        }
      }
    }
  }

  /** A scale, that a matrix may be packed with. */
  static short finite(short scale) {
    if ((scale & 0x7c00) == 0x7c00) {
      throw new ArithmeticException("a scale that is " + Float.float16ToFloat(scale));
    }
    return scale;
  }

  /** One row as f32. */
  static void unpackRow(Matrix w, int row, float[] out, int offset) {
    TensorType type = w.type();
    int words = words(type);
    int blockBytes = type.blockBytes();
    int first = row - row % ROWS;
    int rows = rows(w, first);
    int lane = row - first;
    MemorySegment block = MemorySegment.ofArray(new byte[blockBytes]);
    long from = first * w.rowBytes();
    for (int k = 0; k < w.cols(); k += type.blockSize(), from += (long) rows * blockBytes) {
      block.fill((byte) 0);
      for (int j = 0; j < words; j++) {
        int word = w.data().get(INT, from + 4L * (j * rows + lane));
        if (SuperBlocks.serves(type)) {
          SuperBlocks.restore(type, word, j, block);
        } else {
          block.set(INT, 2 + 4L * j, word);
        }
      }
      for (int h = 0; h < (blockBytes - 4 * words) / 2; h++) {
        long at = from + 4L * words * rows + 2 * ((long) h * rows + lane);
        block.set(SHORT, halfAt(type) + 2L * h, w.data().get(SHORT, at));
      }
      type.dequantize(block, 0, out, offset + k, type.blockSize());
    }
  }

  /** {@code y[r] = w[r] · x}. */
  static void matvec(Matrix w, int from, int to, float[] x, float[] y, Scratch scratch) {
    int words = words(w.type());
    int[] block = scratch.ints(words * ROWS);
    short[] scales = scratch.shorts(ROWS);
    int blockSize = w.type().blockSize();
    float[][] floats = scratch.rows(4, ROWS);
    float[] sums = floats[0];
    float[] blockSums = floats[1];
    for (int r = from; r < to; ) {
      int first = r - r % ROWS;
      int rows = rows(w, first);
      int lane = r - first;
      int n = Math.min(to - r, rows - lane);
      long at = first * w.rowBytes();
      Arrays.fill(sums, 0, n, 0);
      for (int k = 0; k < w.cols(); k += blockSize, at += (long) rows * w.type().blockBytes()) {
        if (SuperBlocks.serves(w.type())) {
          SuperBlocks.addBlock(w, at, rows, lane, x, k, sums, n, scratch);
          continue;
        }
        MemorySegment.copy(w.data(), INT, at, block, 0, words * rows);
        MemorySegment.copy(w.data(), SHORT, at + 4L * words * rows + 2L * lane, scales, 0, n);
        if (w.type() == TensorType.Q8_0) {
          Arrays.fill(blockSums, 0, n, 0);
          for (int j = 0; j < words; j++) {
            addBytes(block, j * rows + lane, x, k + 4 * j, blockSums, n);
          }
        } else {
          Arrays.fill(blockSums, 0, n, -8 * sum(x, k));
          for (int j = 0; j < words; j++) {
            addNibbles(block, j * rows + lane, x, k + 4 * j, BLOCK / 2, blockSums, n);
          }
        }
        addScaled(scales, blockSums, sums, n);
      }
      System.arraycopy(sums, 0, y, r, n);
      r += n;
    }
  }

  private static float sum(float[] x, int from) {
    float sum = 0;
    for (int i = from; i < from + BLOCK; i++) {
      sum += x[i];
    }
    return sum;
  }

  /** {@code sums += } the four signed bytes of each word times the x of their columns. */
  private static void addBytes(int[] words, int from, float[] x, int c, float[] sums, int n) {
    float x0 = x[c];
    float x1 = x[c + 1];
    float x2 = x[c + 2];
    float x3 = x[c + 3];
    for (int i = 0; i < n; i++) {
      int p = words[from + i];
      float s = Math.fma((float) (p << 24 >> 24), x0, sums[i]);
      s = Math.fma((float) (p << 16 >> 24), x1, s);
      s = Math.fma((float) (p << 8 >> 24), x2, s);
      sums[i] = Math.fma((float) (p >> 24), x3, s);
    }
  }

  /**
   * The same for eight nibbles from 0 to 15: of each byte the low one belongs to column c and on,
   * the other to one {@code half} a block further. All but the last stay where they are in the int,
   * and x is divided instead.
   */
  static void addNibbles(int[] words, int from, float[] x, int c, int half, float[] sums, int n) {
    int d = c + half;
    float x0 = x[c];
    float x1 = x[d] * 0x1p-4f;
    float x2 = x[c + 1] * 0x1p-8f;
    float x3 = x[d + 1] * 0x1p-12f;
    // More in one loop would be too many for C2 to unroll and vectorise.
    for (int i = 0; i < n; i++) {
      int p = words[from + i];
      float s = Math.fma((float) (p & 0xf), x0, sums[i]);
      s = Math.fma((float) (p & 0xf0), x1, s);
      s = Math.fma((float) (p & 0xf00), x2, s);
      sums[i] = Math.fma((float) (p & 0xf000), x3, s);
    }
    float x4 = x[c + 2] * 0x1p-16f;
    float x5 = x[d + 2] * 0x1p-20f;
    float x6 = x[c + 3] * 0x1p-24f;
    float x7 = x[d + 3];
    for (int i = 0; i < n; i++) {
      int p = words[from + i];
      float s = Math.fma((float) (p & 0xf0000), x4, sums[i]);
      s = Math.fma((float) (p & 0xf00000), x5, s);
      s = Math.fma((float) (p & 0xf000000), x6, s);
      sums[i] = Math.fma((float) (p >>> 28), x7, s);
    }
  }

  static void addScaled(short[] scales, float[] x, float[] sums, int n) {
    for (int i = 0; i < n; i++) {
      sums[i] = Math.fma(Float.float16ToFloat(scales[i]), x[i], sums[i]);
    }
  }

  /** Columns [k, k + n), whole blocks, of the rows from {@code row} on; {@code panel[c][i]}. */
  static void decode(Matrix w, int row, int rows, int k, int n, float[][] panel, Scratch scratch) {
    int words = words(w.type());
    int[] block = scratch.ints(words * ROWS);
    short[] scales = scratch.shorts(ROWS);
    int first = row - row % ROWS;
    int all = rows(w, first);
    int lane = row - first;
    int blockSize = w.type().blockSize();
    long at = first * w.rowBytes() + (long) k / blockSize * all * w.type().blockBytes();
    for (int c = 0; c < n; c += blockSize, at += (long) all * w.type().blockBytes()) {
      if (SuperBlocks.serves(w.type())) {
        SuperBlocks.decode(w, at, all, lane, rows, panel, c, scratch);
        continue;
      }
      MemorySegment.copy(w.data(), INT, at, block, 0, words * all);
      MemorySegment.copy(w.data(), SHORT, at + 4L * words * all + 2L * lane, scales, 0, rows);
      for (int j = 0; j < words; j++) {
        int from = j * all + lane;
        for (int b = 0; b < 4; b++) {
          int column = c + 4 * j + b;
          if (w.type() == TensorType.Q8_0) {
            bytes(block, from, 24 - 8 * b, scales, panel[column], rows);
          } else {
            nibbles(block, from, 8 * b, scales, panel[column], rows);
            nibbles(block, from, 8 * b + 4, scales, panel[column + BLOCK / 2], rows);
          }
        }
      }
    }
  }

  private static void bytes(int[] words, int from, int left, short[] scales, float[] out, int n) {
    for (int i = 0; i < n; i++) {
      out[i] = (float) (words[from + i] << left >> 24) * Float.float16ToFloat(scales[i]);
    }
  }

  private static void nibbles(
      int[] words, int from, int right, short[] scales, float[] out, int n) {
    for (int i = 0; i < n; i++) {
      out[i] = (float) ((words[from + i] >> right & 15) - 8) * Float.float16ToFloat(scales[i]);
    }
  }
}
