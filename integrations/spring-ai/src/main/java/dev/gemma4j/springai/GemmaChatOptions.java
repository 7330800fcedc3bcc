package dev.gemma4j.springai;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.springframework.ai.chat.prompt.ChatOptions;
import org.springframework.ai.chat.prompt.DefaultChatOptions;
import org.springframework.ai.model.tool.StructuredOutputChatOptions;

/**
 * The options that every model of Spring AI has, and what Gemma understands besides. What is null
 * was not said. {@link GemmaChatModel#getDefaultOptions} returns one, so that a {@code ChatClient}
 * can hand over a JSON schema.
 */
public final class GemmaChatOptions extends DefaultChatOptions
    // As a subclass of DefaultChatOptions, for which a ChatClient with tools substitutes options
    // that name them: so tools are refused, where options of any other class would lose them.
    implements StructuredOutputChatOptions {
  private @Nullable Long seed;
  private @Nullable Double minP;
  private @Nullable Double repetitionPenalty;
  private @Nullable String outputSchema;

  /** Options that say nothing. */
  public GemmaChatOptions() {}

  public static Builder builder() {
    return new Builder();
  }

  /** Of the random numbers: the same seed gives the same text. */
  public @Nullable Long getSeed() {
    return seed;
  }

  /** See {@link #getSeed}. */
  public void setSeed(@Nullable Long value) {
    seed = value;
  }

  /** In [0, 1); 0 for no limit. */
  public @Nullable Double getMinP() {
    return minP;
  }

  /** See {@link #getMinP}. */
  public void setMinP(@Nullable Double value) {
    minP = value;
  }

  /** Above 0; 1 for none. */
  public @Nullable Double getRepetitionPenalty() {
    return repetitionPenalty;
  }

  /** See {@link #getRepetitionPenalty}. */
  public void setRepetitionPenalty(@Nullable Double value) {
    repetitionPenalty = value;
  }

  /**
   * A JSON schema that the answer follows, as {@link dev.gemma4j.constraint.Constraints#jsonSchema}
   * understands it, but narrowed to what Java reads: integers without bounds fit an int, date-times
   * are in UTC, times have no offset, durations no years, months and weeks, and a {@code uri} is
   * one of http or https. A {@code ChatClient} that asks for an object sets it in the very options
   * that the call was given, so give each call options of its own.
   */
  @Override
  public @Nullable String getOutputSchema() {
    return outputSchema;
  }

  @Override
  public void setOutputSchema(@Nullable String schema) {
    outputSchema = schema;
  }

  @Override
  @SuppressWarnings("unchecked") // so the interface wants it
  public <T extends ChatOptions> T copy() {
    return (T) new GemmaChatOptions().with(this);
  }

  /** Takes over all that others say: of another class, as far as Spring AI's interfaces go. */
  GemmaChatOptions with(ChatOptions others) {
    ifSaid(others.getModel(), this::setModel);
    ifSaid(others.getTemperature(), this::setTemperature);
    ifSaid(others.getTopP(), this::setTopP);
    ifSaid(others.getTopK(), this::setTopK);
    ifSaid(others.getMaxTokens(), this::setMaxTokens);
    ifSaid(others.getFrequencyPenalty(), this::setFrequencyPenalty);
    ifSaid(others.getPresencePenalty(), this::setPresencePenalty);
    ifSaid(others.getStopSequences(), stop -> setStopSequences(new ArrayList<>(stop)));
    if (others instanceof StructuredOutputChatOptions structured) {
      ifSaid(structured.getOutputSchema(), this::setOutputSchema);
    }
    if (others instanceof GemmaChatOptions gemma) {
      ifSaid(gemma.seed, this::setSeed);
      ifSaid(gemma.minP, this::setMinP);
      ifSaid(gemma.repetitionPenalty, this::setRepetitionPenalty);
    }
    return this;
  }

  /** Hands a value on unless it is null, which says nothing. */
  static <T> void ifSaid(@Nullable T value, Consumer<T> setter) {
    if (value != null) {
      setter.accept(value);
    }
  }

  /** Collects options; null says nothing. */
  public static final class Builder implements ChatOptions.Builder {
    private final GemmaChatOptions options = new GemmaChatOptions();

    private Builder() {}

    /** The name of the model, which responses carry; see {@link GemmaChatModel}. */
    @Override
    public Builder model(@Nullable String name) {
      options.setModel(name);
      return this;
    }

    /** 0 is greedy. */
    @Override
    public Builder temperature(@Nullable Double value) {
      options.setTemperature(value);
      return this;
    }

    /** In (0, 1]. */
    @Override
    public Builder topP(@Nullable Double p) {
      options.setTopP(p);
      return this;
    }

    /** 0 for no limit. */
    @Override
    public Builder topK(@Nullable Integer k) {
      options.setTopK(k);
      return this;
    }

    @Override
    public Builder maxTokens(@Nullable Integer tokens) {
      options.setMaxTokens(tokens);
      return this;
    }

    @Override
    public Builder frequencyPenalty(@Nullable Double penalty) {
      options.setFrequencyPenalty(penalty);
      return this;
    }

    @Override
    public Builder presencePenalty(@Nullable Double penalty) {
      options.setPresencePenalty(penalty);
      return this;
    }

    @Override
    public Builder stopSequences(@Nullable List<String> strings) {
      options.setStopSequences(strings);
      return this;
    }

    /** See {@link GemmaChatOptions#getSeed}. */
    public Builder seed(@Nullable Long value) {
      options.setSeed(value);
      return this;
    }

    /** See {@link GemmaChatOptions#getMinP}. */
    public Builder minP(@Nullable Double p) {
      options.setMinP(p);
      return this;
    }

    /** See {@link GemmaChatOptions#getRepetitionPenalty}. */
    public Builder repetitionPenalty(@Nullable Double penalty) {
      options.setRepetitionPenalty(penalty);
      return this;
    }

    /** See {@link GemmaChatOptions#getOutputSchema}. */
    public Builder outputSchema(@Nullable String schema) {
      options.setOutputSchema(schema);
      return this;
    }

    @Override
    public GemmaChatOptions build() {
      return options.copy();
    }
  }
}
