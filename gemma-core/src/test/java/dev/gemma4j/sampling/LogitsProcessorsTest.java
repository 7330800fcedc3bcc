package dev.gemma4j.sampling;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** Values computed by hand from the definitions. */
class LogitsProcessorsTest {
  private static final float NO = Float.NEGATIVE_INFINITY;

  private static TokenHistory history(int... ids) {
    return new TokenHistory() {
      @Override
      public int size() {
        return ids.length;
      }

      @Override
      public int get(int index) {
        return ids[index];
      }
    };
  }

  private static float[] process(LogitsProcessor processor, float[] logits, int... history) {
    Logits changed = Logits.of(logits.clone());
    processor.process(changed, history(history));
    return changed.toArray();
  }

  /** Logits of these probabilities. */
  private static float[] logs(double... probabilities) {
    float[] logs = new float[probabilities.length];
    for (int i = 0; i < logs.length; i++) {
      logs[i] = (float) Math.log(probabilities[i]) + 3;
    }
    return logs;
  }

  @Test
  void frequencyCountsAndPresenceDoesNot() {
    float[] logits = {1, 2, 3, 4};
    assertThat(process(LogitsProcessors.frequencyPenalty(0.5f), logits, 1, 1, 3))
        .containsExactly(1, 1, 3, 3.5f);
    assertThat(process(LogitsProcessors.presencePenalty(0.5f), logits, 1, 1, 3))
        .containsExactly(1, 1.5f, 3, 3.5f);
    assertThat(process(LogitsProcessors.repetitionPenalty(2), logits, 1, 1, 3))
        .containsExactly(1, 1, 3, 2);
  }

  @Test
  void biasIsAdded() {
    LogitsProcessor bias = LogitsProcessors.logitBias(Map.of(0, 2f, 2, NO));
    assertThat(process(bias, new float[] {1, 1, 1})).containsExactly(3, 1, NO);
  }

  @Test
  void badWordsEndNeverButTheirBeginningsMay() {
    LogitsProcessor bad =
        LogitsProcessors.badWords(List.of(new int[] {3}, new int[] {1, 2}, new int[] {0, 1, 0}));
    float[] logits = {1, 1, 1, 1};
    assertThat(process(bad, logits)).containsExactly(1, 1, 1, NO);
    assertThat(process(bad, logits, 2, 1)).containsExactly(1, 1, NO, NO);
    assertThat(process(bad, logits, 0, 1)).containsExactly(NO, 1, NO, NO);
    assertThat(process(bad, logits, 1, 0)).containsExactly(1, 1, 1, NO);
  }

  @Test
  void idsOutsideTheVocabularyAreRefused() {
    float[] logits = {1, 1, 1, 1};
    for (int id : new int[] {4, -1, Integer.MAX_VALUE}) {
      for (LogitsProcessor wrong :
          List.of(
              LogitsProcessors.logitBias(Map.of(id, 1f)),
              LogitsProcessors.badWords(List.of(new int[] {id})),
              LogitsProcessors.badWords(List.of(new int[] {1}, new int[] {2, id})),
              LogitsProcessors.badWords(List.of(new int[] {1}, new int[] {id, 2})))) {
        assertThatThrownBy(() -> process(wrong, logits, 1, 3))
            .isInstanceOf(IllegalArgumentException.class)
            .hasMessage("token id must be in [0, 4), but is " + id);
      }
    }
    assertThat(process(LogitsProcessors.badWords(List.of()), logits)).isEqualTo(logits);
  }

  @Test
  void typicalKeepsWhatIsAsSurprisingAsTheEntropy() {
    // Entropy 1.168 nats; surprises 0.693, 1.386, 1.897, 2.303: distances 0.475, 0.218, 0.729,
    // 1.135.
    float[] logits = logs(0.5, 0.25, 0.15, 0.1);
    assertThat(process(LogitsProcessors.typical(0.2f), logits))
        .containsExactly(NO, logits[1], NO, NO);
    assertThat(process(LogitsProcessors.typical(0.7f), logits))
        .containsExactly(logits[0], logits[1], NO, NO);
    assertThat(process(LogitsProcessors.typical(0.8f), logits))
        .containsExactly(logits[0], logits[1], logits[2], NO);
    assertThat(process(LogitsProcessors.typical(1), logits)).isEqualTo(logits);
  }

  @Test
  void dryPunishesWhatProlongsARepetition() {
    LogitsProcessor dry = LogitsProcessors.dry(1, 2, 2, Set.of(9));
    float[] logits = new float[10];
    // 1 2 3 stood before 4, so 4 would make it four tokens: 1 * 2^(3 - 2). 3 alone stood before 5.
    float[] expected = logits.clone();
    expected[4] = -2;
    assertThat(process(dry, logits, 1, 2, 3, 4, 3, 5, 1, 2, 3)).isEqualTo(expected);
    // Two tokens of repetition are the shortest that count: 1 * 2^0.
    expected[4] = -1;
    assertThat(process(dry, logits, 2, 3, 4, 7, 2, 3)).isEqualTo(expected);
    // The longest of several counts.
    expected[4] = -4;
    assertThat(process(dry, logits, 2, 3, 4, 0, 1, 2, 3, 4, 6, 0, 1, 2, 3)).isEqualTo(expected);
    // A breaker within cuts the repetition short, and is not punished itself.
    assertThat(process(dry, logits, 1, 9, 3, 4, 1, 9, 3)).isEqualTo(logits);
    assertThat(process(dry, logits, 1, 2, 3, 9, 1, 2, 3)).isEqualTo(logits);
    // Its own repetition counts too: of 1 1 1 1 three precede the last.
    expected = logits.clone();
    expected[1] = -2;
    assertThat(process(dry, logits, 1, 1, 1, 1)).isEqualTo(expected);
    // Without a multiplier even an infinite power is nothing.
    LogitsProcessor none = LogitsProcessors.dry(0, Float.MAX_VALUE, 1, Set.of());
    int[] ones = new int[40];
    assertThat(process(none, logits, ones)).isEqualTo(logits);
  }

  @Test
  void xtcExcludesAllTopChoicesButTheLeast() {
    float[] logits = logs(0.4, 0.1, 0.3, 0.2);
    int[] counts = new int[4];
    Sampler xtc = Samplers.xtc(0.5f, 0.15f, Samplers.greedy());
    SplittableRandom random = new SplittableRandom(1);
    int draws = 20_000;
    for (int i = 0; i < draws; i++) {
      counts[xtc.sample(Logits.of(logits.clone()), random)]++;
    }
    assertThat(counts[1] + counts[2]).isZero();
    assertThat((double) counts[3] / draws).isCloseTo(0.5, within(5 * 0.5 / Math.sqrt(draws)));
    // One top choice alone stays.
    Sampler always = Samplers.xtc(1, 0.35f, Samplers.greedy());
    assertThat(always.sample(Logits.of(logits.clone()), random)).isZero();
    // What is left keeps its proportions.
    Sampler rest = Samplers.xtc(1, 0.25f, Samplers.temperature(1));
    int[] left = new int[4];
    for (int i = 0; i < draws; i++) {
      left[rest.sample(Logits.of(logits.clone()), random)]++;
    }
    assertThat(left[0]).isZero();
    assertThat((double) left[3] / draws).isCloseTo(0.2 / 0.6, within(5 * 0.5 / Math.sqrt(draws)));
  }

  @Test
  void mirostatFollowsItsUpdateRule() {
    // tau 1, so mu is 2 bits at first: tokens of at least 1/4 are kept, here the first two.
    float[] logits = logs(0.5, 0.3, 0.15, 0.05);
    Sampler mirostat = Samplers.mirostat(1, 1).newText();
    int first = mirostat.sample(Logits.of(logits.clone()), () -> 0);
    assertThat(first).isZero();
    // Surprise among the kept ones is log2(0.8 / 0.5) = 0.678; mu becomes 2 - (0.678 - 1) = 2.322,
    // which 0.2 would just miss and 0.15 (2.737) does too.
    assertThat(mirostat.sample(Logits.of(logits.clone()), () -> -1L)).isEqualTo(1);
    // log2(0.8 / 0.3) = 1.415: mu becomes 1.907, and 0.3 (1.737) stays, until mu is below it.
    assertThat(mirostat.sample(Logits.of(logits.clone()), () -> -1L)).isEqualTo(1);
    // 1.492 is below 1.737 and leaves the first token alone, of no surprise: mu becomes 2.492.
    assertThat(mirostat.sample(Logits.of(logits.clone()), () -> -1L)).isZero();
    assertThat(mirostat.sample(Logits.of(logits.clone()), () -> -1L)).isEqualTo(1);
  }

  @Test
  void mirostatsMeanSurpriseIsItsAim() {
    float[] logits = new float[2000];
    for (int i = 0; i < logits.length; i++) {
      logits[i] = (float) -Math.log(i + 1); // Zipf's law
    }
    Sampler shared = Samplers.mirostat(4, 0.1f);
    Sampler mirostat = shared.newText();
    assertThat(mirostat).isNotSameAs(shared);
    SplittableRandom random = new SplittableRandom(3);
    int[] counts = new int[logits.length];
    int draws = 5000;
    for (int i = 0; i < draws; i++) {
      counts[mirostat.sample(Logits.of(logits.clone()), random)]++;
    }
    double entropy = 0;
    for (int count : counts) {
      double p = (double) count / draws;
      entropy -= p > 0 ? p * Math.log(p) / Math.log(2) : 0;
    }
    assertThat(entropy).isCloseTo(4, within(0.4));
  }

  @Test
  void nonsenseIsRefused() {
    assertThatThrownBy(() -> LogitsProcessors.frequencyPenalty(Float.NaN))
        .hasMessageContaining("frequencyPenalty must be finite");
    assertThatThrownBy(() -> LogitsProcessors.presencePenalty(Float.POSITIVE_INFINITY))
        .hasMessageContaining("presencePenalty");
    assertThatThrownBy(() -> LogitsProcessors.logitBias(Map.of(1, Float.NaN)))
        .hasMessageContaining("bias");
    assertThatThrownBy(() -> LogitsProcessors.badWords(List.of(new int[0])))
        .hasMessageContaining("bad word");
    assertThatThrownBy(() -> LogitsProcessors.typical(0)).hasMessageContaining("typical");
    assertThatThrownBy(() -> LogitsProcessors.dry(1, 0.5f, 2, Set.of()))
        .hasMessageContaining("base must be 1 or more");
    assertThatThrownBy(() -> Samplers.xtc(2, 0.1f, Samplers.greedy()))
        .hasMessageContaining("probability");
    assertThatThrownBy(() -> Samplers.mirostat(0, 0.1f)).hasMessageContaining("tau");
  }
}
