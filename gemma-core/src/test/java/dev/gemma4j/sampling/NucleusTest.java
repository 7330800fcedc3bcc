package dev.gemma4j.sampling;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.random.RandomGenerator;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Selecting against sorting. */
class NucleusTest {
  private static final float NO = Float.NEGATIVE_INFINITY;

  /** Distributions from flat to peaked, with ties, with impossible tokens, and unkind ones. */
  private static List<float[]> rows(int n) {
    Random random = new Random(n);
    List<float[]> rows = new ArrayList<>();
    for (float sigma : new float[] {0, 1e-6f, 0.3f, 3, 30, 1e4f, 1e38f}) {
      float[] row = new float[n];
      for (int i = 0; i < n; i++) {
        row[i] = (float) Math.clamp(random.nextGaussian() * sigma, -2e38, 2e38);
      }
      rows.add(row);
    }
    float[] ties = new float[n];
    float[] masked = new float[n];
    float[] scales = new float[n];
    float[] crowd = new float[n];
    for (int i = 0; i < n; i++) {
      ties[i] = random.nextInt(4);
      masked[i] = random.nextInt(3) > 0 ? NO : (float) random.nextGaussian();
      scales[i] = -Math.scalb(random.nextFloat() + 1, random.nextInt(10) - 5 - i % 130);
      crowd[i] = i == n / 2 ? 20 : random.nextInt(9) * 1e-7f;
    }
    masked[n / 3] = 1;
    rows.addAll(List.of(ties, masked, scales, crowd));
    return rows;
  }

  private static RandomGenerator always(double u) {
    return new RandomGenerator() {
      @Override
      public double nextDouble() {
        return u;
      }

      @Override
      public long nextLong() {
        throw new UnsupportedOperationException();
      }
    };
  }

  private static int[] sorted(int n, Comparator<Integer> order) {
    return IntStream.range(0, n)
        .boxed()
        .sorted(order.thenComparing(i -> i))
        .mapToInt(i -> i)
        .toArray();
  }

  private static int[] best(float[] row) {
    return sorted(row.length, (a, b) -> row[a] > row[b] ? -1 : row[a] < row[b] ? 1 : 0);
  }

  /** Draws from the sorted row by the definitions. */
  private static int draw(float[] row, int[] order, float t, float topP, float minP, double u) {
    double[] p = new double[row.length];
    double total = 0;
    for (int i = 0; i < p.length; i++) {
      p[i] = Math.exp((row[order[i]] - row[order[0]]) * (1.0 / t));
      total += p[i];
    }
    int kept = 0;
    double mass = 0;
    while (kept < p.length
        && (mass < topP * total || topP == 1)
        && p[kept] >= minP
        && p[kept] > 0) {
      mass += p[kept++];
    }
    double sum = 0;
    for (int i = 0; i < kept; i++) {
      sum += p[i];
      if (sum > u * mass) {
        return order[i];
      }
    }
    return order[kept - 1];
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 7, 511, 512, 513, 3000})
  void drawsAreThoseOfTheSortedRow(int n) {
    Random random = new Random(3);
    for (float[] limits :
        new float[][] {{0.9f, 0}, {0.37f, 0}, {0.999f, 0}, {1e-6f, 0}, {1, 0.1f}, {0.8f, 0.03f}}) {
      for (float t : new float[] {1, 0.21f, 9}) {
        Sampler shared = Samplers.of(t, 0, limits[0], limits[1]);
        Sampler text = shared.newText(); // which keeps its tables from row to row
        for (float[] row : rows(n)) {
          int[] order = best(row);
          for (double u :
              new double[] {0, random.nextDouble(), random.nextDouble(), Math.nextDown(1.0)}) {
            int expected = draw(row, order, t, limits[0], limits[1], u);
            for (Sampler sampler : List.of(shared, text)) {
              assertThat(sampler.sample(Logits.of(row.clone()), always(u)))
                  .as("n=%d t=%s limits=%s u=%s", n, t, Arrays.toString(limits), u)
                  .isEqualTo(expected);
            }
          }
        }
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 7, 511, 512, 513, 3000})
  void typicalKeepsThoseOfTheSortedRow(int n) {
    Map<Float, LogitsProcessor> texts = new HashMap<>(); // which keep their tables
    for (float[] row : rows(n)) {
      float[] logs = Logits.of(row.clone()).logSoftmax();
      double entropy = new Nucleus().entropy(logs);
      double[] distance = new double[n];
      for (int i = 0; i < n; i++) {
        distance[i] = Math.abs(-logs[i] - entropy);
      }
      int[] order = sorted(n, Comparator.comparingDouble(i -> distance[i]));
      for (float mass : new float[] {0.01f, 0.371f, 0.9f, 0.99f, Math.nextDown(1f)}) {
        float[] expected = new float[n];
        Arrays.fill(expected, NO);
        double sum = 0;
        for (int i = 0; i < n && sum < mass; i++) {
          double p = Math.exp(logs[order[i]]);
          sum += p;
          expected[order[i]] = p > 0 ? row[order[i]] : NO;
        }
        LogitsProcessor shared = LogitsProcessors.typical(mass);
        LogitsProcessor text = texts.computeIfAbsent(mass, key -> shared.newText());
        for (LogitsProcessor typical : List.of(shared, text)) {
          float[] kept = row.clone();
          typical.process(Logits.of(kept), NO_HISTORY);
          assertThat(kept).as("n=%d mass=%s", n, mass).isEqualTo(expected);
        }
      }
    }
  }

  private static final TokenHistory NO_HISTORY =
      new TokenHistory() {
        @Override
        public int size() {
          return 0;
        }

        @Override
        public int get(int index) {
          throw new IndexOutOfBoundsException(index);
        }
      };

  @Test
  void theLastOfEqualsIsThatOfTheHighestId() {
    float[] equal = new float[256_000];
    Arrays.fill(equal, -3);
    Nucleus nucleus = new Nucleus().rank(equal, -3, -3, 1, 0);
    assertThat(nucleus.total()).isEqualTo(256_000);
    assertThat(nucleus.reach(64_000)).isEqualTo(new Nucleus.Cut(63_999, 0, 64_000));
    assertThat(nucleus.reach(63_999.5)).isEqualTo(new Nucleus.Cut(63_999, 0, 64_000));
    assertThat(nucleus.reach(1e9)).isEqualTo(new Nucleus.Cut(255_999, 0, 256_000));
    assertThat(nucleus.reach(0)).isEqualTo(new Nucleus.Cut(0, 0, 1));
  }

  @Test
  void thereIsNoRankWithoutAPossibleToken() {
    assertThat(new Nucleus().rank(new float[] {NO, NO}, 0, 0, 1, 0).reach(0.5)).isNull();
    float nan = Float.NaN;
    assertThat(new Nucleus().rank(new float[] {nan, nan}, 0, 0, 1, 0).reach(0.5)).isNull();
  }
}
