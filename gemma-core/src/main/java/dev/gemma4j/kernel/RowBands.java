package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.VectorKernels.F;
import static dev.gemma4j.kernel.VectorKernels.I;
import static dev.gemma4j.kernel.VectorKernels.SHORT;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;
import static jdk.incubator.vector.VectorOperators.ROL;

import dev.gemma4j.io.HugePages;
import dev.gemma4j.loader.TensorType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/**
 * Q4_0, Q4_K and Q6_K with rows side by side: each lane of a vector works on a row of its own, so
 * that nothing is summed across lanes, the scales of many rows are applied at once, and the input
 * is broadcast from where it is. {@link BandDot} or {@link ShiftedBandDot} multiplies them with one
 * vector, {@link BandProducts} with a few, of which one or two are {@link BandDot}'s, too.
 *
 * <p>A band is two sets of LANES rows. It is stored in blocks of 256 columns, in the order in which
 * a product reads it, since only then memory is fetched ahead. A block is a head, the scales of its
 * columns, and a strip for each 32 columns:
 *
 * <pre>
 *       head                                                   strip
 * Q4_0  none                                                   4 times nibbles, pairs of f16 scales
 * Q4_K  f16 d and f16 dmin of one set, then of the other,      4 times nibbles
 *       for each set byte scales and byte minima
 * Q6_K  f16 d, for each set byte scales                        twice: pairs of bits, 2 times nibbles
 * </pre>
 *
 * Nibbles and pairs of bits are a vector of ints of one set and one of the other, byte scales are
 * ints, too, of four strips or halves of strips; halves are LANES of one and LANES of the other, a
 * pair of scales is an int of a scale of each set. An int of nibbles holds 8 neighbouring columns
 * of its row, one of pairs of bits, the upper ones of Q6_K, holds 16. Where vectors {@linkplain
 * #ROTATES rotate}, the first column's are where a product wants them, at the top of a float's
 * mantissa, and each rotation brings the next one's there; elsewhere they are the lowest bits, and
 * each shift brings the next one's there. The last band is filled with rows of zeros. Q4_K takes
 * more bytes than in a file, where scales have 6 bits, by 3 %, the others as many.
 */
final class RowBands {
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  static final int LANES = F.length();
  static final int VECTOR = F.vectorByteSize();

  /**
   * Whether one instruction rotates the ints of a vector, as AVX-512 has it. Else an integer is
   * shifted down, masked and converted, since three instructions would make a rotation.
   */
  static final boolean ROTATES = LANES == 16;

  /** What brings the next integer of an int where the first one was. */
  static final VectorOperators.Binary NEXT = ROTATES ? ROL : LSHR;

  /** Sets of LANES rows in a band. */
  static final int SETS = 2;

  /** Rows of a band. */
  static final int ROWS = SETS * LANES;

  /** Columns of a strip. */
  static final int STRIP = 32;

  /** Strips of a block. */
  static final int STRIPS = 8;

  /** Bytes of as many halves as lanes. */
  private static final int HALVES = 2 * LANES;

  /** Bytes of a vector of each set. */
  static final int STEP = SETS * VECTOR;

  /** Bytes of a strip of Q4_0: its scales are the last ones. */
  static final int FOUR = 4 * STEP + VECTOR;

  /** Bytes of a strip of Q4_K. */
  static final int FOUR_K = 4 * STEP;

  /** Bytes of a strip of Q6_K. */
  static final int SIX = 6 * STEP;

  /** Floats that {@link #scales} fills at most. */
  static final int SCALES = STRIPS * 2 * SETS * 2 * LANES;

  /** 1 as a float; q put into the top of its mantissa's 23 bits makes it 1 + q/16 or 1 + q/64. */
  static final int ONE = 0x3f800000;

  /** Where an int's first nibble begins. */
  private static final int FOUR_AT = ROTATES ? 19 : 0;

  /** The same for Q6_K. */
  private static final int SIX_AT = ROTATES ? 17 : 0;

  /** Where the first pair of bits begins. */
  private static final int PAIR_AT = ROTATES ? SIX_AT + 4 : 0;

  /** The unit of an integer of Q4_0 or Q4_K that is masked where it lies and converted. */
  static final float FOUR_UNIT = 1f / (1 << FOUR_AT);

  /** The same for Q6_K. */
  static final float SIX_UNIT = 1f / (1 << SIX_AT);

  // Where it is a mantissa's top an integer need not be converted. A weight of these two is an
  // integer less 8 or 32 times a scale, so that the mantissa's 1 goes with what is subtracted:
  // fma(1 + q/16, 16 scale, -24 scale) = (q - 8) scale, rounded once.
  static final float FOUR_SCALE = ROTATES ? 16 : 1;
  static final float FOUR_OFFSET = ROTATES ? -24 : -8;
  static final float SIX_SCALE = ROTATES ? 64 : 1;
  static final float SIX_OFFSET = ROTATES ? -96 : -32;

  /** The first nibble. */
  static final int NIBBLE = 0xf << FOUR_AT;

  /** The first nibble of Q6_K. */
  static final int SIX_NIBBLE = 0xf << SIX_AT;

  /** The pair of bits above it. */
  static final int SIX_PAIR = 0x3 << SIX_AT + 4;

  private static final ValueLayout.OfByte BYTE = ValueLayout.JAVA_BYTE;
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(LE);
  private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(LE);

  private RowBands() {}

  /** Whether the type is one of these. */
  static boolean serves(TensorType type) {
    return type == TensorType.Q4_0 || type == TensorType.Q4_K || type == TensorType.Q6_K;
  }

  static int stripBytes(TensorType type) {
    return switch (type) {
      case Q4_0 -> FOUR;
      case Q4_K -> FOUR_K;
      default -> SIX;
    };
  }

  /** Bytes of the head of a block. */
  private static int headBytes(TensorType type) {
    return switch (type) {
      case Q4_0 -> 0;
      case Q4_K -> SETS * 2 * HALVES + STRIPS / 4 * SETS * 2 * VECTOR;
      default -> SETS * HALVES + STRIPS / 4 * 2 * SETS * VECTOR;
    };
  }

  /** Bytes of {@code strips} strips of a band: whole blocks, but for Q4_0. */
  private static long bytes(TensorType type, int strips) {
    return (long) strips / STRIPS * headBytes(type) + (long) strips * stripBytes(type);
  }

  /** Where the block begins that holds strip {@code s} of a row's band. */
  private static long blockAt(Matrix w, int row, int s) {
    return row / ROWS * bytes(w.type(), w.cols() / STRIP) + bytes(w.type(), s / STRIPS * STRIPS);
  }

  /** Strips of the block that holds strip {@code s}. */
  static int blockStrips(Matrix w, int s) {
    return Math.min(STRIPS, w.cols() / STRIP - s / STRIPS * STRIPS);
  }

  /** Where strip {@code s} of a row's set begins; the block's next is stripBytes on. */
  static long stripAt(Matrix w, int row, int s) {
    return blockAt(w, row, s)
        + headBytes(w.type())
        + (long) (s % STRIPS) * stripBytes(w.type())
        + row % ROWS / LANES * VECTOR;
  }

  /** Packs a matrix of a type that is served. */
  static Matrix pack(Matrix w, Arena arena, WorkerPool pool) {
    int bands = (w.rows() + ROWS - 1) / ROWS;
    MemorySegment target = HugePages.allocate(arena, bands * bytes(w.type(), w.cols() / STRIP));
    pool.split(
        bands,
        (from, to) -> {
          for (int band = from; band < to; band++) {
            for (int s = 0; s < w.cols() / STRIP; s += STRIPS) {
              packBlock(w, band * ROWS, s, target);
            }
          }
        });
    return new Matrix(w.type(), w.rows(), w.cols(), target, true);
  }

  /** Strip by strip, so that what is written follows what was written before. */
  private static void packBlock(Matrix w, int first, int firstStrip, MemorySegment target) {
    long head = blockAt(w, first, firstStrip);
    long strip = stripAt(w, first, firstStrip);
    long column = w.type().byteSize(firstStrip * STRIP);
    int rows = Math.min(ROWS, w.rows() - first);
    int strips = blockStrips(w, firstStrip);
    for (int s = 0; s < strips; s++, strip += stripBytes(w.type())) {
      for (int i = 0; i < rows; i++) {
        long from = (first + i) * w.rowBytes() + column;
        packStrip(w, from, s, target, head, strip, i / LANES, i % LANES);
      }
    }
  }

  /** Short, and so compiled early in a load. */
  private static void packStrip(
      Matrix w, long from, int s, MemorySegment target, long head, long strip, int set, int lane) {
    long to = strip + set * VECTOR + 4L * lane;
    switch (w.type()) {
      case Q4_0 -> packQ4(w.data(), from + 18L * s, target, to, set, lane);
      case Q4_K -> packQ4K(w.data(), from, s, target, head, to, set, lane);
      default -> packQ6K(w.data(), from, s, target, head, to, set, lane);
    }
  }

  /** 16 bytes of nibbles after a scale; the low ones are the first 16 columns. */
  private static void packQ4(
      MemorySegment data, long from, MemorySegment target, long to, int set, int lane) {
    for (int i = 0; i < 4; i++) {
      long bytes = data.get(LONG, from + 2 + i % 2 * 8) >>> i / 2 * 4;
      target.set(INT, to + (long) i * STEP, nibbles(bytes, FOUR_AT));
    }
    // to is where the lane's int lies in the set's first vector
    long scale = to - set * VECTOR + 4 * STEP + 2L * set;
    target.set(SHORT, scale, RowGroups.finite(data.get(SHORT, from)));
  }

  /** d, dmin, 12 bytes of scales and minima, 128 bytes of nibbles: two strips share 32 bytes. */
  private static void packQ4K(
      MemorySegment data,
      long from,
      int s,
      MemorySegment target,
      long head,
      long to,
      int set,
      int lane) {
    for (int i = 0; i < 4; i++) {
      long bytes = data.get(LONG, from + 16 + s / 2 * 32 + i * 8) >>> s % 2 * 4;
      target.set(INT, to + (long) i * STEP, nibbles(bytes, FOUR_AT));
    }
    if (s == 0) {
      target.set(
          SHORT, head + set * 2 * HALVES + 2L * lane, RowGroups.finite(data.get(SHORT, from)));
      target.set(
          SHORT,
          head + (set * 2 + 1) * HALVES + 2L * lane,
          RowGroups.finite(data.get(SHORT, from + 2)));
    }
    long at = scaleAt(head, s, set) + 4L * lane + s % 4;
    target.set(BYTE, at, (byte) scale4k(data, from + 4, s));
    target.set(BYTE, at + VECTOR, (byte) min4k(data, from + 4, s));
  }

  /** 128 bytes of low nibbles, 64 of high pairs of bits, 16 scales, d. */
  private static void packQ6K(
      MemorySegment data,
      long from,
      int s,
      MemorySegment target,
      long head,
      long to,
      int set,
      int lane) {
    long low = from + s / 4 * 64 + s % 2 * 32;
    long high = from + 128 + s / 4 * 32;
    for (int half = 0; half < 2; half++) {
      int pairs = 0;
      for (int i = 0; i < 2; i++) {
        int at = half * 16 + i * 8;
        int nibbles = nibbles(data.get(LONG, low + at) >>> s % 4 / 2 * 4, SIX_AT);
        target.set(INT, to + (half * 3L + 1 + i) * STEP, nibbles);
        int more = pairs(data.get(LONG, high + at) >>> s % 4 * 2);
        pairs |= ROTATES ? more << 16 - 16 * i : more << 16 * i;
      }
      target.set(INT, to + half * 3L * STEP, Integer.rotateLeft(pairs, ROTATES ? PAIR_AT + 2 : 0));
      long scale = halfScaleAt(head, s * 2 + half, set) + 4L * lane + (s * 2 + half) % 4;
      target.set(BYTE, scale, data.get(BYTE, from + 192 + s * 2 + half));
    }
    if (s == 0) {
      target.set(
          SHORT, head + set * HALVES + 2L * lane, RowGroups.finite(data.get(SHORT, from + 208)));
    }
  }

  /** Where a vector of ints of a set's scales of strip {@code s} of Q4_K and its neighbours is. */
  private static long scaleAt(long head, int s, int set) {
    return head + SETS * 2 * HALVES + (s / 4 * SETS + set) * 2L * VECTOR;
  }

  /** The same for half strips of Q6_K. */
  private static long halfScaleAt(long head, int half, int set) {
    return head + SETS * HALVES + (half / 4 * SETS + set) * (long) VECTOR;
  }

  /** The low nibbles of eight bytes, the first at {@code bit}, and the next where it is read. */
  private static int nibbles(long bytes, int bit) {
    long p = (ROTATES ? Long.reverseBytes(bytes) : bytes) & 0x0f0f0f0f0f0f0f0fL;
    p = (p | p >>> 4) & 0x00ff00ff00ff00ffL;
    p = (p | p >>> 8) & 0x0000ffff0000ffffL;
    int nibbles = (int) (p | p >>> 16);
    return ROTATES ? Integer.rotateLeft(nibbles, bit + 4) : nibbles;
  }

  /** The lowest two bits of eight bytes as 16 bits, in the order of {@link #nibbles}. */
  private static int pairs(long bytes) {
    long p = (ROTATES ? Long.reverseBytes(bytes) : bytes) & 0x0303030303030303L;
    p = (p | p >>> 6) & 0x000f000f000f000fL;
    p = (p | p >>> 12) & 0x000000ff000000ffL;
    return (int) ((p | p >>> 24) & 0xffff);
  }

  // Eight scales and eight minima of 6 bits each in 12 bytes (ggml-quants.c, get_scale_min_k4).

  private static int scale4k(MemorySegment w, long at, int s) {
    return s < 4
        ? w.get(BYTE, at + s) & 63
        : w.get(BYTE, at + s + 4) & 15 | w.get(BYTE, at + s - 4) >> 2 & 0x30;
  }

  private static int min4k(MemorySegment w, long at, int s) {
    return s < 4
        ? w.get(BYTE, at + s + 4) & 63
        : w.get(BYTE, at + s + 4) >> 4 & 15 | w.get(BYTE, at + s) >> 2 & 0x30;
  }

  /**
   * The scales of the block of Q4_K or Q6_K that begins with strip {@code s}, and what a weight is
   * whose integer is 0: [STRIPS, SETS, 2, LANES], for Q6_K [STRIPS, 2, SETS, 2, LANES].
   */
  static void scales(Matrix w, int row, int s, float[] out) {
    long head = blockAt(w, row, s);
    for (int set = 0; set < SETS; set++) {
      if (w.type() == TensorType.Q4_K) {
        scalesQ4K(w.data(), head, set, out);
      } else {
        scalesQ6K(w.data(), head, set, out);
      }
    }
  }

  private static void scalesQ4K(MemorySegment w, long head, int set, float[] out) {
    w = NativeMemory.known(w);
    FloatVector d = VectorDot.halves(w, head + set * 2 * HALVES);
    FloatVector min = VectorDot.halves(w, head + (set * 2 + 1) * HALVES).neg();
    int to = set * 2 * LANES;
    for (int s = 0; s < STRIPS; s += 4) {
      IntVector scales = IntVector.fromMemorySegment(I, w, scaleAt(head, s, set), LE);
      IntVector minima = IntVector.fromMemorySegment(I, w, scaleAt(head, s, set) + VECTOR, LE);
      for (int i = 0; i < 4; i++, to += SETS * 2 * LANES) {
        d.mul((FloatVector) scales.and(63).convert(I2F, 0)).intoArray(out, to);
        scales = scales.lanewise(LSHR, 8);
        min.mul((FloatVector) minima.and(63).convert(I2F, 0)).intoArray(out, to + LANES);
        minima = minima.lanewise(LSHR, 8);
      }
    }
  }

  private static void scalesQ6K(MemorySegment w, long head, int set, float[] out) {
    w = NativeMemory.known(w);
    FloatVector d = VectorDot.halves(w, head + set * HALVES);
    int to = set * 2 * LANES;
    for (int half = 0; half < 2 * STRIPS; half += 4) {
      IntVector scales = IntVector.fromMemorySegment(I, w, halfScaleAt(head, half, set), LE);
      for (int i = 0; i < 4; i++, to += SETS * 2 * LANES) {
        IntVector signed = scales.lanewise(LSHL, 24).lanewise(ASHR, 24);
        FloatVector scale = d.mul((FloatVector) signed.convert(I2F, 0));
        scale.intoArray(out, to);
        scale.mul(-32).intoArray(out, to + LANES);
        scales = scales.lanewise(LSHR, 8);
      }
    }
  }

  /**
   * The first n strips of a band's block that begins with strip {@code s} as f32: [n * 32][ROWS].
   *
   * @param scales room for {@link #SCALES}
   */
  static void decode(Matrix w, int row, int s, int n, MemorySegment panel, float[] scales) {
    if (w.type() == TensorType.Q4_0) {
      decodeQ4(w, row, s, n, panel);
      return;
    }
    scales(w, row, s, scales);
    for (int set = 0; set < SETS; set++) {
      decodeK(w, row + set * LANES, s, n, panel, scales);
    }
  }

  /** Strips of one set. */
  private static void decodeK(
      Matrix w, int row, int s, int n, MemorySegment panel, float[] scales) {
    panel = NativeMemory.known(panel);
    MemorySegment data = NativeMemory.known(w.data());
    boolean six = w.type() == TensorType.Q6_K;
    IntVector low = IntVector.broadcast(I, six ? SIX_NIBBLE : NIBBLE);
    IntVector high = IntVector.broadcast(I, six ? SIX_PAIR : 0);
    int set = row % ROWS / LANES;
    int next = set * 2 * LANES;
    long to = set * VECTOR;
    long at = stripAt(w, row, s);
    for (int i = 0; i < n; i++, at += stripBytes(w.type())) {
      for (int half = 0; half < 2; half++) {
        FloatVector scale = FloatVector.fromArray(F, scales, next).mul(six ? SIX_UNIT : FOUR_UNIT);
        FloatVector offset = FloatVector.fromArray(F, scales, next + LANES);
        next += six || half == 1 ? SETS * 2 * LANES : 0;
        long from = at + half * (six ? 3L : 2L) * STEP;
        IntVector pairs = IntVector.fromMemorySegment(I, data, from, LE);
        pairs = ROTATES ? pairs : pairs.lanewise(ROL, 4);
        from += six ? STEP : 0;
        for (int j = 0; j < 2; j++) {
          IntVector nibbles = IntVector.fromMemorySegment(I, data, from + (long) j * STEP, LE);
          IntVector upper = pairs;
          for (int k = 0; k < 8; k++, to += STEP) {
            IntVector q = nibbles.and(low).or(upper.and(high));
            FloatVector weight = ((FloatVector) q.convert(I2F, 0)).fma(scale, offset);
            weight.intoMemorySegment(panel, to, LE);
            nibbles = nibbles.lanewise(NEXT, 4);
            upper = upper.lanewise(NEXT, 2);
          }
          pairs = pairs.lanewise(ROL, 16);
        }
      }
    }
  }

  /** Both sets by turns. */
  private static void decodeQ4(Matrix w, int row, int s, int n, MemorySegment panel) {
    panel = NativeMemory.known(panel);
    MemorySegment data = NativeMemory.known(w.data());
    long at = stripAt(w, row, s);
    long to = 0;
    for (int i = 0; i < n; i++, at += FOUR) {
      IntVector scales = IntVector.fromMemorySegment(I, data, at + 4 * STEP, LE);
      FloatVector scale = VectorDot.finiteHalf(scales.lanewise(LSHL, 16));
      FloatVector scale2 = VectorDot.finiteHalf(scales);
      FloatVector offset = scale.mul(FOUR_OFFSET);
      FloatVector offset2 = scale2.mul(FOUR_OFFSET);
      scale = scale.mul(FOUR_SCALE);
      scale2 = scale2.mul(FOUR_SCALE);
      for (long p = at; p != at + 4 * STEP; p += STEP) {
        IntVector nibbles = IntVector.fromMemorySegment(I, data, p, LE);
        IntVector nibbles2 = IntVector.fromMemorySegment(I, data, p + VECTOR, LE);
        for (int k = 0; k < 8; k++) {
          FloatVector q =
              ROTATES
                  ? nibbles.and(NIBBLE).or(ONE).reinterpretAsFloats()
                  : (FloatVector) nibbles.and(NIBBLE).convert(I2F, 0);
          q.fma(scale, offset).intoMemorySegment(panel, to + k * STEP, LE);
          nibbles = nibbles.lanewise(NEXT, 4);
          q =
              ROTATES
                  ? nibbles2.and(NIBBLE).or(ONE).reinterpretAsFloats()
                  : (FloatVector) nibbles2.and(NIBBLE).convert(I2F, 0);
          q.fma(scale2, offset2).intoMemorySegment(panel, to + k * STEP + VECTOR, LE);
          nibbles2 = nibbles2.lanewise(NEXT, 4);
        }
        to += 8 * STEP;
      }
    }
  }

  /** One row as f32. */
  static void unpackRow(Matrix w, int row, float[] out, int offset) {
    MemorySegment data = NativeMemory.known(w.data());
    int lane = row % LANES;
    boolean six = w.type() == TensorType.Q6_K;
    for (int s = 0; s < w.cols() / STRIP; s++) {
      long at = stripAt(w, row, s) + 4L * lane;
      for (int half = 0; half < 2; half++) {
        float scale = scale(w, row, s, half);
        float zero = zero(w, row, s, scale);
        int pairs = six ? data.get(INT, at) : 0;
        at += six ? STEP : 0;
        for (int j = 0; j < 2; j++, at += STEP) {
          int nibbles = data.get(INT, at);
          for (int k = 0; k < 8; k++) {
            int q =
                six
                    ? (nibbles & SIX_NIBBLE) >> SIX_AT | (pairs >> PAIR_AT & 3) << 4
                    : (nibbles & NIBBLE) >> FOUR_AT;
            out[offset++] = Math.fma(q, scale, zero);
            nibbles = ROTATES ? Integer.rotateLeft(nibbles, 4) : nibbles >>> 4;
            pairs = ROTATES ? Integer.rotateLeft(pairs, 2) : pairs >>> 2;
          }
        }
      }
    }
  }

  /** A row's scale of half a strip. */
  private static float scale(Matrix w, int row, int s, int half) {
    MemorySegment data = w.data();
    long head = blockAt(w, row, s);
    int set = row % ROWS / LANES;
    int lane = row % LANES;
    int strip = s % STRIPS;
    int h = strip * 2 + half;
    return switch (w.type()) {
      case Q4_0 -> half(data, stripAt(w, row, s) - set * VECTOR + 4 * STEP, SETS * lane + set);
      case Q4_K ->
          half(data, head + set * 2 * HALVES, lane)
              * data.get(BYTE, scaleAt(head, strip, set) + 4L * lane + strip % 4);
      default ->
          half(data, head + set * HALVES, lane)
              * data.get(BYTE, halfScaleAt(head, h, set) + 4L * lane + h % 4);
    };
  }

  /** What a row's weight is whose integer is 0. */
  private static float zero(Matrix w, int row, int s, float scale) {
    if (w.type() != TensorType.Q4_K) {
      return scale * (w.type() == TensorType.Q4_0 ? -8 : -32);
    }
    MemorySegment data = w.data();
    long head = blockAt(w, row, s);
    int set = row % ROWS / LANES;
    int lane = row % LANES;
    int strip = s % STRIPS;
    long min = scaleAt(head, strip, set) + VECTOR + 4L * lane + strip % 4;
    return -half(data, head + (set * 2 + 1) * HALVES, lane) * data.get(BYTE, min);
  }

  private static float half(MemorySegment w, long at, int lane) {
    return Float.float16ToFloat(w.get(SHORT, at + 2L * lane));
  }
}
