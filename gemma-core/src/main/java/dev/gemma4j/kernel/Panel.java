package dev.gemma4j.kernel;

import static dev.gemma4j.kernel.VectorKernels.F;
import static dev.gemma4j.kernel.VectorKernels.FEW_REGISTERS;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;

/**
 * The one product behind prefill and attention: {@code y[b][j] += Σ x[b][k] panel[k][j]}, for a
 * panel WIDTH columns wide. The lanes are the panel's columns, so nothing is summed across lanes,
 * the panel's loads are aligned, and the sum over k has the same order whatever the batch.
 */
final class Panel {
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final int LANES = F.length();
  private static final int VECTOR = F.vectorByteSize();

  /** Columns of a panel. */
  static final int WIDTH = 2 * LANES;

  private Panel() {}

  /**
   * Multiplies.
   *
   * @param at byte at which the panel begins
   * @param step bytes from one k to the next
   * @param n the number of k
   * @param x [batch, xStride] from xAt
   * @param y [batch, yStride] from yAt
   * @param add to what y holds; else y is overwritten
   */
  static void multiply(
      MemorySegment panel,
      long at,
      long step,
      int n,
      float[] x,
      int xAt,
      int xStride,
      int batch,
      float[] y,
      int yAt,
      int yStride,
      boolean add) {
    for (int b = 0, tile; b < batch; b += tile) {
      int xb = xAt + b * xStride;
      int yb = yAt + b * yStride;
      tile = tile(batch - b);
      switch (tile) {
        case 8 -> tile8(panel, at, step, n, x, xb, xStride, y, yb, yStride, add);
        case 6 -> tile6(panel, at, step, n, x, xb, xStride, y, yb, yStride, add);
        case 4 -> tile4(panel, at, step, n, x, xb, xStride, y, yb, yStride, add);
        default -> tile1(panel, at, step, n, x, xb, y, yb, add);
      }
    }
  }

  /** How many rows meet the panel at once: their sums are in registers, two for each. */
  private static int tile(int left) {
    if (FEW_REGISTERS && left >= 6 && left != 8) {
      return 6;
    }
    return left >= 8 && !FEW_REGISTERS ? 8 : left >= 4 ? 4 : 1;
  }

  private static void tile8(
      MemorySegment panel,
      long at,
      long step,
      int n,
      float[] x,
      int xAt,
      int xStride,
      float[] y,
      int yAt,
      int yStride,
      boolean add) {
    panel = NativeMemory.known(panel);
    int x1 = xAt + xStride;
    int x2 = x1 + xStride;
    int x3 = x2 + xStride;
    int x4 = x3 + xStride;
    int x5 = x4 + xStride;
    int x6 = x5 + xStride;
    int x7 = x6 + xStride;
    FloatVector a0 = FloatVector.zero(F),
        b0 = a0,
        a1 = a0,
        b1 = a0,
        a2 = a0,
        b2 = a0,
        a3 = a0,
        b3 = a0,
        a4 = a0,
        b4 = a0,
        a5 = a0,
        b5 = a0,
        a6 = a0,
        b6 = a0,
        a7 = a0,
        b7 = a0;
    if (add) {
      a0 = FloatVector.fromArray(F, y, yAt);
      b0 = FloatVector.fromArray(F, y, yAt + LANES);
      a1 = FloatVector.fromArray(F, y, yAt + yStride);
      b1 = FloatVector.fromArray(F, y, yAt + yStride + LANES);
      a2 = FloatVector.fromArray(F, y, yAt + 2 * yStride);
      b2 = FloatVector.fromArray(F, y, yAt + 2 * yStride + LANES);
      a3 = FloatVector.fromArray(F, y, yAt + 3 * yStride);
      b3 = FloatVector.fromArray(F, y, yAt + 3 * yStride + LANES);
      a4 = FloatVector.fromArray(F, y, yAt + 4 * yStride);
      b4 = FloatVector.fromArray(F, y, yAt + 4 * yStride + LANES);
      a5 = FloatVector.fromArray(F, y, yAt + 5 * yStride);
      b5 = FloatVector.fromArray(F, y, yAt + 5 * yStride + LANES);
      a6 = FloatVector.fromArray(F, y, yAt + 6 * yStride);
      b6 = FloatVector.fromArray(F, y, yAt + 6 * yStride + LANES);
      a7 = FloatVector.fromArray(F, y, yAt + 7 * yStride);
      b7 = FloatVector.fromArray(F, y, yAt + 7 * yStride + LANES);
    }
    for (int k = 0; k < n; k++) {
      FloatVector p = FloatVector.fromMemorySegment(F, panel, at + k * step, LE);
      FloatVector q = FloatVector.fromMemorySegment(F, panel, at + k * step + VECTOR, LE);
      FloatVector v = FloatVector.broadcast(F, x[xAt + k]);
      a0 = p.fma(v, a0);
      b0 = q.fma(v, b0);
      v = FloatVector.broadcast(F, x[x1 + k]);
      a1 = p.fma(v, a1);
      b1 = q.fma(v, b1);
      v = FloatVector.broadcast(F, x[x2 + k]);
      a2 = p.fma(v, a2);
      b2 = q.fma(v, b2);
      v = FloatVector.broadcast(F, x[x3 + k]);
      a3 = p.fma(v, a3);
      b3 = q.fma(v, b3);
      v = FloatVector.broadcast(F, x[x4 + k]);
      a4 = p.fma(v, a4);
      b4 = q.fma(v, b4);
      v = FloatVector.broadcast(F, x[x5 + k]);
      a5 = p.fma(v, a5);
      b5 = q.fma(v, b5);
      v = FloatVector.broadcast(F, x[x6 + k]);
      a6 = p.fma(v, a6);
      b6 = q.fma(v, b6);
      v = FloatVector.broadcast(F, x[x7 + k]);
      a7 = p.fma(v, a7);
      b7 = q.fma(v, b7);
    }
    a0.intoArray(y, yAt);
    b0.intoArray(y, yAt + LANES);
    a1.intoArray(y, yAt + yStride);
    b1.intoArray(y, yAt + yStride + LANES);
    a2.intoArray(y, yAt + 2 * yStride);
    b2.intoArray(y, yAt + 2 * yStride + LANES);
    a3.intoArray(y, yAt + 3 * yStride);
    b3.intoArray(y, yAt + 3 * yStride + LANES);
    a4.intoArray(y, yAt + 4 * yStride);
    b4.intoArray(y, yAt + 4 * yStride + LANES);
    a5.intoArray(y, yAt + 5 * yStride);
    b5.intoArray(y, yAt + 5 * yStride + LANES);
    a6.intoArray(y, yAt + 6 * yStride);
    b6.intoArray(y, yAt + 6 * yStride + LANES);
    a7.intoArray(y, yAt + 7 * yStride);
    b7.intoArray(y, yAt + 7 * yStride + LANES);
  }

  private static void tile6(
      MemorySegment panel,
      long at,
      long step,
      int n,
      float[] x,
      int xAt,
      int xStride,
      float[] y,
      int yAt,
      int yStride,
      boolean add) {
    panel = NativeMemory.known(panel);
    int x1 = xAt + xStride;
    int x2 = x1 + xStride;
    int x3 = x2 + xStride;
    int x4 = x3 + xStride;
    int x5 = x4 + xStride;
    FloatVector a0 = FloatVector.zero(F),
        b0 = a0,
        a1 = a0,
        b1 = a0,
        a2 = a0,
        b2 = a0,
        a3 = a0,
        b3 = a0,
        a4 = a0,
        b4 = a0,
        a5 = a0,
        b5 = a0;
    if (add) {
      a0 = FloatVector.fromArray(F, y, yAt);
      b0 = FloatVector.fromArray(F, y, yAt + LANES);
      a1 = FloatVector.fromArray(F, y, yAt + yStride);
      b1 = FloatVector.fromArray(F, y, yAt + yStride + LANES);
      a2 = FloatVector.fromArray(F, y, yAt + 2 * yStride);
      b2 = FloatVector.fromArray(F, y, yAt + 2 * yStride + LANES);
      a3 = FloatVector.fromArray(F, y, yAt + 3 * yStride);
      b3 = FloatVector.fromArray(F, y, yAt + 3 * yStride + LANES);
      a4 = FloatVector.fromArray(F, y, yAt + 4 * yStride);
      b4 = FloatVector.fromArray(F, y, yAt + 4 * yStride + LANES);
      a5 = FloatVector.fromArray(F, y, yAt + 5 * yStride);
      b5 = FloatVector.fromArray(F, y, yAt + 5 * yStride + LANES);
    }
    for (int k = 0; k < n; k++) {
      FloatVector p = FloatVector.fromMemorySegment(F, panel, at + k * step, LE);
      FloatVector q = FloatVector.fromMemorySegment(F, panel, at + k * step + VECTOR, LE);
      FloatVector v = FloatVector.broadcast(F, x[xAt + k]);
      a0 = p.fma(v, a0);
      b0 = q.fma(v, b0);
      v = FloatVector.broadcast(F, x[x1 + k]);
      a1 = p.fma(v, a1);
      b1 = q.fma(v, b1);
      v = FloatVector.broadcast(F, x[x2 + k]);
      a2 = p.fma(v, a2);
      b2 = q.fma(v, b2);
      v = FloatVector.broadcast(F, x[x3 + k]);
      a3 = p.fma(v, a3);
      b3 = q.fma(v, b3);
      v = FloatVector.broadcast(F, x[x4 + k]);
      a4 = p.fma(v, a4);
      b4 = q.fma(v, b4);
      v = FloatVector.broadcast(F, x[x5 + k]);
      a5 = p.fma(v, a5);
      b5 = q.fma(v, b5);
    }
    a0.intoArray(y, yAt);
    b0.intoArray(y, yAt + LANES);
    a1.intoArray(y, yAt + yStride);
    b1.intoArray(y, yAt + yStride + LANES);
    a2.intoArray(y, yAt + 2 * yStride);
    b2.intoArray(y, yAt + 2 * yStride + LANES);
    a3.intoArray(y, yAt + 3 * yStride);
    b3.intoArray(y, yAt + 3 * yStride + LANES);
    a4.intoArray(y, yAt + 4 * yStride);
    b4.intoArray(y, yAt + 4 * yStride + LANES);
    a5.intoArray(y, yAt + 5 * yStride);
    b5.intoArray(y, yAt + 5 * yStride + LANES);
  }

  private static void tile4(
      MemorySegment panel,
      long at,
      long step,
      int n,
      float[] x,
      int xAt,
      int xStride,
      float[] y,
      int yAt,
      int yStride,
      boolean add) {
    panel = NativeMemory.known(panel);
    int x1 = xAt + xStride;
    int x2 = x1 + xStride;
    int x3 = x2 + xStride;
    FloatVector a0 = FloatVector.zero(F),
        b0 = a0,
        a1 = a0,
        b1 = a0,
        a2 = a0,
        b2 = a0,
        a3 = a0,
        b3 = a0;
    if (add) {
      a0 = FloatVector.fromArray(F, y, yAt);
      b0 = FloatVector.fromArray(F, y, yAt + LANES);
      a1 = FloatVector.fromArray(F, y, yAt + yStride);
      b1 = FloatVector.fromArray(F, y, yAt + yStride + LANES);
      a2 = FloatVector.fromArray(F, y, yAt + 2 * yStride);
      b2 = FloatVector.fromArray(F, y, yAt + 2 * yStride + LANES);
      a3 = FloatVector.fromArray(F, y, yAt + 3 * yStride);
      b3 = FloatVector.fromArray(F, y, yAt + 3 * yStride + LANES);
    }
    for (int k = 0; k < n; k++) {
      FloatVector p = FloatVector.fromMemorySegment(F, panel, at + k * step, LE);
      FloatVector q = FloatVector.fromMemorySegment(F, panel, at + k * step + VECTOR, LE);
      FloatVector v = FloatVector.broadcast(F, x[xAt + k]);
      a0 = p.fma(v, a0);
      b0 = q.fma(v, b0);
      v = FloatVector.broadcast(F, x[x1 + k]);
      a1 = p.fma(v, a1);
      b1 = q.fma(v, b1);
      v = FloatVector.broadcast(F, x[x2 + k]);
      a2 = p.fma(v, a2);
      b2 = q.fma(v, b2);
      v = FloatVector.broadcast(F, x[x3 + k]);
      a3 = p.fma(v, a3);
      b3 = q.fma(v, b3);
    }
    a0.intoArray(y, yAt);
    b0.intoArray(y, yAt + LANES);
    a1.intoArray(y, yAt + yStride);
    b1.intoArray(y, yAt + yStride + LANES);
    a2.intoArray(y, yAt + 2 * yStride);
    b2.intoArray(y, yAt + 2 * yStride + LANES);
    a3.intoArray(y, yAt + 3 * yStride);
    b3.intoArray(y, yAt + 3 * yStride + LANES);
  }

  private static void tile1(
      MemorySegment panel,
      long at,
      long step,
      int n,
      float[] x,
      int xAt,
      float[] y,
      int yAt,
      boolean add) {
    panel = NativeMemory.known(panel);
    FloatVector a0 = FloatVector.zero(F), b0 = a0;
    if (add) {
      a0 = FloatVector.fromArray(F, y, yAt);
      b0 = FloatVector.fromArray(F, y, yAt + LANES);
    }
    for (int k = 0; k < n; k++) {
      FloatVector p = FloatVector.fromMemorySegment(F, panel, at + k * step, LE);
      FloatVector q = FloatVector.fromMemorySegment(F, panel, at + k * step + VECTOR, LE);
      FloatVector v = FloatVector.broadcast(F, x[xAt + k]);
      a0 = p.fma(v, a0);
      b0 = q.fma(v, b0);
    }
    a0.intoArray(y, yAt);
    b0.intoArray(y, yAt + LANES);
  }
}
