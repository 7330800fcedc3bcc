package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;

import dev.gemma4j.kernel.KernelProvider;
import dev.gemma4j.kernel.Kernels;
import dev.gemma4j.kernel.WorkerPool;
import dev.gemma4j.loader.Checkpoint;
import dev.gemma4j.loader.TensorType;
import dev.gemma4j.model.Weights;
import dev.gemma4j.model.WeightsBuilder;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * A model of each GGUF type gives the logits of its decoded weights, computed in F32 with scalar
 * kernels. That they are decoded as ggml does is tested in gemma-loader.
 */
class GgufTypesTest {
  @TempDir Path dir;

  @ParameterizedTest
  @CsvSource({
    "Q4_0, 2, Q4_0",
    "Q4_1, 3, F16",
    "Q5_0, 6, Q8_0",
    "Q5_1, 7, F16",
    "Q8_0, 8, Q8_0",
    "Q2_K, 10, F16",
    "Q3_K, 11, F16",
    "Q4_K, 12, Q4_K",
    "Q5_K, 13, F16",
    "Q6_K, 14, Q6_K",
    "IQ4_NL, 20, Q8_0",
    "IQ4_XS, 23, F16",
    "MXFP4, 39, Q8_0",
  })
  void logitsAreThoseOfTheDecodedWeights(TensorType type, int number, String held)
      throws IOException {
    Path file = dir.resolve("typed.gguf");
    Path floats = dir.resolve("floats.gguf");
    TinyGguf.write(type, number, file, floats);
    int[] ids = new Random(3).ints(20, 0, TinyGguf.VOCAB).toArray();
    float[] expected = logits(floats, KernelType.SCALAR, "F32", ids);
    float max = 0;
    for (float logit : expected) {
      max = Math.max(max, Math.abs(logit));
    }
    assertThat(max).isBetween(0.1f, 1000f);
    for (KernelType kernels : Goldens.kernels()) {
      float[] found = logits(file, kernels, held, ids);
      ForwardGoldenTest.assertClose(found, expected, type + " " + kernels);
    }
  }

  /** What is converted on the way to the layout of the kernels is freed. */
  @ParameterizedTest
  @CsvSource({"Q5_0, 6", "Q5_1, 7", "IQ4_NL, 20", "MXFP4, 39"})
  void weightsAreHeldOnce(TensorType type, int number) throws IOException {
    Path file = dir.resolve("typed.gguf");
    TinyGguf.write(type, number, file, dir.resolve("floats.gguf"));
    for (Kernels kernels : List.of(KernelProvider.scalar(), KernelProvider.best())) {
      try (Checkpoint checkpoint = Checkpoint.open(file);
          WorkerPool pool = WorkerPool.start(2, "test");
          CountingArena arena = new CountingArena()) {
        Weights weights =
            new WeightsBuilder(checkpoint, null, null, false, kernels, arena, pool)
                .build((done, total) -> {});
        assertThat(arena.bytes.get()).isEqualTo(weights.bytesPerStep());
      }
    }
  }

  private static final class CountingArena implements Arena {
    private final Arena arena = Arena.ofShared();
    final AtomicLong bytes = new AtomicLong();

    @Override
    public MemorySegment allocate(long byteSize, long byteAlignment) {
      bytes.addAndGet(byteSize);
      return arena.allocate(byteSize, byteAlignment);
    }

    @Override
    public MemorySegment.Scope scope() {
      return arena.scope();
    }

    @Override
    public void close() {
      arena.close();
    }
  }

  private static float[] logits(Path file, KernelType kernels, String held, int[] ids)
      throws IOException {
    LoadOptions options = LoadOptions.defaults().withThreads(2).withKernels(kernels);
    try (Gemma gemma = Gemma.load(file, options);
        Session session = gemma.newSession()) {
      assertThat(gemma.weights()).isEqualTo(held);
      return session.append(ids).toArray();
    }
  }
}
