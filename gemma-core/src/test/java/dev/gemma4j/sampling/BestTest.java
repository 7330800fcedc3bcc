package dev.gemma4j.sampling;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The best tokens, against sorting all. */
class BestTest {
  private static List<Integer> sorted(float[] logits, int k, double floor) {
    return IntStream.range(0, logits.length)
        .filter(id -> logits[id] >= floor && logits[id] > Float.NEGATIVE_INFINITY)
        .boxed()
        .sorted(Comparator.comparingDouble((Integer id) -> 0.0 - logits[id]).thenComparing(i -> i))
        .limit(k)
        .toList();
  }

  @Test
  void theyAreThoseThatSortingPutsFirst() {
    Random random = new Random(1);
    Best best = new Best();
    for (int round = 0; round < 2000; round++) {
      int n = random.nextInt(2, random.nextInt(10) == 0 ? 5000 : 600);
      float[] logits = new float[n];
      int kind = random.nextInt(4);
      for (int i = 0; i < n; i++) {
        float any = (float) random.nextGaussian() * 3;
        logits[i] =
            switch (kind) {
              case 0 -> any;
              case 1 -> random.nextInt(-1, 2) * (random.nextBoolean() ? 0f : 1f); // -0 and 0 too
              case 2 -> i * 1e-3f;
              default -> -i;
            };
        if (random.nextInt(5) == 0) {
          logits[i] = Float.NEGATIVE_INFINITY;
        }
      }
      logits[random.nextInt(n)] = 7.5f;
      int k = random.nextInt(1, n);
      best.select(logits, k, Double.NEGATIVE_INFINITY);
      List<Integer> found = IntStream.range(0, best.size()).map(best::id).boxed().toList();
      assertThat(found).isEqualTo(sorted(logits, k, Double.NEGATIVE_INFINITY));
      double floor = random.nextInt(3) - 1 + (random.nextBoolean() ? 0 : random.nextGaussian());
      best.select(logits, n - 1, floor);
      found = IntStream.range(0, best.size()).map(best::id).boxed().toList();
      List<Integer> expected = sorted(logits, n - 1, floor);
      assertThat(found.subList(0, expected.size())).isEqualTo(expected);
      for (int id : found.subList(expected.size(), found.size())) { // none but by rounding
        assertThat((double) logits[id]).isGreaterThan(floor - 1e-6);
      }
    }
  }

  /** Half a second; minutes if each token that is among the best so far moved the others. */
  @Test
  @Timeout(40)
  void manyTakeNoLonger() {
    float[] ascending = new float[256_000];
    for (int i = 0; i < ascending.length; i++) {
      ascending[i] = i * 1e-4f;
    }
    Sampler sampler = Samplers.topK(100_000, 1).newText();
    SplittableRandom random = new SplittableRandom(1);
    for (int i = 0; i < 20; i++) {
      int id = sampler.sample(Logits.of(ascending), random);
      assertThat(id).isGreaterThanOrEqualTo(156_000);
    }
  }

  @Test
  void aZerosSignIsNoMatter() {
    for (float[] row : new float[][] {{-0f, 0f, -5}, {0f, -0f, -5}}) {
      for (Sampler sampler : List.of(Samplers.topK(1, 1), Samplers.greedy())) {
        assertThat(sampler.sample(Logits.of(row.clone()), new SplittableRandom(1))).isZero();
      }
    }
  }

  @Test
  void allTokensAreNoLimit() {
    float[] row = {0, 2, 1};
    for (int k : new int[] {3, 4, Integer.MAX_VALUE}) {
      for (int seed = 0; seed < 50; seed++) {
        assertThat(
                Samplers.of(1, k, 0.9f, 0.1f)
                    .sample(Logits.of(row.clone()), new SplittableRandom(seed)))
            .isEqualTo(
                Samplers.of(1, 0, 0.9f, 0.1f)
                    .sample(Logits.of(row.clone()), new SplittableRandom(seed)));
      }
    }
  }
}
