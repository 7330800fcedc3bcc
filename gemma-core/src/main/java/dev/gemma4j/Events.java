package dev.gemma4j;

import dev.gemma4j.model.Recorder;
import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;
import jdk.jfr.Timespan;
import org.jspecify.annotations.Nullable;

/**
 * What a flight recording shows of a model; passes are in {@link dev.gemma4j.model.PassEvent}. To
 * be made only when the {@link dev.gemma4j.model.Recorder} is on.
 */
final class Events {
  private Events() {}

  /** A model was loaded. */
  @Name("dev.gemma4j.Load")
  @Label("Model Load")
  @Category("Gemma")
  @StackTrace(false)
  static final class Load extends Event {
    @Label("Path")
    String path = "";

    @Label("Weight Type")
    String weights = "";

    @Label("Weight Bytes")
    @DataAmount
    long bytes;
  }

  /** A prompt that is run from now on; null when nothing records. */
  static @Nullable Prefill prefill() {
    if (!Recorder.isOn()) {
      return null;
    }
    Prefill event = new Prefill();
    event.begin();
    return event;
  }

  /** A prompt was run, or texts to score or embed. */
  @Name("dev.gemma4j.Prefill")
  @Label("Prefill")
  @Category("Gemma")
  @StackTrace(false)
  static final class Prefill extends Event {
    @Label("Prompt Tokens")
    int tokens;

    @Label("Reused Tokens")
    @Description("Tokens at the prompt's beginning that an earlier one had left computed")
    int reused;

    @Label("Queued")
    @Timespan
    long queued;

    void end(int count, int known, long waited) {
      tokens = count;
      reused = known;
      queued = waited;
      commit();
    }
  }

  /** A text that is generated from now on; null when nothing records. */
  static @Nullable Generated generated() {
    if (!Recorder.isOn()) {
      return null;
    }
    Generated event = new Generated();
    event.begin();
    return event;
  }

  /** A text was generated, or by beam search several, whose tokens are counted together. */
  @Name("dev.gemma4j.Generation")
  @Label("Generation")
  @Category("Gemma")
  @StackTrace(false)
  static final class Generated extends Event {
    @Label("Prompt Tokens")
    int promptTokens;

    @Label("Generated Tokens")
    int generatedTokens;

    @Label("Finish Reason")
    @Description("As FinishReason, or ERROR when an exception ended the text")
    String finishReason = "";

    @Label("Prefill")
    @Timespan
    long prefill;

    @Label("Decode")
    @Timespan
    long decode;
  }
}
