package dev.gemma4j;

import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.sampling.LogitsProcessor;
import dev.gemma4j.sampling.LogitsProcessors;
import dev.gemma4j.sampling.Sampler;
import dev.gemma4j.sampling.Samplers;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * How text is generated.
 *
 * @param maxTokens the most tokens to generate
 * @param sampler chooses each token
 * @param processors change the logits first, in order
 * @param seed of the sampler's random numbers; null for a new one each time
 * @param stop the text ends before the first of these
 * @param constraint what the text must look like; null for no limits. A text that maxTokens, the
 *     context's end or a stop string cuts may be incomplete, as {@link Generation#finishReason}
 *     says; one that ends with {@link FinishReason#EOS} is valid.
 * @param logProbabilities how many alternatives to each token to report with their probabilities;
 *     -1 to report nothing
 * @param speculation what guesses tokens to save passes; null for nothing
 * @param adapter what the model runs with; null for the model as it was loaded
 * @param bos whether a text prompt gets the beginning-of-text token
 * @param ignoreEos whether to go on after an end-of-text token
 */
public record GenerationOptions(
    int maxTokens,
    Sampler sampler,
    List<LogitsProcessor> processors,
    @Nullable Long seed,
    List<String> stop,
    @Nullable Constraint constraint,
    int logProbabilities,
    @Nullable Speculation speculation,
    @Nullable LoraAdapter adapter,
    boolean bos,
    boolean ignoreEos) {
  public GenerationOptions {
    Objects.requireNonNull(sampler, "sampler");
    if (maxTokens < 0) {
      throw new IllegalArgumentException("maxTokens must be 0 or more, but is " + maxTokens);
    }
    if (logProbabilities < -1) {
      throw new IllegalArgumentException(
          "logProbabilities must be 0 or more, but is " + logProbabilities);
    }
    processors = List.copyOf(processors);
    stop = List.copyOf(stop);
    if (stop.contains("")) {
      throw new IllegalArgumentException("a stop string must not be empty");
    }
    if (constraint != null && ignoreEos) {
      throw new IllegalArgumentException("ignoreEos cannot be set with a constraint, which ends");
    }
  }

  GenerationOptions withSeed(long value) {
    return new GenerationOptions(
        maxTokens,
        sampler,
        processors,
        value,
        stop,
        constraint,
        logProbabilities,
        speculation,
        adapter,
        bos,
        ignoreEos);
  }

  /** 256 tokens, temperature 0.8, top-p 0.95. */
  public static GenerationOptions defaults() {
    return builder().build();
  }

  public static Builder builder() {
    return new Builder();
  }

  /** Collects options; what is not set keeps its default. */
  public static final class Builder {
    private int maxTokens = 256;
    private float temperature = 0.8f;
    private int topK;
    private float topP = 0.95f;
    private float minP;
    private float repetitionPenalty = 1;
    private @Nullable Long seed;
    private boolean bos = true;
    private boolean ignoreEos;
    private @Nullable Sampler sampler;
    private @Nullable Constraint constraint;
    private float frequencyPenalty;
    private float presencePenalty;
    private float typical = 1;
    private int logProbabilities = -1;
    private @Nullable Speculation speculation;
    private @Nullable LoraAdapter adapter;
    private final List<String> stop = new ArrayList<>();
    private final List<LogitsProcessor> processors = new ArrayList<>();

    private Builder() {}

    public Builder maxTokens(int tokens) {
      maxTokens = tokens;
      return this;
    }

    /** 0 is greedy; 0.8 unless set. */
    public Builder temperature(float value) {
      temperature = value;
      return this;
    }

    /** 0 for no limit, the default. */
    public Builder topK(int k) {
      topK = k;
      return this;
    }

    /** In (0, 1]; 0.95 unless set. */
    public Builder topP(float p) {
      topP = p;
      return this;
    }

    /** In [0, 1); 0 unless set. */
    public Builder minP(float p) {
      minP = p;
      return this;
    }

    /** See {@link LogitsProcessors#repetitionPenalty}; 1 unless set. */
    public Builder repetitionPenalty(float penalty) {
      repetitionPenalty = penalty;
      return this;
    }

    /** See {@link LogitsProcessors#frequencyPenalty}; 0 unless set. */
    public Builder frequencyPenalty(float penalty) {
      frequencyPenalty = penalty;
      return this;
    }

    /** See {@link LogitsProcessors#presencePenalty}; 0 unless set. */
    public Builder presencePenalty(float penalty) {
      presencePenalty = penalty;
      return this;
    }

    /** See {@link LogitsProcessors#typical}; in (0, 1], 1 unless set. */
    public Builder typical(float mass) {
      typical = mass;
      return this;
    }

    /**
     * Reports each token's probability and those of the {@code n} most probable ones in its place;
     * not reported unless set.
     *
     * @param n 0 or more
     */
    public Builder logProbabilities(int n) {
      logProbabilities = n;
      return this;
    }

    /**
     * Guesses tokens to save passes, which changes the speed and not the text; not done unless set.
     */
    public Builder speculation(Speculation value) {
      speculation = value;
      return this;
    }

    /**
     * What the model runs with; none unless set. See {@link Gemma#loadAdapter}. A draft model of
     * the speculation guesses without it.
     */
    public Builder adapter(LoraAdapter value) {
      adapter = value;
      return this;
    }

    public Builder seed(long value) {
      seed = value;
      return this;
    }

    /** Adds stop strings. */
    public Builder stop(String... strings) {
      stop.addAll(List.of(strings));
      return this;
    }

    /**
     * What the text must look like; none unless set. See {@link
     * dev.gemma4j.constraint.Constraints}.
     */
    public Builder constraint(Constraint value) {
      constraint = value;
      return this;
    }

    public Builder bos(boolean add) {
      bos = add;
      return this;
    }

    public Builder ignoreEos(boolean ignore) {
      ignoreEos = ignore;
      return this;
    }

    /** Replaces temperature, top-k, top-p and min-p. */
    public Builder sampler(Sampler custom) {
      sampler = Objects.requireNonNull(custom, "sampler");
      return this;
    }

    /** Adds a processor, which runs after the penalties and before the typical limit. */
    public Builder processor(LogitsProcessor processor) {
      processors.add(processor);
      return this;
    }

    /**
     * The options.
     *
     * @throws IllegalArgumentException that names the option, its range and the value
     */
    public GenerationOptions build() {
      List<LogitsProcessor> all = new ArrayList<>();
      if (repetitionPenalty != 1) {
        all.add(LogitsProcessors.repetitionPenalty(repetitionPenalty));
      }
      if (frequencyPenalty != 0) {
        all.add(LogitsProcessors.frequencyPenalty(frequencyPenalty));
      }
      if (presencePenalty != 0) {
        all.add(LogitsProcessors.presencePenalty(presencePenalty));
      }
      all.addAll(processors);
      if (typical != 1) {
        all.add(LogitsProcessors.typical(typical));
      }
      Sampler chosen = sampler == null ? Samplers.of(temperature, topK, topP, minP) : sampler;
      return new GenerationOptions(
          maxTokens,
          chosen,
          all,
          seed,
          stop,
          constraint,
          logProbabilities,
          speculation,
          adapter,
          bos,
          ignoreEos);
    }
  }
}
