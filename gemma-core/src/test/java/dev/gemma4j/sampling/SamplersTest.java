package dev.gemma4j.sampling;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class SamplersTest {
  private static final int DRAWS = 40_000;

  /** What temperature, then top-k, then top-p, then min-p leave, straight from the definitions. */
  private static double[] expected(float[] logits, float t, int k, float topP, float minP) {
    int n = logits.length;
    double[] p = new double[n];
    double sum = 0;
    float max = Float.NEGATIVE_INFINITY;
    for (float logit : logits) {
      max = Math.max(max, logit);
    }
    List<Integer> order =
        IntStream.range(0, n)
            .boxed()
            .sorted(Comparator.comparing((Integer i) -> -logits[i]).thenComparing(i -> i))
            .toList();
    for (int rank = 0; rank < n; rank++) {
      int i = order.get(rank);
      p[i] = k > 0 && rank >= k ? 0 : Math.exp(((double) logits[i] - max) / t);
      sum += p[i];
    }
    double reached = 0;
    for (int i : order) {
      boolean keep = reached < topP * sum && p[i] >= minP;
      reached += p[i];
      p[i] = keep ? p[i] : 0;
    }
    double total = Arrays.stream(p).sum();
    return Arrays.stream(p).map(v -> v / total).toArray();
  }

  private static void check(float[] logits, float t, int k, float topP, float minP) {
    Sampler sampler = Samplers.of(t, k, topP, minP);
    double[] expected = expected(logits, t, k, topP, minP);
    int[] counts = new int[logits.length];
    SplittableRandom random = new SplittableRandom(11);
    for (int i = 0; i < DRAWS; i++) {
      counts[sampler.sample(Logits.of(logits.clone()), random)]++;
    }
    for (int i = 0; i < logits.length; i++) {
      double sigma = Math.sqrt(expected[i] * (1 - expected[i]) / DRAWS);
      assertThat((double) counts[i] / DRAWS)
          .as("token %d of t=%s k=%d p=%s min=%s", i, t, k, topP, minP)
          .isCloseTo(expected[i], within(5 * sigma));
    }
  }

  @Test
  void whatKeepsTablesSaysHowItWasMade() {
    assertThat(LogitsProcessors.typical(0.9f)).hasToString("LogitsProcessors.typical(0.9)");
    assertThat(Samplers.of(0.8f, 40, 0.95f, 0)).hasToString("Samplers.of(0.8, 40, 0.95, 0.0)");
    assertThat(Samplers.topK(3, 1).newText()).hasToString("Samplers.of(1.0, 3, 1.0, 0.0)");
  }

  @Test
  void drawsFollowTheDefinitions() {
    Random random = new Random(2);
    for (int round = 0; round < 3; round++) {
      float[] logits = new float[20];
      for (int i = 0; i < logits.length; i++) {
        logits[i] = (float) random.nextGaussian() * 2;
      }
      logits[3] = Float.NEGATIVE_INFINITY;
      check(logits, 1, 0, 1, 0);
      check(logits, 0.7f, 5, 1, 0);
      check(logits, 1.3f, 0, 0.8f, 0);
      check(logits, 1, 0, 1, 0.1f);
      check(logits, 0.9f, 8, 0.9f, 0.05f);
      check(logits, 1, 100, 0.5f, 0);
    }
  }

  @Test
  void equalLogitsGoToTheLowestIds() {
    check(new float[] {1, 1, 1, 1}, 1, 2, 1, 0);
    assertThat(Samplers.greedy().sample(Logits.of(0, 3, 3), new SplittableRandom())).isEqualTo(1);
  }

  @Test
  void extremesStayWithinTheVocabulary() {
    SplittableRandom random = new SplittableRandom(1);
    float[] huge = {-3e38f, 3e38f, 0};
    float[] only = {Float.NEGATIVE_INFINITY, 5, Float.NEGATIVE_INFINITY};
    for (Sampler sampler :
        List.of(
            Samplers.of(1, 0, 1, 0),
            Samplers.of(0.01f, 2, 1, 0),
            Samplers.of(1, 0, 0.5f, 0),
            Samplers.of(100, 0, 1, 0.5f),
            Samplers.of(1, 1, 0.0001f, 0.99f))) {
      assertThat(sampler.sample(Logits.of(huge.clone()), random)).isEqualTo(1);
      assertThat(sampler.sample(Logits.of(only.clone()), random)).isEqualTo(1);
    }
  }

  @Test
  void everySamplerRefusesAnImpossibleRow() {
    SplittableRandom random = new SplittableRandom(1);
    float no = Float.NEGATIVE_INFINITY;
    for (Sampler sampler :
        List.of(
            Samplers.greedy(),
            Samplers.of(0, 0, 1, 0),
            Samplers.of(1, 0, 1, 0),
            Samplers.of(0.01f, 2, 1, 0),
            Samplers.of(1, 0, 0.95f, 0),
            Samplers.of(100, 0, 1, 0.5f),
            Samplers.of(1, 1, 0.0001f, 0.99f),
            Samplers.mirostat(5, 0.1f),
            Samplers.xtc(1, 0.1f, Samplers.greedy()),
            Samplers.xtc(0, 0.1f, Samplers.greedy()))) {
      float[] none = new float[600];
      Arrays.fill(none, no);
      assertThatThrownBy(() -> sampler.sample(Logits.of(none), random))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("no token is possible: all logits are -Infinity");
      for (float wrong : new float[] {Float.NaN, Float.POSITIVE_INFINITY}) {
        for (int id : new int[] {0, 7, 599}) {
          float[] row = new float[600];
          row[3] = 1;
          row[id] = wrong;
          assertThatThrownBy(() -> sampler.sample(Logits.of(row), random))
              .as("%s at %d of %s", wrong, id, sampler)
              .isInstanceOf(IllegalArgumentException.class)
              .hasMessageStartingWith("the logit of token " + id + " is " + wrong + ", expected");
        }
      }
      float[] forced = none.clone();
      forced[5] = -Float.MAX_VALUE;
      assertThat(sampler.sample(Logits.of(forced), random)).isEqualTo(5);
    }
  }

  @Test
  void probabilitiesOfAnImpossibleRowAreRefused() {
    Logits none = Logits.of(Float.NEGATIVE_INFINITY, Float.NEGATIVE_INFINITY);
    assertThatThrownBy(none::logSoftmax).hasMessageContaining("no token is possible");
    assertThatThrownBy(() -> Logits.of(1, Float.NaN).logProbability(0))
        .hasMessageContaining("the logit of token 1 is NaN");
    assertThat(Logits.of(Float.NEGATIVE_INFINITY, 2).logSoftmax())
        .containsExactly(Float.NEGATIVE_INFINITY, 0);
  }

  @Test
  void aLargeVocabularyIsNoDifferent() {
    Random seed = new Random(4);
    float[] logits = new float[256_000];
    for (int i = 0; i < logits.length; i++) {
      logits[i] = (float) seed.nextGaussian() * 3;
    }
    double[] expected = expected(logits, 0.8f, 0, 0.9f, 0);
    Sampler sampler = Samplers.topP(0.9f, 0.8f);
    SplittableRandom random = new SplittableRandom(5);
    for (int i = 0; i < 200; i++) {
      assertThat(expected[sampler.sample(Logits.of(logits), random)]).isPositive();
    }
  }

  @Test
  void repetitionPenaltyTouchesEachSeenTokenOnce() {
    Logits logits = Logits.of(2, -2, 4, 1);
    int[] seen = {0, 1, 1, 0};
    LogitsProcessors.repetitionPenalty(2)
        .process(
            logits,
            new TokenHistory() {
              @Override
              public int size() {
                return seen.length;
              }

              @Override
              public int get(int index) {
                return seen[index];
              }
            });
    assertThat(logits.toArray()).containsExactly(1, -4, 4, 1);
  }

  @Test
  void logSoftmaxSumsToOne() {
    float[] logs = Logits.of(1000, 999, -1000).logSoftmax();
    double sum = 0;
    for (float log : logs) {
      sum += Math.exp(log);
    }
    assertThat(sum).isCloseTo(1, within(1e-6));
    assertThat(Logits.of(1000, 999, -1000).logProbability(1))
        .isCloseTo(-1 - Math.log(1 + Math.exp(-1)), within(1e-9));
  }
}
