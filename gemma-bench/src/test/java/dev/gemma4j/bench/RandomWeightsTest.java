package dev.gemma4j.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.gemma4j.loader.TensorType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class RandomWeightsTest {
  private static final int COUNT = 1 << 18;
  private static final double STD = 0.02;

  /** So that activations stay near 1 whatever the type. */
  @ParameterizedTest
  @EnumSource(names = {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"})
  void hasTheSpreadAskedFor(TensorType type) {
    MemorySegment data = Arena.ofAuto().allocate(type.byteSize(COUNT));
    new RandomWeights(1).fill(data, type, STD);
    float[] values = new float[COUNT];
    type.dequantize(data, 0, values, 0, COUNT);
    double mean = IntStream.range(0, COUNT).mapToDouble(i -> values[i]).average().orElseThrow();
    double squares =
        IntStream.range(0, COUNT)
            .mapToDouble(i -> (values[i] - mean) * (values[i] - mean))
            .average()
            .orElseThrow();
    assertThat(Math.sqrt(squares)).isCloseTo(STD, within(0.1 * STD));
    assertThat(mean).isCloseTo(0, within(0.15 * STD));
  }
}
