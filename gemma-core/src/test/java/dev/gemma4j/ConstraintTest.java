package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.constraint.Constraints;
import dev.gemma4j.sampling.Logits;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Generations keep to their constraint. */
@Timeout(60)
class ConstraintTest {
  private static final Constraint DATE = Constraints.regex("\\d{4}-\\d\\d-\\d\\d");
  private static final Constraint PERSON =
      Constraints.jsonSchema(
          """
          {"type": "object", "required": ["name", "age"], "properties": {
            "name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"},
            "tags": {"type": "array", "items": {"enum": ["x", "y"]}, "maxItems": 3}}}
          """);
  private static Gemma gemma;

  @BeforeAll
  static void load() {
    gemma = Goldens.load("gemma-mqa-f32");
  }

  @AfterAll
  static void close() {
    gemma.close();
  }

  private static GenerationOptions.Builder options(Constraint constraint, int seed) {
    return GenerationOptions.builder()
        .constraint(constraint)
        .temperature(3)
        .topP(1)
        .seed(seed)
        .maxTokens(80);
  }

  @Test
  void whatEndsIsValid() throws IOException {
    for (int seed = 0; seed < 30; seed++) {
      Generation date = gemma.generate(Prompt.of("a"), options(DATE, seed).build());
      assertThat(date.text()).matches("\\d{4}-\\d\\d-\\d\\d");
      assertThat(date.finishReason()).isEqualTo(FinishReason.EOS);
      Generation person = gemma.generate(Prompt.of("a"), options(PERSON, seed).build());
      assertThat(person.finishReason()).isEqualTo(FinishReason.EOS);
      JsonNode json = new ObjectMapper().readTree(person.text());
      assertThat(json.get("name").asText().codePoints().count()).isLessThanOrEqualTo(8);
      assertThat(json.get("age").isIntegralNumber()).isTrue();
    }
  }

  @Test
  void whatIsCutSaysSoAndTheLastTokenThatFitsIsNoCut() {
    GenerationOptions.Builder options = options(DATE, 1);
    int tokens = gemma.generate(Prompt.of("a"), options.build()).tokens().size();
    Generation whole = gemma.generate(Prompt.of("a"), options.maxTokens(tokens).build());
    assertThat(whole.finishReason()).isEqualTo(FinishReason.EOS);
    Generation cut = gemma.generate(Prompt.of("a"), options.maxTokens(tokens - 1).build());
    assertThat(cut.finishReason()).isEqualTo(FinishReason.LENGTH);
    assertThat(whole.text()).startsWith(cut.text());
  }

  @Test
  void theStreamsPiecesAreTheText() {
    StringBuilder text = new StringBuilder();
    GenerationOptions options = options(Constraints.choice("ja", "nein"), 5).stop("xyz").build();
    try (TokenStream stream = gemma.stream(Prompt.of("a"), options)) {
      stream.forEach(token -> text.append(token.text()));
      assertThat(stream.result().text()).isEqualTo(text.toString()).isIn("ja", "nein");
    }
    Generation nothing = gemma.generate(Prompt.of("a"), options(Constraints.choice(""), 5).build());
    assertThat(nothing.text()).isEmpty();
    assertThat(nothing.finishReason()).isEqualTo(FinishReason.EOS);
  }

  @Test
  void oneSetOfOptionsServesManyGenerationsAtOnce() throws Exception {
    GenerationOptions options = options(PERSON, 9).build();
    String expected = gemma.generate(Prompt.of("b"), options).text();
    try (ExecutorService executor = Executors.newFixedThreadPool(4)) {
      List<Future<String>> texts = new ArrayList<>();
      for (int i = 0; i < 16; i++) {
        texts.add(executor.submit(() -> gemma.generate(Prompt.of("b"), options).text()));
      }
      for (Future<String> text : texts) {
        assertThat(text.get()).isEqualTo(expected);
      }
    }
  }

  @Test
  void noProcessorAndNoSamplerGetsRoundIt() {
    GenerationOptions lifted =
        options(DATE, 2).processor((logits, history) -> logits.set(300, 1e9f)).build();
    assertThat(gemma.generate(Prompt.of("a"), lifted).text()).matches("\\d{4}-\\d\\d-\\d\\d");
    GenerationOptions wild = options(DATE, 2).sampler((logits, random) -> 300).build();
    assertThatThrownBy(() -> gemma.generate(Prompt.of("a"), wild))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("token 300 was chosen, which the constraint forbids");
    GenerationOptions nothingLeft =
        options(DATE, 2)
            .temperature(0)
            .processor(
                (logits, history) -> {
                  for (int id = 0; id < logits.size(); id++) {
                    logits.set(id, Float.NEGATIVE_INFINITY);
                  }
                })
            .build();
    assertThatThrownBy(() -> gemma.generate(Prompt.of("a"), nothingLeft))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("no token is possible");
    assertThatThrownBy(() -> options(DATE, 2).ignoreEos(true).build())
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("ignoreEos");
  }

  @Test
  void aProcessorSeesOnlyWhatIsPossible() {
    List<Integer> finite = new ArrayList<>();
    GenerationOptions options =
        options(Constraints.choice("ja", "nein"), 3)
            .processor((logits, history) -> finite.add(count(logits)))
            .build();
    gemma.generate(Prompt.of("a"), options);
    assertThat(finite.getFirst()).isBetween(2, 8);
  }

  private static int count(Logits logits) {
    int count = 0;
    for (int id = 0; id < logits.size(); id++) {
      count += logits.get(id) > Float.NEGATIVE_INFINITY ? 1 : 0;
    }
    return count;
  }

  /** Any text; each is a state of its own, and none is known before. */
  private record SoFar(String text, Runnable asked) implements Constraint.State {
    @Override
    public SoFar next(int b) {
      asked.run();
      return new SoFar(text + (char) b, asked);
    }

    @Override
    public boolean isAccepting() {
      return true;
    }
  }

  @Test
  void itEndsWhileItIsComputedWhatIsAllowed() {
    for (int tokens = 0; tokens < 2; tokens++) {
      for (Consumer<TokenStream> how :
          List.<Consumer<TokenStream>>of(
              TokenStream::cancel, stream -> Thread.currentThread().interrupt())) {
        AtomicReference<@Nullable TokenStream> victim = new AtomicReference<>();
        AtomicInteger asked = new AtomicInteger();
        Runnable next =
            () -> {
              TokenStream stream = victim.get();
              if (stream != null) {
                asked.incrementAndGet();
                how.accept(stream);
              }
            };
        GenerationOptions options = options(() -> new SoFar("", next), 1).build();
        try (TokenStream stream = gemma.stream(Prompt.of("a"), options)) {
          for (int i = 0; i < tokens; i++) {
            stream.next();
          }
          victim.set(stream);
          assertThat(stream.hasNext()).isFalse();
          Thread.interrupted();
          assertThat(stream.result().finishReason()).isEqualTo(FinishReason.CANCELLED);
          assertThat(stream.result().tokens()).hasSize(tokens);
          assertThat(asked).hasValueBetween(1, 50); // the bytes of one token
        }
      }
    }
  }
}
