package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.VectorKernels.F;
import static dev.gemma4j.kernel.VectorKernels.FEW_REGISTERS;
import static dev.gemma4j.kernel.VectorKernels.I;
import static dev.gemma4j.kernel.VectorKernels.SELECTS;
import static jdk.incubator.vector.VectorOperators.LSHL;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/**
 * Matrix times a few vectors, as when a few callers decode together: weights are decoded in
 * registers, four rows at once, and meet four rows of the batch there, or two. A panel would cost
 * more to make than a few rows take from it.
 *
 * <p>Written out, without helpers: C2 stops inlining those in a method with so many vectors.
 */
final class SmallBatch {
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final int LANES = F.length();
  private static final int VECTOR = F.vectorByteSize();

  /** Rows of weights, and rows of the batch, that meet at once. */
  private static final int ROWS = 4;

  // As many turns in a row with four rows of x, where those stay in the first-level cache: what is
  // read of the weights meanwhile stays in the second one for the batch's other rows.
  private static final int TURNS = 8;
  private static final long NEAR = 32 << 10;

  // For a fold that halves runs of 2 * half lanes: at half * 2 * LANES, which lanes of two vectors
  // are the runs' lower halves, then which are the upper ones.
  private static final float[] FOLDS = new float[LANES * LANES + 2 * LANES];

  static {
    for (int half = LANES / 2; half > 0; half /= 2) {
      for (int i = 0; i < LANES; i++) {
        int lower = i / half * 2 * half + i % half;
        FOLDS[half * 2 * LANES + i] = lower;
        FOLDS[half * 2 * LANES + LANES + i] = lower + half;
      }
    }
  }

  private SmallBatch() {}

  /** Whether a batch of such a matrix is multiplied here. */
  static boolean serves(Matrix w, int batch) {
    return switch (w.type()) {
      case BF16 -> batch <= 16 && w.cols() % (2 * LANES) == 0;
      case F16 -> batch <= 8 && w.cols() % (2 * LANES) == 0;
      case F32 -> batch <= (FEW_REGISTERS ? 8 : 16) && w.cols() % (2 * LANES) == 0;
      case Q8_0 -> batch <= 16;
      default -> false;
    };
  }

  /** Whether a lane has pairs of neighbours, the even one before the odd one. */
  static boolean pairs(TensorType type) {
    return type == TensorType.BF16 || type == TensorType.F16;
  }

  static void matmul(
      Matrix w,
      int from,
      int to,
      float[] x,
      int xStride,
      int batch,
      float[] y,
      int yStride,
      Scratch scratch) {
    int cols = w.cols();
    float[] sums = scratch.scores(ROWS * ROWS * LANES);
    long bytes = (long) ROWS * cols * Float.BYTES;
    int tiles = (batch + ROWS - 1) / ROWS;
    MemorySegment input = scratch.aligned((tiles + 1) * bytes); // of x, and of weights decoded
    arrange(x, xStride, cols, batch, pairs(w.type()), input);
    int quarter = (to - from) / ROWS;
    int turns = VectorDot.turns(from, to, ROWS);
    boolean decodes =
        w.type() == TensorType.F16 || w.type() == TensorType.Q8_0 && !VectorDot.BYTES_WIDEN;
    MemorySegment weights = decodes ? input : w.data();
    int block = bytes <= NEAR && !decodes ? TURNS : 1;
    for (int first = 0; first < turns; first += block) {
      for (int b = 0; b < batch; b += ROWS) {
        long at = b / ROWS * bytes;
        boolean two = batch - b <= 2; // for which half of a tile would be for nothing
        for (int turn = first; turn < Math.min(turns, first + block); turn++) {
          int r = VectorDot.first(from, turn, quarter, ROWS);
          int d = turn < quarter ? quarter : 0;
          long row = r * w.rowBytes();
          long next = d * w.rowBytes();
          if (decodes) {
            long decoded = tiles * bytes;
            if (b == 0) {
              decode(w, row, next, input, decoded);
            }
            row = decoded;
            next = bytes / ROWS;
          }
          switch (decodes ? TensorType.F32 : w.type()) {
            case BF16 -> {
              if (two) {
                bf16Two(w.data(), row, next, input, at, cols, sums);
              } else {
                bf16(w.data(), row, next, input, at, cols, sums);
              }
            }
            case Q8_0 -> {
              if (two) {
                q8Two(w.data(), row, next, input, at, cols, sums, 0);
              } else if (FEW_REGISTERS) {
                q8Two(w.data(), row, next, input, at, cols, sums, 0);
                q8Two(w.data(), row, next, input, at + 2 * VECTOR, cols, sums, 2 * LANES);
              } else {
                q8(w.data(), row, next, input, at, cols, sums);
              }
            }
            default -> f32(weights, row, next, input, at, cols, sums);
          }
          fold(sums, ROWS * ROWS);
          store(sums, Math.min(ROWS, batch - b), y, b * yStride + r, yStride, d);
        }
      }
    }
  }

  /** A tile's sums, of so many rows of the batch. */
  private static void store(float[] sums, int rows, float[] y, int at, int yStride, int d) {
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < ROWS; j++) {
        y[at + i * yStride + j * d] = sums[j * ROWS + i];
      }
    }
  }

  /**
   * x as [batch / ROWS][cols / LANES][ROWS][LANES], so that what is read together lies together.
   * For pairs, the even ones of 2 * LANES columns come before the odd ones, as {@link
   * VectorDot#splitPairs} has them.
   */
  private static void arrange(
      float[] x, int xStride, int cols, int batch, boolean pairs, MemorySegment input) {
    input = NativeMemory.known(input);
    int padded = (batch + ROWS - 1) / ROWS * ROWS;
    for (int b = 0; b < padded; b++) {
      long at = ((long) (b - b % ROWS) * cols + b % ROWS * LANES) * Float.BYTES;
      for (int k = 0; k < cols; k += 2 * LANES, at += 2 * ROWS * VECTOR) {
        FloatVector first = FloatVector.zero(F);
        FloatVector second = first;
        if (b < batch) {
          first = FloatVector.fromArray(F, x, b * xStride + k);
          second = FloatVector.fromArray(F, x, b * xStride + k + LANES);
        }
        FloatVector even = pairs ? first.rearrange(VectorDot.EVEN, second) : first;
        FloatVector odd = pairs ? first.rearrange(VectorDot.ODD, second) : second;
        even.intoMemorySegment(input, at, LE);
        odd.intoMemorySegment(input, at + ROWS * VECTOR, LE);
      }
    }
  }

  /**
   * Sums the lanes of all {@code n} vectors of an array in {@link VectorKernels#sum}'s order, two
   * vectors at a time: their lower halves side by side and their upper ones, added, are a vector of
   * both, which is folded with the next one in turn. The sums lie at the front, in order.
   */
  static void fold(float[] v, int n) {
    if (!SELECTS) {
      for (int i = 0; i < n; i++) {
        v[i] = VectorKernels.sum(v, i * LANES);
      }
      return;
    }
    for (int half = LANES / 2, left = n / 2; half > 0; half /= 2, left /= 2) {
      FloatVector lower = FloatVector.fromArray(F, FOLDS, half * 2 * LANES);
      FloatVector upper = FloatVector.fromArray(F, FOLDS, half * 2 * LANES + LANES);
      for (int i = 0; i < left; i++) {
        FloatVector a = FloatVector.fromArray(F, v, 2 * i * LANES);
        FloatVector b = FloatVector.fromArray(F, v, (2 * i + 1) * LANES);
        lower.selectFrom(a, b).add(upper.selectFrom(a, b)).intoArray(v, i * LANES);
      }
    }
  }

  /** Four rows as floats. */
  private static void decode(Matrix w, long at, long next, MemorySegment out, long to) {
    for (int j = 0; j < ROWS; j++, at += next, to += (long) w.cols() * Float.BYTES) {
      if (w.type() == TensorType.F16) {
        f16(w.data(), at, w.cols(), out, to);
      } else {
        q8(w.data(), at, w.cols(), out, to);
      }
    }
  }

  /** A row of halves, the even ones of 2 * LANES columns before the odd ones. */
  private static void f16(MemorySegment w, long at, int cols, MemorySegment out, long to) {
    w = NativeMemory.known(w);
    out = NativeMemory.known(out);
    VectorDot.faultsThrow(w, at);
    for (int i = 0; i < cols; i += 2 * LANES) {
      IntVector pairs = IntVector.fromMemorySegment(I, w, at + 2L * i, LE);
      VectorDot.half(pairs.lanewise(LSHL, 16)).intoMemorySegment(out, to + 4L * i, LE);
      VectorDot.half(pairs).intoMemorySegment(out, to + 4L * i + VECTOR, LE);
    }
  }

  private static void q8(MemorySegment w, long at, int cols, MemorySegment out, long to) {
    w = NativeMemory.known(w);
    out = NativeMemory.known(out);
    for (int i = 0; i < cols; i += 32, at += 34) {
      FloatVector scale = VectorDot.scale(w, at);
      for (int j = 0; j < 32; j += VectorDot.B.length()) {
        ByteVector bytes = ByteVector.fromMemorySegment(VectorDot.B, w, at + 2 + j, LE);
        for (int part = 0; part < VectorDot.PARTS; part++) {
          FloatVector weights = VectorDot.floats(bytes, part).mul(scale);
          weights.intoMemorySegment(out, to + 4L * (i + j + part * LANES), LE);
        }
      }
    }
  }

  private static void f32(
      MemorySegment w, long at, long next, MemorySegment x, long xAt, int cols, float[] sums) {
    w = NativeMemory.known(w);
    x = NativeMemory.known(x);
    VectorDot.faultsThrow(w, at);
    FloatVector a0 = FloatVector.zero(F),
        a1 = a0,
        a2 = a0,
        a3 = a0,
        b0 = a0,
        b1 = a0,
        b2 = a0,
        b3 = a0,
        c0 = a0,
        c1 = a0,
        c2 = a0,
        c3 = a0,
        d0 = a0,
        d1 = a0,
        d2 = a0,
        d3 = a0;
    for (int i = 0; i < cols; i += LANES, at += VECTOR, xAt += ROWS * VECTOR) {
      FloatVector a = FloatVector.fromMemorySegment(F, w, at, LE);
      FloatVector b = FloatVector.fromMemorySegment(F, w, at + next, LE);
      FloatVector c = FloatVector.fromMemorySegment(F, w, at + 2 * next, LE);
      FloatVector d = FloatVector.fromMemorySegment(F, w, at + 3 * next, LE);
      FloatVector z;
      z = FloatVector.fromMemorySegment(F, x, xAt, LE);
      a0 = a.fma(z, a0);
      b0 = b.fma(z, b0);
      c0 = c.fma(z, c0);
      d0 = d.fma(z, d0);
      z = FloatVector.fromMemorySegment(F, x, xAt + VECTOR, LE);
      a1 = a.fma(z, a1);
      b1 = b.fma(z, b1);
      c1 = c.fma(z, c1);
      d1 = d.fma(z, d1);
      z = FloatVector.fromMemorySegment(F, x, xAt + 2L * VECTOR, LE);
      a2 = a.fma(z, a2);
      b2 = b.fma(z, b2);
      c2 = c.fma(z, c2);
      d2 = d.fma(z, d2);
      z = FloatVector.fromMemorySegment(F, x, xAt + 3L * VECTOR, LE);
      a3 = a.fma(z, a3);
      b3 = b.fma(z, b3);
      c3 = c.fma(z, c3);
      d3 = d.fma(z, d3);
    }
    a0.intoArray(sums, 0 * LANES);
    a1.intoArray(sums, 1 * LANES);
    a2.intoArray(sums, 2 * LANES);
    a3.intoArray(sums, 3 * LANES);
    b0.intoArray(sums, 4 * LANES);
    b1.intoArray(sums, 5 * LANES);
    b2.intoArray(sums, 6 * LANES);
    b3.intoArray(sums, 7 * LANES);
    c0.intoArray(sums, 8 * LANES);
    c1.intoArray(sums, 9 * LANES);
    c2.intoArray(sums, 10 * LANES);
    c3.intoArray(sums, 11 * LANES);
    d0.intoArray(sums, 12 * LANES);
    d1.intoArray(sums, 13 * LANES);
    d2.intoArray(sums, 14 * LANES);
    d3.intoArray(sums, 15 * LANES);
  }

  private static void bf16(
      MemorySegment w, long at, long next, MemorySegment x, long xAt, int cols, float[] sums) {
    w = NativeMemory.known(w);
    x = NativeMemory.known(x);
    VectorDot.faultsThrow(w, at);
    FloatVector a0 = FloatVector.zero(F),
        a1 = a0,
        a2 = a0,
        a3 = a0,
        b0 = a0,
        b1 = a0,
        b2 = a0,
        b3 = a0,
        c0 = a0,
        c1 = a0,
        c2 = a0,
        c3 = a0,
        d0 = a0,
        d1 = a0,
        d2 = a0,
        d3 = a0;
    IntVector mask = IntVector.broadcast(I, 0xffff0000);
    for (int i = 0; i < cols; i += 2 * LANES, at += VECTOR, xAt += 2 * ROWS * VECTOR) {
      IntVector ap = IntVector.fromMemorySegment(I, w, at, LE);
      IntVector bp = IntVector.fromMemorySegment(I, w, at + next, LE);
      IntVector cp = IntVector.fromMemorySegment(I, w, at + 2 * next, LE);
      IntVector dp = IntVector.fromMemorySegment(I, w, at + 3 * next, LE);
      FloatVector aw = ap.lanewise(LSHL, 16).reinterpretAsFloats();
      FloatVector bw = bp.lanewise(LSHL, 16).reinterpretAsFloats();
      FloatVector cw = cp.lanewise(LSHL, 16).reinterpretAsFloats();
      FloatVector dw = dp.lanewise(LSHL, 16).reinterpretAsFloats();
      FloatVector z;
      z = FloatVector.fromMemorySegment(F, x, xAt, LE);
      a0 = aw.fma(z, a0);
      b0 = bw.fma(z, b0);
      c0 = cw.fma(z, c0);
      d0 = dw.fma(z, d0);
      z = FloatVector.fromMemorySegment(F, x, xAt + VECTOR, LE);
      a1 = aw.fma(z, a1);
      b1 = bw.fma(z, b1);
      c1 = cw.fma(z, c1);
      d1 = dw.fma(z, d1);
      z = FloatVector.fromMemorySegment(F, x, xAt + 2L * VECTOR, LE);
      a2 = aw.fma(z, a2);
      b2 = bw.fma(z, b2);
      c2 = cw.fma(z, c2);
      d2 = dw.fma(z, d2);
      z = FloatVector.fromMemorySegment(F, x, xAt + 3L * VECTOR, LE);
      a3 = aw.fma(z, a3);
      b3 = bw.fma(z, b3);
      c3 = cw.fma(z, c3);
      d3 = dw.fma(z, d3);
      aw = ap.and(mask).reinterpretAsFloats();
      bw = bp.and(mask).reinterpretAsFloats();
      cw = cp.and(mask).reinterpretAsFloats();
      dw = dp.and(mask).reinterpretAsFloats();
      z = FloatVector.fromMemorySegment(F, x, xAt + 4L * VECTOR, LE);
      a0 = aw.fma(z, a0);
      b0 = bw.fma(z, b0);
      c0 = cw.fma(z, c0);
      d0 = dw.fma(z, d0);
      z = FloatVector.fromMemorySegment(F, x, xAt + 5L * VECTOR, LE);
      a1 = aw.fma(z, a1);
      b1 = bw.fma(z, b1);
      c1 = cw.fma(z, c1);
      d1 = dw.fma(z, d1);
      z = FloatVector.fromMemorySegment(F, x, xAt + 6L * VECTOR, LE);
      a2 = aw.fma(z, a2);
      b2 = bw.fma(z, b2);
      c2 = cw.fma(z, c2);
      d2 = dw.fma(z, d2);
      z = FloatVector.fromMemorySegment(F, x, xAt + 7L * VECTOR, LE);
      a3 = aw.fma(z, a3);
      b3 = bw.fma(z, b3);
      c3 = cw.fma(z, c3);
      d3 = dw.fma(z, d3);
    }
    a0.intoArray(sums, 0 * LANES);
    a1.intoArray(sums, 1 * LANES);
    a2.intoArray(sums, 2 * LANES);
    a3.intoArray(sums, 3 * LANES);
    b0.intoArray(sums, 4 * LANES);
    b1.intoArray(sums, 5 * LANES);
    b2.intoArray(sums, 6 * LANES);
    b3.intoArray(sums, 7 * LANES);
    c0.intoArray(sums, 8 * LANES);
    c1.intoArray(sums, 9 * LANES);
    c2.intoArray(sums, 10 * LANES);
    c3.intoArray(sums, 11 * LANES);
    d0.intoArray(sums, 12 * LANES);
    d1.intoArray(sums, 13 * LANES);
    d2.intoArray(sums, 14 * LANES);
    d3.intoArray(sums, 15 * LANES);
  }

  /** The same for the first two rows of a tile of the batch. */
  private static void bf16Two(
      MemorySegment w, long at, long next, MemorySegment x, long xAt, int cols, float[] sums) {
    w = NativeMemory.known(w);
    x = NativeMemory.known(x);
    VectorDot.faultsThrow(w, at);
    FloatVector a0 = FloatVector.zero(F), a1 = a0, b0 = a0, b1 = a0;
    FloatVector c0 = a0, c1 = a0, d0 = a0, d1 = a0;
    IntVector mask = IntVector.broadcast(I, 0xffff0000);
    for (int i = 0; i < cols; i += 2 * LANES, at += VECTOR, xAt += 2 * ROWS * VECTOR) {
      IntVector ap = IntVector.fromMemorySegment(I, w, at, LE);
      IntVector bp = IntVector.fromMemorySegment(I, w, at + next, LE);
      IntVector cp = IntVector.fromMemorySegment(I, w, at + 2 * next, LE);
      IntVector dp = IntVector.fromMemorySegment(I, w, at + 3 * next, LE);
      FloatVector aw = ap.lanewise(LSHL, 16).reinterpretAsFloats();
      FloatVector bw = bp.lanewise(LSHL, 16).reinterpretAsFloats();
      FloatVector cw = cp.lanewise(LSHL, 16).reinterpretAsFloats();
      FloatVector dw = dp.lanewise(LSHL, 16).reinterpretAsFloats();
      FloatVector z;
      z = FloatVector.fromMemorySegment(F, x, xAt, LE);
      a0 = aw.fma(z, a0);
      b0 = bw.fma(z, b0);
      c0 = cw.fma(z, c0);
      d0 = dw.fma(z, d0);
      z = FloatVector.fromMemorySegment(F, x, xAt + VECTOR, LE);
      a1 = aw.fma(z, a1);
      b1 = bw.fma(z, b1);
      c1 = cw.fma(z, c1);
      d1 = dw.fma(z, d1);
      aw = ap.and(mask).reinterpretAsFloats();
      bw = bp.and(mask).reinterpretAsFloats();
      cw = cp.and(mask).reinterpretAsFloats();
      dw = dp.and(mask).reinterpretAsFloats();
      z = FloatVector.fromMemorySegment(F, x, xAt + 4L * VECTOR, LE);
      a0 = aw.fma(z, a0);
      b0 = bw.fma(z, b0);
      c0 = cw.fma(z, c0);
      d0 = dw.fma(z, d0);
      z = FloatVector.fromMemorySegment(F, x, xAt + 5L * VECTOR, LE);
      a1 = aw.fma(z, a1);
      b1 = bw.fma(z, b1);
      c1 = cw.fma(z, c1);
      d1 = dw.fma(z, d1);
    }
    a0.intoArray(sums, 0 * LANES);
    a1.intoArray(sums, 1 * LANES);
    b0.intoArray(sums, 4 * LANES);
    b1.intoArray(sums, 5 * LANES);
    c0.intoArray(sums, 8 * LANES);
    c1.intoArray(sums, 9 * LANES);
    d0.intoArray(sums, 12 * LANES);
    d1.intoArray(sums, 13 * LANES);
  }

  private static void q8(
      MemorySegment w, long at, long next, MemorySegment x, long xAt, int cols, float[] sums) {
    w = NativeMemory.known(w);
    x = NativeMemory.known(x);
    FloatVector a0 = FloatVector.zero(F),
        a1 = a0,
        a2 = a0,
        a3 = a0,
        b0 = a0,
        b1 = a0,
        b2 = a0,
        b3 = a0,
        c0 = a0,
        c1 = a0,
        c2 = a0,
        c3 = a0,
        d0 = a0,
        d1 = a0,
        d2 = a0,
        d3 = a0;
    long at1 = at + next;
    long at2 = at1 + next;
    long at3 = at2 + next;
    int blocks = cols / 32;
    for (int i = 0; i < blocks; i++) {
      long p = i * 34L;
      FloatVector as = VectorDot.scale(w, at + p);
      FloatVector bs = VectorDot.scale(w, at1 + p);
      FloatVector cs = VectorDot.scale(w, at2 + p);
      FloatVector ds = VectorDot.scale(w, at3 + p);
      for (int j = 0; j < 32; j += LANES) {
        long q = xAt + i * (32L * ROWS * Float.BYTES) + j * (ROWS * Float.BYTES);
        FloatVector aw =
            ((FloatVector)
                    ByteVector.fromMemorySegment(VectorDot.B, w, at + p + (2 + j), LE)
                        .convertShape(VectorOperators.B2F, F, 0))
                .mul(as);
        FloatVector bw =
            ((FloatVector)
                    ByteVector.fromMemorySegment(VectorDot.B, w, at1 + p + (2 + j), LE)
                        .convertShape(VectorOperators.B2F, F, 0))
                .mul(bs);
        FloatVector cw =
            ((FloatVector)
                    ByteVector.fromMemorySegment(VectorDot.B, w, at2 + p + (2 + j), LE)
                        .convertShape(VectorOperators.B2F, F, 0))
                .mul(cs);
        FloatVector dw =
            ((FloatVector)
                    ByteVector.fromMemorySegment(VectorDot.B, w, at3 + p + (2 + j), LE)
                        .convertShape(VectorOperators.B2F, F, 0))
                .mul(ds);
        FloatVector z;
        z = FloatVector.fromMemorySegment(F, x, q, LE);
        a0 = aw.fma(z, a0);
        b0 = bw.fma(z, b0);
        c0 = cw.fma(z, c0);
        d0 = dw.fma(z, d0);
        z = FloatVector.fromMemorySegment(F, x, q + VECTOR, LE);
        a1 = aw.fma(z, a1);
        b1 = bw.fma(z, b1);
        c1 = cw.fma(z, c1);
        d1 = dw.fma(z, d1);
        z = FloatVector.fromMemorySegment(F, x, q + 2L * VECTOR, LE);
        a2 = aw.fma(z, a2);
        b2 = bw.fma(z, b2);
        c2 = cw.fma(z, c2);
        d2 = dw.fma(z, d2);
        z = FloatVector.fromMemorySegment(F, x, q + 3L * VECTOR, LE);
        a3 = aw.fma(z, a3);
        b3 = bw.fma(z, b3);
        c3 = cw.fma(z, c3);
        d3 = dw.fma(z, d3);
      }
    }
    a0.intoArray(sums, 0 * LANES);
    a1.intoArray(sums, 1 * LANES);
    a2.intoArray(sums, 2 * LANES);
    a3.intoArray(sums, 3 * LANES);
    b0.intoArray(sums, 4 * LANES);
    b1.intoArray(sums, 5 * LANES);
    b2.intoArray(sums, 6 * LANES);
    b3.intoArray(sums, 7 * LANES);
    c0.intoArray(sums, 8 * LANES);
    c1.intoArray(sums, 9 * LANES);
    c2.intoArray(sums, 10 * LANES);
    c3.intoArray(sums, 11 * LANES);
    d0.intoArray(sums, 12 * LANES);
    d1.intoArray(sums, 13 * LANES);
    d2.intoArray(sums, 14 * LANES);
    d3.intoArray(sums, 15 * LANES);
  }

  /** The same for the first two rows of a tile of the batch. */
  private static void q8Two(
      MemorySegment w,
      long at,
      long next,
      MemorySegment x,
      long xAt,
      int cols,
      float[] sums,
      int sum) {
    w = NativeMemory.known(w);
    x = NativeMemory.known(x);
    FloatVector a0 = FloatVector.zero(F), a1 = a0, b0 = a0, b1 = a0;
    FloatVector c0 = a0, c1 = a0, d0 = a0, d1 = a0;
    long at1 = at + next;
    long at2 = at1 + next;
    long at3 = at2 + next;
    int blocks = cols / 32;
    for (int i = 0; i < blocks; i++) {
      long p = i * 34L;
      FloatVector as = VectorDot.scale(w, at + p);
      FloatVector bs = VectorDot.scale(w, at1 + p);
      FloatVector cs = VectorDot.scale(w, at2 + p);
      FloatVector ds = VectorDot.scale(w, at3 + p);
      // Two vectors a turn, so that there are two turns at most, which C2 unrolls: with four turns
      // of 256 bits it checks the bounds of each load in a roundabout way.
      for (int j = 0; j < 32; j += 2 * LANES) {
        long q = xAt + i * (32L * ROWS * Float.BYTES) + j * (ROWS * Float.BYTES);
        FloatVector aw =
            ((FloatVector)
                    ByteVector.fromMemorySegment(VectorDot.B, w, at + p + (2 + j), LE)
                        .convertShape(VectorOperators.B2F, F, 0))
                .mul(as);
        FloatVector bw =
            ((FloatVector)
                    ByteVector.fromMemorySegment(VectorDot.B, w, at1 + p + (2 + j), LE)
                        .convertShape(VectorOperators.B2F, F, 0))
                .mul(bs);
        FloatVector cw =
            ((FloatVector)
                    ByteVector.fromMemorySegment(VectorDot.B, w, at2 + p + (2 + j), LE)
                        .convertShape(VectorOperators.B2F, F, 0))
                .mul(cs);
        FloatVector dw =
            ((FloatVector)
                    ByteVector.fromMemorySegment(VectorDot.B, w, at3 + p + (2 + j), LE)
                        .convertShape(VectorOperators.B2F, F, 0))
                .mul(ds);
        FloatVector z = FloatVector.fromMemorySegment(F, x, q, LE);
        a0 = aw.fma(z, a0);
        b0 = bw.fma(z, b0);
        c0 = cw.fma(z, c0);
        d0 = dw.fma(z, d0);
        z = FloatVector.fromMemorySegment(F, x, q + VECTOR, LE);
        a1 = aw.fma(z, a1);
        b1 = bw.fma(z, b1);
        c1 = cw.fma(z, c1);
        d1 = dw.fma(z, d1);
        FloatVector av =
            ((FloatVector)
                    ByteVector.fromMemorySegment(VectorDot.B, w, at + p + (2 + j + LANES), LE)
                        .convertShape(VectorOperators.B2F, F, 0))
                .mul(as);
        FloatVector bv =
            ((FloatVector)
                    ByteVector.fromMemorySegment(VectorDot.B, w, at1 + p + (2 + j + LANES), LE)
                        .convertShape(VectorOperators.B2F, F, 0))
                .mul(bs);
        FloatVector cv =
            ((FloatVector)
                    ByteVector.fromMemorySegment(VectorDot.B, w, at2 + p + (2 + j + LANES), LE)
                        .convertShape(VectorOperators.B2F, F, 0))
                .mul(cs);
        FloatVector dv =
            ((FloatVector)
                    ByteVector.fromMemorySegment(VectorDot.B, w, at3 + p + (2 + j + LANES), LE)
                        .convertShape(VectorOperators.B2F, F, 0))
                .mul(ds);
        z = FloatVector.fromMemorySegment(F, x, q + 4L * VECTOR, LE);
        a0 = av.fma(z, a0);
        b0 = bv.fma(z, b0);
        c0 = cv.fma(z, c0);
        d0 = dv.fma(z, d0);
        z = FloatVector.fromMemorySegment(F, x, q + 5L * VECTOR, LE);
        a1 = av.fma(z, a1);
        b1 = bv.fma(z, b1);
        c1 = cv.fma(z, c1);
        d1 = dv.fma(z, d1);
      }
    }
    a0.intoArray(sums, sum + 0 * LANES);
    a1.intoArray(sums, sum + 1 * LANES);
    b0.intoArray(sums, sum + 4 * LANES);
    b1.intoArray(sums, sum + 5 * LANES);
    c0.intoArray(sums, sum + 8 * LANES);
    c1.intoArray(sums, sum + 9 * LANES);
    d0.intoArray(sums, sum + 12 * LANES);
    d1.intoArray(sums, sum + 13 * LANES);
  }
}
