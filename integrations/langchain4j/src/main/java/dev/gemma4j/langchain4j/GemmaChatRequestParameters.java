package dev.gemma4j.langchain4j;

import dev.langchain4j.model.chat.request.ChatRequestParameters;
import dev.langchain4j.model.chat.request.DefaultChatRequestParameters;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The parameters that every model of LangChain4j has, and what Gemma understands besides. What is
 * null was not said.
 */
public final class GemmaChatRequestParameters extends DefaultChatRequestParameters {
  private final @Nullable Long seed;
  private final @Nullable Double minP;
  private final @Nullable Double repetitionPenalty;

  private GemmaChatRequestParameters(Builder builder) {
    super(builder);
    seed = builder.seed;
    minP = builder.minP;
    repetitionPenalty = builder.repetitionPenalty;
  }

  public static Builder builder() {
    return new Builder();
  }

  /** Of the random numbers: the same seed gives the same text. */
  public @Nullable Long seed() {
    return seed;
  }

  /** In [0, 1); 0 for no limit. */
  public @Nullable Double minP() {
    return minP;
  }

  /** Above 0; 1 for none. */
  public @Nullable Double repetitionPenalty() {
    return repetitionPenalty;
  }

  /** These, but what others say counts: of another class, what all classes have. */
  @Override
  public GemmaChatRequestParameters overrideWith(ChatRequestParameters others) {
    return builder().overrideWith(this).overrideWith(others).build();
  }

  /** What others say, but these count: of another class, what all classes have. */
  @Override
  public GemmaChatRequestParameters defaultedBy(ChatRequestParameters others) {
    return builder().overrideWith(others).overrideWith(this).build();
  }

  @Override
  public boolean equals(@Nullable Object other) {
    return super.equals(other)
        && other instanceof GemmaChatRequestParameters that
        && Objects.equals(seed, that.seed)
        && Objects.equals(minP, that.minP)
        && Objects.equals(repetitionPenalty, that.repetitionPenalty);
  }

  @Override
  public int hashCode() {
    return Objects.hash(super.hashCode(), seed, minP, repetitionPenalty);
  }

  @Override
  public String toString() {
    return super.toString()
        + " with seed="
        + seed
        + ", minP="
        + minP
        + ", repetitionPenalty="
        + repetitionPenalty;
  }

  /** Collects parameters; null says nothing. */
  public static final class Builder extends DefaultChatRequestParameters.Builder<Builder> {
    private @Nullable Long seed;
    private @Nullable Double minP;
    private @Nullable Double repetitionPenalty;

    private Builder() {}

    /** See {@link GemmaChatRequestParameters#seed}. */
    public Builder seed(@Nullable Long value) {
      seed = value;
      return this;
    }

    /** See {@link GemmaChatRequestParameters#minP}. */
    public Builder minP(@Nullable Double p) {
      minP = p;
      return this;
    }

    /** See {@link GemmaChatRequestParameters#repetitionPenalty}. */
    public Builder repetitionPenalty(@Nullable Double penalty) {
      repetitionPenalty = penalty;
      return this;
    }

    @Override
    public Builder overrideWith(ChatRequestParameters others) {
      super.overrideWith(others);
      if (others instanceof GemmaChatRequestParameters gemma) {
        seed = gemma.seed == null ? seed : gemma.seed;
        minP = gemma.minP == null ? minP : gemma.minP;
        repetitionPenalty =
            gemma.repetitionPenalty == null ? repetitionPenalty : gemma.repetitionPenalty;
      }
      return this;
    }

    @Override
    public GemmaChatRequestParameters build() {
      return new GemmaChatRequestParameters(this);
    }
  }
}
