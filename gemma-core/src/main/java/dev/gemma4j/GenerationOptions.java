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
 * How text is generated. Immutable: one set of options serves any number of generations at once,
 * from any threads.
 */
public final class GenerationOptions {
  private final Builder settings; // never changed
  private final Sampler sampler;
  private final List<LogitsProcessor> processors;
  private final List<String> stop;

  private GenerationOptions(Builder settings, Sampler sampler, List<LogitsProcessor> processors) {
    this.settings = settings;
    this.sampler = sampler;
    this.processors = List.copyOf(processors);
    this.stop = List.copyOf(settings.stop);
  }

  /** The most tokens to generate. */
  public int maxTokens() {
    return settings.maxTokens;
  }

  /** Chooses each token. */
  public Sampler sampler() {
    return sampler;
  }

  /** What changes the logits first, in order: penalties, one's own, the typical limit. */
  public List<LogitsProcessor> processors() {
    return processors;
  }

  /** The seed of the sampler's random numbers; null for a new one each time. */
  public @Nullable Long seed() {
    return settings.seed;
  }

  /** The text ends before the first of these. */
  public List<String> stop() {
    return stop;
  }

  /**
   * What the text must look like; null for no limits. A text that maxTokens, the context's end or a
   * stop string cuts may be incomplete, as {@link Generation#finishReason} says; one that ends with
   * {@link FinishReason#EOS} is valid.
   */
  public @Nullable Constraint constraint() {
    return settings.constraint;
  }

  /** How many alternatives to each token to report with their probabilities; -1 for nothing. */
  public int logProbabilities() {
    return settings.logProbabilities;
  }

  /** What guesses tokens to save passes; null for nothing. */
  public @Nullable Speculation speculation() {
    return settings.speculation;
  }

  /** What the model runs with; null for the model as it was loaded. */
  public @Nullable LoraAdapter adapter() {
    return settings.adapter;
  }

  /** Whether a text prompt gets the beginning-of-text token, where the model's texts have one. */
  public boolean bos() {
    return settings.bos;
  }

  /** Whether to go on after an end-of-text token. */
  public boolean ignoreEos() {
    return settings.ignoreEos;
  }

  /** A builder that holds all these options, to change some of them. */
  public Builder toBuilder() {
    return new Builder(settings);
  }

  @Override
  public String toString() {
    return "GenerationOptions[maxTokens="
        + maxTokens()
        + ", sampler="
        + sampler
        + ", processors="
        + processors
        + ", seed="
        + seed()
        + ", stop="
        + stop
        + ", constraint="
        + constraint()
        + ", logProbabilities="
        + logProbabilities()
        + ", speculation="
        + speculation()
        + ", adapter="
        + adapter()
        + ", bos="
        + bos()
        + ", ignoreEos="
        + ignoreEos()
        + "]";
  }

  /** 256 tokens, temperature 0.8, top-p 0.95. */
  public static GenerationOptions defaults() {
    return builder().build();
  }

  /** A builder that holds the defaults. */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Collects options; what is not set keeps its default, or what it was in the options that {@link
   * GenerationOptions#toBuilder} was called on. It may build several, each with what was set until
   * then. For one thread at a time.
   */
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

    private Builder(Builder other) {
      maxTokens = other.maxTokens;
      temperature = other.temperature;
      topK = other.topK;
      topP = other.topP;
      minP = other.minP;
      repetitionPenalty = other.repetitionPenalty;
      seed = other.seed;
      bos = other.bos;
      ignoreEos = other.ignoreEos;
      sampler = other.sampler;
      constraint = other.constraint;
      frequencyPenalty = other.frequencyPenalty;
      presencePenalty = other.presencePenalty;
      typical = other.typical;
      logProbabilities = other.logProbabilities;
      speculation = other.speculation;
      adapter = other.adapter;
      stop.addAll(other.stop);
      processors.addAll(other.processors);
    }

    /** The most tokens to generate, 0 or more; 256 unless set. */
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
     *
     * @param value null for no guesses
     */
    public Builder speculation(@Nullable Speculation value) {
      speculation = value;
      return this;
    }

    /**
     * What the model runs with; none unless set. See {@link Gemma#loadAdapter}. A draft model of
     * the speculation guesses without it.
     *
     * @param value null for none
     */
    public Builder adapter(@Nullable LoraAdapter value) {
      adapter = value;
      return this;
    }

    /**
     * Of the sampler's random numbers: the same seed, the same text. A new one each time unless
     * set.
     */
    public Builder seed(long value) {
      seed = value;
      return this;
    }

    /** Adds stop strings: the text ends before the first that comes. */
    public Builder stop(String... strings) {
      stop.addAll(List.of(strings));
      return this;
    }

    /**
     * What the text must look like; anything unless set. See {@link
     * dev.gemma4j.constraint.Constraints}.
     *
     * @param value null for anything
     */
    public Builder constraint(@Nullable Constraint value) {
      constraint = value;
      return this;
    }

    /**
     * Whether a text prompt gets the beginning-of-text token. It does unless set, or unless the
     * model's texts have none: see {@link dev.gemma4j.tokenizer.Tokenizer#addsBos}.
     */
    public Builder bos(boolean add) {
      bos = add;
      return this;
    }

    /** Whether to go on after an end-of-text token; ends there unless set. */
    public Builder ignoreEos(boolean ignore) {
      ignoreEos = ignore;
      return this;
    }

    /** Replaces temperature, top-k, top-p and min-p, whenever they are set. */
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
      if (maxTokens < 0) {
        throw new IllegalArgumentException("maxTokens must be 0 or more, but is " + maxTokens);
      }
      if (logProbabilities < -1) {
        throw new IllegalArgumentException(
            "logProbabilities must be 0 or more, but is " + logProbabilities);
      }
      if (stop.contains("")) {
        throw new IllegalArgumentException("a stop string must not be empty");
      }
      if (constraint != null && ignoreEos) {
        throw new IllegalArgumentException("ignoreEos cannot be set with a constraint, which ends");
      }
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
      return new GenerationOptions(new Builder(this), chosen, all);
    }
  }
}
