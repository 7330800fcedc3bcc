package dev.gemma4j.bench;

import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.constraint.Constraints;
import dev.gemma4j.decoding.ConstrainedText;
import dev.gemma4j.decoding.TokenTries;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Objects;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import java.util.zip.GZIPInputStream;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/**
 * What a constraint adds to a decode step with Gemma's 256000 pieces: each call masks the logits
 * and takes one token; a text that is complete begins anew. Run it where the project's root is the
 * working directory, or set {@code tokenizer}.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class ConstraintBenchmark {
  @Param("gemma-tokenizer/src/test/resources/dev/gemma4j/tokenizer/gemma1/tokenizer.model.gz")
  public String tokenizer = "";

  /** What the text must be. */
  public enum Text {
    CHOICE(() -> Constraints.choice("yes", "no", "perhaps")),
    DATE(() -> Constraints.regex("\\d{4}-\\d\\d-\\d\\d")),
    /** A long text of which each position is another state. */
    BOUNDED(() -> Constraints.regex("[^\"]{0,1000}")),
    /** Of each person a name as long as one likes, an age, and friends. */
    JSON(
        () ->
            Constraints.jsonSchema(
                """
                {"$ref": "#/$defs/person", "$defs": {"person": {"type": "object",
                 "required": ["name", "age"], "properties": {"name": {"type": "string"},
                  "age": {"type": "integer"}, "mood": {"enum": ["good", "bad"]},
                  "friends": {"type": "array", "items": {"$ref": "#/$defs/person"}}}}}}
                """));

    private final Supplier<Constraint> source;

    Text(Supplier<Constraint> source) {
      this.source = source;
    }
  }

  @Param public Text text = Text.CHOICE;

  /** Whether what earlier generations met is known, or each text begins knowing nothing. */
  @Param({"false", "true"})
  public boolean cold;

  private final SplittableRandom random = new SplittableRandom(1);
  private @Nullable TokenTries tries;
  private @Nullable ConstrainedText current;
  private float[] noise = {};
  private final float[] values = new float[256_000];
  private @Nullable Constraint constraint;

  @Setup
  public void load() throws IOException {
    try (InputStream in = new GZIPInputStream(Files.newInputStream(Path.of(tokenizer)))) {
      tries = new TokenTries(Tokenizer.parse(in.readAllBytes(), tokenizer));
    }
    noise = new float[values.length];
    for (int i = 0; i < noise.length; i++) {
      noise[i] = (float) random.nextGaussian();
    }
    begin();
  }

  private void begin() {
    Constraint next = constraint;
    if (cold || next == null) {
      Constraint made = text.source.get();
      next = made::start; // which equals no earlier one
      constraint = next;
    }
    current = new ConstrainedText(next, Objects.requireNonNull(tries), Set.of(1), () -> false);
  }

  /** The copy and the choice of a token are part of it, but not of the constraint. */
  @Benchmark
  public int step() {
    System.arraycopy(noise, 0, values, 0, values.length);
    Logits logits = Logits.of(values);
    ConstrainedText current = Objects.requireNonNull(this.current);
    current.restrict(logits);
    int from = random.nextInt(values.length);
    int id = -1;
    for (int i = 0; i < values.length; i++) {
      int candidate = from + i < values.length ? from + i : from + i - values.length;
      if (values[candidate] != Float.NEGATIVE_INFINITY) {
        id = candidate;
        break;
      }
    }
    if (id == 1) {
      begin();
    } else {
      current.append(id);
      if (current.isComplete()) {
        begin();
      }
    }
    return id;
  }
}
