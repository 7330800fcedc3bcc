package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.ScalarKernels.EXP_MAX;
import static dev.gemma4j.kernel.ScalarKernels.EXP_MIN;
import static dev.gemma4j.kernel.ScalarKernels.EXP_POLYNOMIAL;
import static dev.gemma4j.kernel.ScalarKernels.GELU_END;
import static dev.gemma4j.kernel.ScalarKernels.LN2_HIGH;
import static dev.gemma4j.kernel.ScalarKernels.LN2_LOW;
import static dev.gemma4j.kernel.ScalarKernels.LOG2E;
import static dev.gemma4j.kernel.ScalarKernels.NOTHING;
import static dev.gemma4j.kernel.ScalarKernels.ROUND;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorShuffle;
import jdk.incubator.vector.VectorSpecies;

/**
 * The kernels on the Vector API. The matrix products are in {@link BandProducts}, {@link
 * SmallBatch}, {@link VectorMatmul} and {@link VectorDot}, which {@link #matmul} chooses from.
 */
final class VectorKernels implements Kernels {
  static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
  static final VectorSpecies<Integer> I = IntVector.SPECIES_PREFERRED;

  /** As many shorts as {@link #F} has lanes. */
  static final VectorSpecies<Short> S =
      VectorSpecies.of(short.class, VectorShape.forBitSize(Math.max(64, F.vectorBitSize() / 2)));

  /** A 16-bit value of a file, which may lie anywhere. */
  static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private static final boolean X86 = System.getProperty("os.arch").matches("amd64|x86_64");

  /**
   * Whether there are 16 registers for vectors, as on x86 without AVX-512, instead of 32: sums that
   * find no place there make a kernel half as fast.
   */
  static final boolean FEW_REGISTERS = F.length() < 16 && X86;

  /**
   * Whether lanes of two vectors are chosen by one instruction, as in AVX-512: elsewhere {@link
   * FloatVector#selectFrom} is several, and on ARM it is Java code that makes objects.
   */
  static final boolean SELECTS = F.length() == 16 && X86;

  private static final int LANES = F.length();

  private static final VectorShuffle<Float> BY_8 = VectorShuffle.iota(F, 8, 1, true);
  private static final VectorShuffle<Float> BY_4 = VectorShuffle.iota(F, 4, 1, true);
  private static final VectorShuffle<Float> BY_2 = VectorShuffle.iota(F, 2, 1, true);

  /** Bytes from one position to the next in a block of values. */
  private static final long STEP = KvLayout.BLOCK * Float.BYTES;

  private static final float GELU_INNER = (float) Math.sqrt(2 / Math.PI);

  private static final float P0 = EXP_POLYNOMIAL[0];
  private static final float P1 = EXP_POLYNOMIAL[1];
  private static final float P2 = EXP_POLYNOMIAL[2];
  private static final float P3 = EXP_POLYNOMIAL[3];
  private static final float P4 = EXP_POLYNOMIAL[4];
  private static final float P5 = EXP_POLYNOMIAL[5];

  private final ScalarKernels scalar = new ScalarKernels();

  @Override
  public String name() {
    return "vector";
  }

  @Override
  public void matmul(
      Matrix w,
      int from,
      int to,
      float[] x,
      int xStride,
      int batch,
      float[] y,
      int yStride,
      Scratch scratch) {
    if (!w.packed()) {
      // A file that has become shorter has lost the end of w. It shows here, as the JDK's own
      // vector methods have no ordinary read, and a fault in them ends the process while C2 has
      // compiled them, but not yet the kernel.
      VectorDot.faultsThrow(w.data(), w.data().byteSize() - 1);
    }
    if (w.packed() && batch <= 16) {
      BandProducts.matmul(w, from, to, x, xStride, batch, y, yStride, scratch);
    } else if (batch > 1 && SmallBatch.serves(w, batch)) {
      SmallBatch.matmul(w, from, to, x, xStride, batch, y, yStride, scratch);
    } else if (batch > 1) {
      VectorMatmul.matmul(w, from, to, x, xStride, batch, y, yStride, scratch);
    } else {
      VectorDot.matvec(w, from, to, x, y, scratch);
    }
  }

  @Override
  public boolean packs(TensorType type) {
    return RowBands.serves(type);
  }

  @Override
  public Matrix pack(Matrix w, Arena arena, WorkerPool pool) {
    return packs(w.type()) ? RowBands.pack(w, arena, pool) : w;
  }

  @Override
  public void embed(Matrix w, int row, float scale, float[] out, int outOffset) {
    if (!w.packed()) {
      scalar.embed(w, row, scale, out, outOffset);
      return;
    }
    RowBands.unpackRow(w, row, out, outOffset);
    for (int i = outOffset; i < outOffset + w.cols(); i++) {
      out[i] *= scale;
    }
  }

  @Override
  public void rmsNorm(
      float[] x, int xOffset, float[] scale, float eps, float[] out, int outOffset) {
    int n = scale.length;
    float squares = dot(x, xOffset, x, xOffset, n);
    float inverse = (float) (1 / Math.sqrt(squares / n + eps));
    int i = 0;
    for (; i < F.loopBound(n); i += LANES) {
      FloatVector.fromArray(F, x, xOffset + i)
          .mul(inverse)
          .mul(FloatVector.fromArray(F, scale, i))
          .intoArray(out, outOffset + i);
    }
    for (; i < n; i++) {
      out[outOffset + i] = x[xOffset + i] * inverse * scale[i];
    }
  }

  @Override
  public void add(float[] x, float[] y, int offset, int n) {
    scalar.add(x, y, offset, n);
  }

  @Override
  public void geglu(float[] gate, float[] up, int offset, int n) {
    int i = 0;
    for (; i < F.loopBound(n); i += LANES) {
      FloatVector g = FloatVector.fromArray(F, gate, offset + i);
      FloatVector u = g.mul(g).mul(0.044715f).fma(g, g).mul(GELU_INNER);
      g.div(exp(u.mul(-2).min(GELU_END)).add(1))
          .mul(FloatVector.fromArray(F, up, offset + i))
          .intoArray(gate, offset + i);
    }
    scalar.geglu(gate, up, offset + i, n - i);
  }

  @Override
  public void scores(
      float[] q,
      int qOffset,
      int heads,
      MemorySegment[] pages,
      KvLayout layout,
      int from,
      int to,
      float[] scores,
      int stride,
      Scratch scratch) {
    int headDim = layout.headDim();
    int pageSize = layout.pageSize();
    if (!serves(layout)) {
      scalar.scores(q, qOffset, heads, pages, layout, from, to, scores, stride, scratch);
      return;
    }
    long step = pageSize * 4L;
    // Page by page, so that each page is read from memory once for all the heads that share it.
    for (int i = from; i < to; i++) {
      MemorySegment keys = KvVectors.keys(pages[i], layout, scratch);
      for (int p = 0; p < pageSize; p += Panel.WIDTH) {
        long at = KvVectors.keysAt(layout) + (long) p * Float.BYTES;
        int score = i * pageSize + p;
        Panel.multiply(
            keys, at, step, headDim, q, qOffset, headDim, heads, scores, score, stride, false);
      }
    }
  }

  @Override
  public void mixValues(
      float[] weights,
      int stride,
      int heads,
      MemorySegment[] pages,
      KvLayout layout,
      int length,
      int from,
      int to,
      float[] out,
      int outOffset,
      Scratch scratch) {
    int headDim = layout.headDim();
    int pageSize = layout.pageSize();
    if (!serves(layout)) {
      scalar.mixValues(
          weights, stride, heads, pages, layout, length, from, to, out, outOffset, scratch);
      return;
    }
    int wide = to - (to - from) % Panel.WIDTH;
    for (int first = 0; first < length; first += pageSize) {
      int n = Math.min(pageSize, length - first);
      MemorySegment page = pages[first / pageSize];
      for (int block = from / KvLayout.BLOCK; block * KvLayout.BLOCK < wide; block++) {
        MemorySegment values = KvVectors.values(page, layout, block, n, scratch);
        int end = Math.min(wide, (block + 1) * KvLayout.BLOCK);
        for (int d = block * KvLayout.BLOCK; d < end; d += Panel.WIDTH) {
          long at = KvVectors.valuesAt(layout, block) + 4L * (d % KvLayout.BLOCK);
          int target = outOffset + d;
          Panel.multiply(
              values, at, STEP, n, weights, first, stride, heads, out, target, headDim, first > 0);
        }
      }
      for (int d = wide; d < to; d++) {
        for (int h = 0; h < heads; h++) {
          float sum = first == 0 ? 0 : out[outOffset + h * headDim + d];
          for (int p = 0; p < n; p++) {
            sum = Math.fma(weights[h * stride + first + p], layout.value(page, p, d), sum);
          }
          out[outOffset + h * headDim + d] = sum;
        }
      }
    }
  }

  private static boolean serves(KvLayout layout) {
    return layout.pageSize() % Panel.WIDTH == 0;
  }

  @Override
  public void softmax(float[] x, int offset, int n, float scale) {
    int bound = F.loopBound(n);
    FloatVector maxima = FloatVector.broadcast(F, Float.NEGATIVE_INFINITY);
    for (int i = 0; i < bound; i += LANES) {
      maxima = maxima.max(FloatVector.fromArray(F, x, offset + i));
    }
    float max = maxima.reduceLanes(VectorOperators.MAX);
    for (int i = bound; i < n; i++) {
      max = Math.max(max, x[offset + i]);
    }
    if (!Float.isFinite(max)) {
      Arrays.fill(x, offset, offset + n, Float.NaN);
      return;
    }
    FloatVector sums = FloatVector.zero(F);
    for (int i = 0; i < bound; i += LANES) {
      FloatVector e =
          exp(FloatVector.fromArray(F, x, offset + i).sub(max).mul(scale)).sub(NOTHING).max(0);
      e.intoArray(x, offset + i);
      sums = sums.add(e);
    }
    float sum = sum(sums);
    for (int i = bound; i < n; i++) {
      x[offset + i] = ScalarKernels.weight((x[offset + i] - max) * scale);
      sum += x[offset + i];
    }
    for (int i = 0; i < bound; i += LANES) {
      FloatVector.fromArray(F, x, offset + i).div(sum).intoArray(x, offset + i);
    }
    for (int i = bound; i < n; i++) {
      x[offset + i] /= sum;
    }
  }

  /** {@link ScalarKernels#exp} lane by lane. */
  private static FloatVector exp(FloatVector x) {
    x = x.max(EXP_MIN).min(EXP_MAX);
    FloatVector n = x.fma(FloatVector.broadcast(F, LOG2E), FloatVector.broadcast(F, ROUND));
    IntVector exponent = n.reinterpretAsInts().lanewise(VectorOperators.LSHL, 23);
    n = n.sub(ROUND);
    FloatVector r = n.fma(FloatVector.broadcast(F, -LN2_HIGH), x);
    r = n.fma(FloatVector.broadcast(F, -LN2_LOW), r);
    // Written out: as a loop over the coefficients, attention allocated twice as much.
    FloatVector p = FloatVector.broadcast(F, P0);
    p = p.fma(r, FloatVector.broadcast(F, P1));
    p = p.fma(r, FloatVector.broadcast(F, P2));
    p = p.fma(r, FloatVector.broadcast(F, P3));
    p = p.fma(r, FloatVector.broadcast(F, P4));
    p = p.fma(r, FloatVector.broadcast(F, P5));
    p = p.fma(r.mul(r), r.add(1));
    return p.reinterpretAsInts().add(exponent).reinterpretAsFloats();
  }

  /**
   * The sum of all lanes, in the same order always: {@code reduceLanes} adds in one order once C2
   * has compiled it, and before in another. In small methods, which C2 always inlines: a vector
   * that is passed to one it does not inline is an allocation.
   */
  static float sum(FloatVector v) {
    return pair(fold4(fold8(v)));
  }

  private static FloatVector fold8(FloatVector v) {
    return LANES > 8 ? v.add(v.rearrange(BY_8)) : v;
  }

  private static FloatVector fold4(FloatVector v) {
    return LANES > 4 ? v.add(v.rearrange(BY_4)) : v;
  }

  private static float pair(FloatVector v) {
    FloatVector w = v.add(v.rearrange(BY_2));
    return w.lane(0) + w.lane(1);
  }

  /**
   * The same sum of lanes that were stored at {@code at}. It runs once for many turns of a
   * product's loop, so that C2 compiles it late; until then vectors in it would take longer than
   * the loop.
   */
  static float sum(float[] lanes, int at) {
    return (everyFourth(lanes, at) + everyFourth(lanes, at + 2))
        + (everyFourth(lanes, at + 1) + everyFourth(lanes, at + 3));
  }

  private static float everyFourth(float[] lanes, int i) {
    return switch (LANES) {
      case 16 -> (lanes[i] + lanes[i + 8]) + (lanes[i + 4] + lanes[i + 12]);
      case 8 -> lanes[i] + lanes[i + 4];
      default -> lanes[i];
    };
  }

  static float dot(float[] a, int aOffset, float[] b, int bOffset, int n) {
    FloatVector s0 = FloatVector.zero(F);
    FloatVector s1 = FloatVector.zero(F);
    int i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
      s0 =
          FloatVector.fromArray(F, a, aOffset + i)
              .fma(FloatVector.fromArray(F, b, bOffset + i), s0);
      s1 =
          FloatVector.fromArray(F, a, aOffset + i + LANES)
              .fma(FloatVector.fromArray(F, b, bOffset + i + LANES), s1);
    }
    float sum = sum(s0.add(s1));
    for (; i < n; i++) {
      sum = Math.fma(a[aOffset + i], b[bOffset + i], sum);
    }
    return sum;
  }
}
