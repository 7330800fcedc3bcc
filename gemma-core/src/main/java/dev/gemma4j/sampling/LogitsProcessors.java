package dev.gemma4j.sampling;

import java.util.BitSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * The usual logits processors. All are immutable and safe to share; what their {@link
 * LogitsProcessor#newText} returns serves one text. The history that they look at is the prompt and
 * all that was generated after it.
 */
public final class LogitsProcessors {
  /** As in the original: a longer repetition changes nothing, but would take quadratic time. */
  private static final int MAX_DRY_MATCH = 50;

  private LogitsProcessors() {}

  private static void check(boolean ok, String name, String range, Number value) {
    if (!ok) {
      throw new IllegalArgumentException(name + " must be " + range + ", but is " + value);
    }
  }

  /** A wrong id would be another token's, or none: it is refused, not passed over. */
  private static void checkId(int id, Logits logits) {
    check(id >= 0 && id < logits.size(), "token id", "in [0, " + logits.size() + ")", id);
  }

  /**
   * Divides positive logits of tokens that occurred by {@code penalty} and multiplies negative ones
   * (CTRL, https://arxiv.org/abs/1909.05858), each token once.
   *
   * @param penalty above 0 and finite; 1 changes nothing, more discourages repetition
   * @throws IllegalArgumentException when it is not
   */
  public static LogitsProcessor repetitionPenalty(float penalty) {
    check(
        penalty > 0 && Float.isFinite(penalty), "repetitionPenalty", "above 0 and finite", penalty);
    return (logits, history) -> {
      BitSet seen = new BitSet(logits.size());
      for (int i = 0; i < history.size(); i++) {
        int id = history.get(i);
        if (!seen.get(id)) {
          seen.set(id);
          float logit = logits.get(id);
          logits.set(id, logit > 0 ? logit / penalty : logit * penalty);
        }
      }
    };
  }

  /**
   * Subtracts from the logit of each token {@code penalty} times how often it occurred (<a
   * href="https://platform.openai.com/docs/api-reference/completions/create">OpenAI's
   * frequency_penalty</a>, there in [-2, 2]).
   *
   * @param penalty finite; 0 changes nothing, more discourages repetition
   * @throws IllegalArgumentException when it is not
   */
  public static LogitsProcessor frequencyPenalty(float penalty) {
    check(Float.isFinite(penalty), "frequencyPenalty", "finite", penalty);
    return (logits, history) -> {
      for (int i = 0; i < history.size(); i++) {
        int id = history.get(i);
        logits.set(id, logits.get(id) - penalty);
      }
    };
  }

  /**
   * Subtracts {@code penalty} from the logit of each token that occurred, once (<a
   * href="https://platform.openai.com/docs/api-reference/completions/create">OpenAI's
   * presence_penalty</a>, there in [-2, 2]).
   *
   * @param penalty finite; 0 changes nothing, more brings up new topics
   * @throws IllegalArgumentException when it is not
   */
  public static LogitsProcessor presencePenalty(float penalty) {
    check(Float.isFinite(penalty), "presencePenalty", "finite", penalty);
    return (logits, history) -> {
      Set<Integer> seen = new HashSet<>();
      for (int i = 0; i < history.size(); i++) {
        if (seen.add(history.get(i))) {
          logits.set(history.get(i), logits.get(history.get(i)) - penalty);
        }
      }
    };
  }

  /**
   * Adds to the logits of some tokens. The processor throws an {@link IllegalArgumentException}
   * when an id is not in the vocabulary.
   *
   * @param bias by id; negative infinity forbids a token
   * @throws IllegalArgumentException when a value is NaN or positive infinity
   */
  public static LogitsProcessor logitBias(Map<Integer, Float> bias) {
    Map<Integer, Float> copy = Map.copyOf(bias);
    copy.forEach((id, value) -> check(value <= Float.MAX_VALUE, "bias", "below infinity", value));
    return (logits, history) ->
        copy.forEach(
            (id, value) -> {
              checkId(id, logits);
              logits.set(id, logits.get(id) + value);
            });
  }

  /**
   * Forbids sequences of tokens: the last token of each whenever the others precede it. A word has
   * several spellings, such as with and without a space in front; give all. The processor throws an
   * {@link IllegalArgumentException} when an id is not in the vocabulary.
   *
   * @param sequences of at least one token each
   * @throws IllegalArgumentException when one is empty
   */
  public static LogitsProcessor badWords(List<int[]> sequences) {
    List<int[]> copy = sequences.stream().map(int[]::clone).toList();
    copy.forEach(s -> check(s.length > 0, "the length of a bad word", "1 or more", s.length));
    int lowest = copy.stream().flatMapToInt(IntStream::of).min().orElse(0);
    int highest = copy.stream().flatMapToInt(IntStream::of).max().orElse(0);
    return (logits, history) -> {
      checkId(lowest, logits);
      checkId(highest, logits);
      for (int[] sequence : copy) {
        int before = sequence.length - 1;
        boolean matches = history.size() >= before;
        for (int i = 0; i < before && matches; i++) {
          matches = history.get(history.size() - before + i) == sequence[i];
        }
        if (matches) {
          logits.set(sequence[before], Float.NEGATIVE_INFINITY);
        }
      }
    };
  }

  /**
   * Locally typical sampling (https://arxiv.org/abs/2202.00666): keeps the tokens whose surprise is
   * closest to the distribution's entropy, the fewest whose probabilities reach {@code mass}, and
   * forbids the others. It looks at the distribution before the sampler's temperature.
   *
   * @param mass in (0, 1]; 1 changes nothing
   * @throws IllegalArgumentException when it is not
   */
  public static LogitsProcessor typical(float mass) {
    check(mass > 0 && mass <= 1, "typical", "in (0, 1]", mass);
    return mass == 1 ? (logits, history) -> {} : new Typical(mass, null);
  }

  /**
   * Of {@link #typical}.
   *
   * @param nucleus that of one text, or null for a new one at each token
   */
  private record Typical(float mass, @Nullable Nucleus nucleus) implements LogitsProcessor {
    @Override
    public void process(Logits logits, TokenHistory history) {
      keepTypical(logits.values(), mass, nucleus == null ? new Nucleus() : nucleus);
    }

    @Override
    public LogitsProcessor newText() {
      return new Typical(mass, new Nucleus());
    }

    /** As it is made. */
    @Override
    public String toString() {
      return "LogitsProcessors.typical(" + mass + ")";
    }
  }

  private static void keepTypical(float[] logits, float mass, Nucleus nucleus) {
    float[] logs = nucleus.logSoftmax(logits);
    double entropy = nucleus.entropy(logs);
    // All tokens of less have half of what is left out at most. They are as far from the entropy as
    // this, so when the cut is nearer, they are behind it.
    double least = (1 - (double) mass) / 2 / logs.length;
    double far = -Math.log(least) - entropy;
    Nucleus.Cut cut = nucleus.rank(logs, -entropy, 0, 1, least).reach(mass);
    if (cut == null || !(cut.distance() < far && cut.mass() >= mass)) {
      cut = nucleus.rank(logs, -entropy, 0, 1, 0).reach(mass);
    }
    for (int id = 0; id < logs.length; id++) {
      if (cut == null || !nucleus.contains(cut, id)) {
        logits[id] = Float.NEGATIVE_INFINITY;
      }
    }
  }

  /**
   * DRY, "don't repeat yourself" (<a
   * href="https://github.com/oobabooga/text-generation-webui/pull/5677">p-e-w, 2024</a>, and
   * llama.cpp): subtracts {@code multiplier * base^(n - allowedLength)} from a token that would
   * prolong a repetition of the last {@code n >= allowedLength} tokens.
   *
   * @param multiplier 0 or more; 0 changes nothing, 0.8 is usual
   * @param base 1 or more; 1.75 is usual
   * @param allowedLength 1 or more; 2 is usual
   * @param breakers tokens that no repetition goes over and that are never punished, such as those
   *     of line breaks, colons and quotes
   * @throws IllegalArgumentException when a number is out of range
   */
  public static LogitsProcessor dry(
      float multiplier, float base, int allowedLength, Set<Integer> breakers) {
    check(multiplier >= 0 && Float.isFinite(multiplier), "multiplier", "0 or more", multiplier);
    check(base >= 1 && Float.isFinite(base), "base", "1 or more", base);
    check(allowedLength >= 1, "allowedLength", "1 or more", allowedLength);
    Set<Integer> copy = Set.copyOf(breakers);
    if (multiplier == 0) {
      return (logits, history) -> {}; // a power may be infinite, and 0 times it is no number
    }
    return (logits, history) ->
        repetitions(history, copy)
            .forEach(
                (id, length) -> {
                  if (length >= allowedLength) {
                    double penalty = multiplier * Math.pow(base, length - allowedLength);
                    logits.set(id, (float) (logits.get(id) - penalty));
                  }
                });
  }

  /** By token, how many of the last tokens stood before it already. */
  private static Map<Integer, Integer> repetitions(TokenHistory history, Set<Integer> breakers) {
    Map<Integer, Integer> longest = new HashMap<>();
    int size = history.size();
    for (int next = 1; next < size; next++) {
      int id = history.get(next);
      int length = 0;
      while (length < Math.min(next, MAX_DRY_MATCH)
          && history.get(next - 1 - length) == history.get(size - 1 - length)
          && !breakers.contains(history.get(size - 1 - length))) {
        length++;
      }
      if (length > 0 && !breakers.contains(id)) {
        longest.merge(id, length, Math::max);
      }
    }
    return longest;
  }
}
