package dev.gemma4j.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import jdk.incubator.vector.FloatVector;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Both implementations against double precision, on awkward lengths and extreme values. */
class KernelsTest {
  private static final WorkerPool ONE = WorkerPool.start(1, "test");

  private final Random random = new Random(1);

  static Stream<Kernels> kernels() {
    return KernelProvider.vectorAvailable()
        ? Stream.of(KernelProvider.scalar(), KernelProvider.vector())
        : Stream.of(KernelProvider.scalar());
  }

  /** Normally distributed, of a prime number, as drawing each that is needed takes too long. */
  private static final float[] GAUSSIANS = new float[99_991];

  static {
    Random random = new Random(2);
    for (int i = 0; i < GAUSSIANS.length; i++) {
      GAUSSIANS[i] = (float) random.nextGaussian();
    }
  }

  private float[] floats(int n) {
    float[] x = new float[n];
    int from = random.nextInt(GAUSSIANS.length);
    for (int at = 0; at < n; from = 0) {
      int part = Math.min(n - at, GAUSSIANS.length - from);
      System.arraycopy(GAUSSIANS, from, x, at, part);
      at += part;
    }
    return x;
  }

  /** Random valid weights; the bytes of quants are arbitrary, scales are small halves. */
  private Matrix matrix(TensorType type, int rows, int cols, Arena arena) {
    MemorySegment data = arena.allocate(type.byteSize((long) rows * cols));
    for (long at = 0; at < data.byteSize(); at += type.blockBytes()) {
      float value = (float) random.nextGaussian();
      switch (type) {
        case F32 -> data.set(ValueLayout.JAVA_FLOAT_UNALIGNED, at, value);
        case F16 ->
            data.set(ValueLayout.JAVA_SHORT_UNALIGNED, at, Float.floatToFloat16(value * 1e-3f));
        case BF16 ->
            data.set(
                ValueLayout.JAVA_SHORT_UNALIGNED,
                at,
                (short) (Float.floatToRawIntBits(value) >> 16));
        case Q4_K, Q6_K -> {
          byte[] block = new byte[type.blockBytes()];
          random.nextBytes(block);
          MemorySegment.copy(block, 0, data, ValueLayout.JAVA_BYTE, at, block.length);
          short d = Float.floatToFloat16(value / 1024);
          int scale = type == TensorType.Q4_K ? 0 : 208;
          data.set(ValueLayout.JAVA_SHORT_UNALIGNED, at + scale, d);
          if (type == TensorType.Q4_K) {
            data.set(ValueLayout.JAVA_SHORT_UNALIGNED, at + 2, d);
          }
        }
        default -> {
          byte[] block = new byte[type.blockBytes()];
          random.nextBytes(block);
          MemorySegment.copy(block, 0, data, ValueLayout.JAVA_BYTE, at, block.length);
          data.set(ValueLayout.JAVA_SHORT_UNALIGNED, at, Float.floatToFloat16(value / 64));
        }
      }
    }
    return new Matrix(type, rows, cols, data);
  }

  private static List<int[]> shapes(TensorType type) {
    List<int[]> shapes = new ArrayList<>();
    for (int rows : new int[] {1, 3, 16, 37, 70}) {
      for (int cols : new int[] {32, 64, 96, 160, 256, 2048, 2080, 4160}) {
        if (cols % type.blockSize() == 0) {
          shapes.add(new int[] {rows, cols});
        }
      }
      if (type.blockSize() == 1) {
        for (int cols : new int[] {1, 2, 7, 15, 17, 31, 33, 127, 2049}) {
          shapes.add(new int[] {rows, cols});
        }
      }
    }
    shapes.add(new int[] {600, 768}); // more than one group of rows, and of columns brought near
    return shapes;
  }

  /** Without the most for some long rows, whose ends other numbers of rows meet with it. */
  private static int[] batches(int rows, int cols, int... all) {
    boolean meets = cols <= 256 || rows != 3 && rows != 37;
    return meets ? all : Arrays.copyOf(all, all.length - 1);
  }

  private static final List<TensorType> TYPES =
      List.of(
          TensorType.F32,
          TensorType.F16,
          TensorType.BF16,
          TensorType.Q8_0,
          TensorType.Q4_0,
          TensorType.Q4_K,
          TensorType.Q6_K);

  @ParameterizedTest
  @MethodSource("kernels")
  void matrixProducts(Kernels kernels) {
    for (TensorType type : TYPES) {
      for (int[] shape : shapes(type)) {
        int rows = shape[0];
        int cols = shape[1];
        try (Arena arena = Arena.ofConfined()) {
          Matrix stored = matrix(type, rows, cols, arena);
          Matrix w = kernels.pack(stored, arena, ONE);
          float[] decoded = new float[rows * cols];
          type.dequantize(stored.data(), 0, decoded, 0, decoded.length);
          for (int batch : batches(rows, cols, 1, 2, 3, 4, 5, 7, 12, 67)) {
            int xStride = cols + 3;
            float[] x = floats(batch * xStride);
            for (int b = 0; b < batch; b++) {
              Arrays.fill(x, b * xStride + cols, (b + 1) * xStride, Float.NaN);
            }
            int stride = rows + 2;
            float[] y = new float[batch * stride];
            Arrays.fill(y, 77);
            // In two parts, as two threads compute it.
            int middle = rows / 2 / Kernels.ROW_GROUP * Kernels.ROW_GROUP;
            kernels.matmul(w, 0, middle, x, xStride, batch, y, stride, new Scratch());
            kernels.matmul(w, middle, rows, x, xStride, batch, y, stride, new Scratch());
            double[] columns = new double[cols * batch];
            for (int i = 0; i < columns.length; i++) {
              columns[i] = x[i % batch * xStride + i / batch];
            }
            double[] sums = new double[batch];
            double[] sizes = new double[batch];
            for (int r = 0; r < rows; r++) {
              Arrays.fill(sums, 0);
              Arrays.fill(sizes, 0);
              for (int c = 0; c < cols; c++) {
                addProducts(decoded[r * cols + c], columns, c * batch, sums, sizes);
              }
              for (int b = 0; b < batch; b++) {
                // A packed nibble is read as 1 + q/256: 4 bits of the sum are its offset's.
                double tolerance = (type == TensorType.Q4_0 ? 1e-5 : 4e-6) * sizes[b] + 1e-30;
                float found = y[b * stride + r];
                if (!(Math.abs(found - sums[b]) <= tolerance)) { // for millions, AssertJ is slow
                  assertThat((double) found)
                      .as("%s %dx%d, batch %d, row %d of %d", type, rows, cols, batch, r, b)
                      .isCloseTo(sums[b], within(tolerance));
                }
              }
            }
            for (int b = 0; b < batch; b++) {
              assertThat(y[b * stride + rows]).as("beyond the rows").isEqualTo(77);
            }
          }
        }
      }
    }
  }

  /** Of one weight with a row of values, a loop that the JIT makes vectors of. */
  private static void addProducts(
      double weight, double[] values, int from, double[] sums, double[] sizes) {
    for (int b = 0; b < sums.length; b++) {
      double product = weight * values[from + b];
      sums[b] += product;
      sizes[b] += Math.abs(product);
    }
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void extremeWeights(Kernels kernels) {
    float[] values = {
      0f, -0f, 65504f, -65504f, 0x1p-24f, -0x1p-24f, 0x1p-14f, 6.0e-8f, 1f, -1f, 0.1f, 3.3e-5f
    };
    try (Arena arena = Arena.ofConfined()) {
      int cols = 64;
      MemorySegment data = arena.allocate(cols * 2L);
      for (int i = 0; i < cols; i++) {
        data.set(
            ValueLayout.JAVA_SHORT_UNALIGNED,
            2L * i,
            Float.floatToFloat16(values[i % values.length]));
      }
      Matrix w = new Matrix(TensorType.F16, 1, cols, data);
      for (int i = 0; i < cols; i++) {
        float[] x = new float[cols];
        x[i] = 1;
        float[] y = new float[1];
        kernels.matmul(w, 0, 1, x, cols, 1, y, 1, new Scratch());
        assertThat(y[0])
            .isEqualTo(Float.float16ToFloat(Float.floatToFloat16(values[i % values.length])) + 0f);
      }
    }
  }

  /** A wrong number would be a text; this is refused. */
  @ParameterizedTest
  @MethodSource("kernels")
  void whatIsNotFiniteStaysSo(Kernels kernels) {
    int rows = 70;
    int cols = 160;
    for (TensorType type :
        List.of(TensorType.F32, TensorType.F16, TensorType.BF16, TensorType.Q8_0)) {
      for (int bits : new int[] {0x7f800000, 0xff800000, 0x7fc00000, 0x7fff_e000}) {
        try (Arena arena = Arena.ofConfined()) {
          Matrix w = matrix(type, rows, cols, arena);
          if (type == TensorType.Q8_0 && kernels.packs(type)) {
            continue; // see below
          }
          long at = 3 * w.rowBytes();
          short half = Float.floatToFloat16(Float.intBitsToFloat(bits));
          switch (type) {
            case F32 -> w.data().set(ValueLayout.JAVA_INT_UNALIGNED, at, bits);
            case BF16 -> w.data().set(ValueLayout.JAVA_SHORT_UNALIGNED, at, (short) (bits >>> 16));
            default -> w.data().set(ValueLayout.JAVA_SHORT_UNALIGNED, at, half);
          }
          for (int batch : new int[] {1, 2, 7, 12, 67}) {
            float[] y = new float[batch * rows];
            kernels.matmul(w, 0, rows, floats(batch * cols), cols, batch, y, rows, new Scratch());
            for (int i = 0; i < y.length; i++) {
              assertThat(Float.isFinite(y[i]))
                  .as("%s %x, batch %d, %d", type, bits, batch, i)
                  .isEqualTo(i % rows != 3);
            }
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void scalesThatAreNotFiniteAreNotPacked(Kernels kernels) {
    for (TensorType type : TYPES) {
      for (short half : new short[] {0x7c00, (short) 0xfc00, 0x7e00, 0x7c01}) {
        try (Arena arena = Arena.ofConfined()) {
          Matrix w = matrix(type, 70, 512, arena);
          if (!kernels.packs(type)) {
            continue;
          }
          long at = 69 * w.rowBytes() + type.byteSize(256) + (type == TensorType.Q6_K ? 208 : 0);
          w.data().set(ValueLayout.JAVA_SHORT_UNALIGNED, at, half);
          assertThatThrownBy(() -> kernels.pack(w, arena, ONE))
              .isInstanceOf(ArithmeticException.class)
              .hasMessage("a scale that is " + Float.float16ToFloat(half));
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void aSoftmaxOfWhatIsNotFiniteIsNone(Kernels kernels) {
    for (int bits : new int[] {0x7fc00000, 0x7fffffff, 0xffffffff, 0x7f800001, 0x7f800000}) {
      for (int at : new int[] {0, 20, 36}) {
        float[] x = floats(37);
        x[at] = Float.intBitsToFloat(bits);
        kernels.softmax(x, 0, x.length, 0.3f);
        assertThat(x).containsOnly(Float.NaN);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void embeddingRows(Kernels kernels) {
    try (Arena arena = Arena.ofConfined()) {
      for (TensorType type : TYPES) {
        Matrix stored = matrix(type, 5, 256, arena);
        Matrix w = kernels.pack(stored, arena, ONE);
        float[] expected = new float[256];
        type.dequantize(stored.data(), 3 * 256, expected, 0, 256);
        float[] out = new float[260];
        kernels.embed(w, 3, 8, out, 2);
        for (int i = 0; i < 256; i++) {
          assertThat(out[i + 2]).isEqualTo(expected[i] * 8);
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void rmsNorm(Kernels kernels) {
    for (int n : new int[] {1, 7, 16, 31, 64, 333, 2048}) {
      for (float size : new float[] {1e-6f, 1, 1e6f}) {
        float[] x = floats(n + 3);
        for (int i = 0; i < x.length; i++) {
          x[i] *= size;
        }
        float[] scale = floats(n);
        double squares = 0;
        for (int i = 0; i < n; i++) {
          squares += (double) x[3 + i] * x[3 + i];
        }
        double inverse = 1 / Math.sqrt(squares / n + 1e-6);
        float[] out = new float[n + 5];
        kernels.rmsNorm(x, 3, scale, 1e-6f, out, 5);
        for (int i = 0; i < n; i++) {
          double expected = x[3 + i] * inverse * scale[i];
          assertThat((double) out[5 + i])
              .isCloseTo(expected, within(1e-6 + 2e-6 * Math.abs(expected)));
        }
      }
    }
    float[] zeros = new float[16];
    kernels.rmsNorm(zeros, 0, floats(16), 1e-6f, zeros, 0);
    for (float zero : zeros) {
      assertThat(zero == 0).isTrue(); // -0 will do
    }
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void geglu(Kernels kernels) {
    for (int n : new int[] {1, 15, 16, 17, 100}) {
      float[] gate = floats(n + 1);
      for (int i = 0; i < n; i++) {
        gate[i] *= 8;
      }
      float[] up = floats(n + 1);
      float[] out = gate.clone();
      kernels.geglu(out, up, 0, n);
      for (int i = 0; i < n; i++) {
        double g = gate[i];
        double gelu =
            0.5 * g * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (g + 0.044715 * g * g * g)));
        assertThat((double) out[i])
            .isCloseTo(gelu * up[i], within(1e-6 + 2e-6 * Math.abs(gelu * up[i])));
      }
      assertThat(out[n]).isEqualTo(gate[n]);
    }
  }

  /** Some processors multiply subnormal numbers a hundred times slower. */
  @ParameterizedTest
  @MethodSource("kernels")
  void nothingIsSubnormal(Kernels kernels) {
    int n = 37;
    float[] scores = new float[n];
    float[] gate = new float[n];
    float[] up = new float[n];
    for (int i = 0; i < n; i++) {
      scores[i] = -5 * i;
      gate[i] = -i;
      up[i] = i % 2 == 0 ? 1 : -0.01f;
    }
    kernels.softmax(scores, 0, n, 1);
    kernels.geglu(gate, up, 0, n);
    double sum = 0;
    for (int i = 0; i < n; i++) {
      sum += scores[i];
      assertThat((double) scores[i])
          .isCloseTo(Math.exp(-5 * i) * (1 - Math.exp(-5)), within(1e-30 + 1e-6 * scores[i]));
      assertThat(scores[i] == 0 || scores[i] >= Float.MIN_NORMAL).as("weight %d", i).isTrue();
      assertThat(gate[i] == 0 || Math.abs(gate[i]) >= Float.MIN_NORMAL).as("gate %d", i).isTrue();
    }
    assertThat(sum).isCloseTo(1, within(1e-6));
    assertThat(scores[n - 1]).isZero();
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void attention(Kernels kernels) {
    for (KvLayout.Type type : KvLayout.Type.values()) {
      for (int headDim : new int[] {2, 16, 20, 32, 40, 256}) {
        for (int heads : new int[] {1, 3, 8}) {
          for (int length : new int[] {1, 2, 31, 32, 33, 100}) {
            for (float size : new float[] {1, 1000}) {
              attention(kernels, type, headDim, heads, length, size);
            }
          }
        }
      }
    }
  }

  private void attention(
      Kernels kernels, KvLayout.Type type, int headDim, int heads, int length, float size) {
    int pageSize = 32;
    long bytes = KvLayout.bytes(type, pageSize, headDim);
    KvLayout layout = new KvLayout(type, pageSize, headDim, 64, 64 + bytes);
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment[] pages = new MemorySegment[(length + pageSize - 1) / pageSize];
      float[][] keys = new float[length][headDim];
      float[][] values = new float[length][headDim];
      for (int i = 0; i < pages.length; i++) {
        pages[i] = arena.allocate(64 + 2 * bytes, 64);
        pages[i].fill((byte) -1); // NaN wherever nothing is stored
      }
      for (int p = 0; p < length; p++) {
        MemorySegment page = pages[p / pageSize];
        layout.put(page, p % pageSize, floats(headDim), floats(headDim), 0);
        layout.get(page, p % pageSize, keys[p], values[p], 0);
      }
      float[] q = floats(4 + heads * headDim);
      for (int i = 0; i < q.length; i++) {
        q[i] *= size;
      }
      float[] out = new float[q.length];
      attend(kernels, q, heads, pages, layout, length, out);
      for (int h = 0; h < heads; h++) {
        double[] weights = new double[length];
        double max = Double.NEGATIVE_INFINITY;
        for (int p = 0; p < length; p++) {
          for (int d = 0; d < headDim; d++) {
            weights[p] += 0.25 * q[4 + h * headDim + d] * keys[p][d];
          }
          max = Math.max(max, weights[p]);
        }
        double sum = 0;
        for (int p = 0; p < length; p++) {
          weights[p] = Math.exp(weights[p] - max);
          sum += weights[p];
        }
        for (int d = 0; d < headDim; d++) {
          double expected = 0;
          for (int p = 0; p < length; p++) {
            expected += weights[p] / sum * values[p][d];
          }
          double tolerance = size == 1 ? 2e-5 : 2e-2;
          float found = out[4 + h * headDim + d];
          if (!(Math.abs(found - expected) <= tolerance)) {
            assertThat((double) found)
                .as("%s, dim %d, heads %d, length %d, %s", type, headDim, heads, length, size)
                .isCloseTo(expected, within(tolerance));
          }
        }
      }
    }
  }

  /** In two parts each, as two threads would, the first of them empty when there is only one. */
  private static void attend(
      Kernels kernels,
      float[] q,
      int heads,
      MemorySegment[] pages,
      KvLayout layout,
      int length,
      float[] out) {
    Scratch scratch = new Scratch();
    int stride = pages.length * layout.pageSize();
    int headDim = layout.headDim();
    float[] w = new float[heads * stride];
    int half = pages.length / 2;
    kernels.scores(q, 4, heads, pages, layout, 0, half, w, stride, scratch);
    kernels.scores(q, 4, heads, pages, layout, half, pages.length, w, stride, scratch);
    for (int h = 0; h < heads; h++) {
      kernels.softmax(w, h * stride, length, 0.25f);
    }
    half = headDim / 2 / KvLayout.BLOCK * KvLayout.BLOCK;
    kernels.mixValues(w, stride, heads, pages, layout, length, half, headDim, out, 4, scratch);
    kernels.mixValues(w, stride, heads, pages, layout, length, 0, half, out, 4, scratch);
  }

  @Test
  void keysAndValuesAreRoundedToTheirType() {
    int headDim = 40;
    float[] key = floats(headDim + 3);
    float[] value = floats(headDim + 3);
    float[] gotKey = new float[headDim + 3];
    float[] gotValue = new float[headDim + 3];
    for (KvLayout.Type type : KvLayout.Type.values()) {
      long bytes = KvLayout.bytes(type, 32, headDim);
      KvLayout layout = new KvLayout(type, 32, headDim, 0, bytes);
      MemorySegment page = Arena.ofAuto().allocate(2 * bytes, 64);
      for (int slot = 31; slot >= 0; slot--) {
        layout.put(page, slot, key, value, 3);
      }
      double tolerance =
          switch (type) {
            case F32 -> 0;
            case F16 -> 4 * 0x1p-11; // of values up to 4 or so
            case Q8 -> 5.0 / 127 / 2;
          };
      for (int slot = 0; slot < 32; slot++) {
        layout.get(page, slot, gotKey, gotValue, 3);
        for (int d = 3; d < headDim + 3; d++) {
          assertThat((double) gotKey[d]).isCloseTo(key[d], within(tolerance));
          assertThat((double) gotValue[d]).isCloseTo(value[d], within(tolerance));
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void sums(Kernels kernels) {
    float[] x = floats(50);
    float[] y = floats(50);
    float[] out = x.clone();
    kernels.add(out, y, 3, 40);
    for (int i = 0; i < 50; i++) {
      assertThat(out[i]).isEqualTo(i >= 3 && i < 43 ? x[i] + y[i] : x[i]);
    }
  }

  /** The first texts, before C2 has compiled the kernels, must not round otherwise. */
  @Test
  void lanesAreSummedInOneOrder() {
    assumeTrue(KernelProvider.vectorAvailable());
    int lanes = VectorKernels.F.length();
    float[] x = floats(16 * lanes);
    float[] folded = x.clone();
    SmallBatch.fold(folded, 16);
    for (int i = 0; i < 16; i++) {
      float sum = VectorKernels.sum(FloatVector.fromArray(VectorKernels.F, x, i * lanes));
      assertThat(VectorKernels.sum(x, i * lanes)).isEqualTo(sum);
      assertThat(folded[i]).isEqualTo(sum);
    }
  }

  /** To the last bit, since a text begins on the one and goes on on the other. */
  @Test
  void earlyProductsRoundAsVectorsDo() {
    assumeTrue(KernelProvider.vectorAvailable());
    VectorKernels vector = new VectorKernels();
    Scratch scratch = new Scratch();
    for (TensorType type : TYPES) {
      for (int[] shape : shapes(type)) {
        int rows = shape[0];
        int cols = shape[1];
        try (Arena arena = Arena.ofConfined()) {
          Matrix w = matrix(type, rows, cols, arena);
          for (int batch : batches(rows, cols, 1, 2, 4, 5, 16, 17, 67)) {
            float[] x = floats(batch * cols);
            float[] expected = new float[batch * rows];
            float[] y = new float[batch * rows];
            int middle = rows / 2 / Kernels.ROW_GROUP * Kernels.ROW_GROUP;
            vector.matmul(w, 0, rows, x, cols, batch, expected, rows, new Scratch());
            EarlyMatmul.matmul(w, 0, middle, x, cols, batch, y, rows, scratch);
            EarlyMatmul.matmul(w, middle, rows, x, cols, batch, y, rows, scratch);
            assertThat(y).as("%s %dx%d, batch %d", type, rows, cols, batch).isEqualTo(expected);
          }
        }
      }
    }
  }

  @Test
  void earlyNormsAndAttentionRoundAsVectorsDo() {
    assumeTrue(KernelProvider.vectorAvailable());
    VectorKernels vector = new VectorKernels();
    Kernels early = new ScalarKernels(VectorKernels.F.length());
    for (int n : new int[] {1, 7, 16, 31, 32, 64, 333, 2048}) {
      float[] x = floats(n);
      float[] scale = floats(n);
      float[] expected = new float[n];
      float[] out = new float[n];
      vector.rmsNorm(x, 0, scale, 1e-6f, expected, 0);
      early.rmsNorm(x, 0, scale, 1e-6f, out, 0);
      assertThat(out).as("norm of %d", n).isEqualTo(expected);
      expected = x.clone();
      out = x.clone();
      vector.geglu(expected, scale, 0, n);
      early.geglu(out, scale, 0, n);
      assertThat(out).as("geglu of %d", n).isEqualTo(expected);
      vector.softmax(expected, 0, n, 0.3f);
      early.softmax(out, 0, n, 0.3f);
      assertThat(out).as("softmax of %d", n).isEqualTo(expected);
    }
    for (KvLayout.Type type : KvLayout.Type.values()) {
      for (int headDim : new int[] {20, 32, 40, 256}) {
        for (int heads : new int[] {1, 3, 8, 12}) {
          for (int length : new int[] {1, 33, 100}) {
            long bytes = KvLayout.bytes(type, 32, headDim);
            KvLayout layout = new KvLayout(type, 32, headDim, 0, bytes);
            MemorySegment[] pages = new MemorySegment[(length + 31) / 32];
            for (int i = 0; i < pages.length; i++) {
              pages[i] = Arena.ofAuto().allocate(2 * bytes, 64);
            }
            for (int p = 0; p < length; p++) {
              layout.put(pages[p / 32], p % 32, floats(headDim), floats(headDim), 0);
            }
            float[] q = floats(4 + heads * headDim);
            float[] expected = new float[q.length];
            float[] out = new float[q.length];
            attend(vector, q, heads, pages, layout, length, expected);
            attend(early, q, heads, pages, layout, length, out);
            assertThat(out)
                .as("%s, dim %d, heads %d, length %d", type, headDim, heads, length)
                .isEqualTo(expected);
          }
        }
      }
    }
  }

  /** Whichever kernels serve a call. */
  @Test
  void aStartRoundsAsVectorsDo() {
    assumeTrue(KernelProvider.vectorAvailable());
    Kernels vector = new VectorKernels();
    Kernels starting = new StartingKernels();
    Scratch scratch = new Scratch();
    try (Arena arena = Arena.ofConfined()) {
      Matrix w = matrix(TensorType.BF16, 64, 256, arena);
      for (int batch : new int[] {1, 5, 20}) {
        float[] x = floats(batch * 256);
        float[] expected = new float[batch * 64];
        vector.matmul(w, 0, 64, x, 256, batch, expected, 64, scratch);
        for (int i = 0; i < 2000; i++) {
          float[] y = new float[batch * 64];
          starting.matmul(w, 0, 64, x, 256, batch, y, 64, scratch);
          assertThat(y).isEqualTo(expected);
        }
      }
    }
  }

  /** They wait for vectors, which are compiled with another matrix first. */
  @Test
  void aStartServesLargeMatricesAsVectorsDo() {
    assumeTrue(KernelProvider.vectorAvailable());
    Scratch scratch = new Scratch();
    int n = 2048;
    try (Arena arena = Arena.ofConfined();
        WorkerPool pool = WorkerPool.start(1, "test")) {
      for (TensorType type : new TensorType[] {TensorType.Q8_0, TensorType.Q4_0}) {
        Kernels vector = new VectorKernels();
        Kernels starting = new StartingKernels();
        Matrix w = vector.pack(matrix(type, n, n, arena), arena, pool);
        for (int batch : new int[] {1, 40}) {
          float[] x = floats(batch * n);
          float[] expected = new float[batch * n];
          float[] y = new float[batch * n];
          vector.matmul(w, 0, n, x, n, batch, expected, n, scratch);
          starting.matmul(w, 0, n, x, n, batch, y, n, scratch);
          assertThat(y).as("%s, %d rows", type, batch).isEqualTo(expected);
        }
      }
    }
  }
}
