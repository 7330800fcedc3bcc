package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;

import dev.gemma4j.constraint.Constraints;
import dev.gemma4j.sampling.LogitsProcessor;
import dev.gemma4j.sampling.LogitsProcessors;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import org.junit.jupiter.api.Test;

class GenerationOptionsTest {
  /** Options none of which has its default, but for the adapter, which needs a model. */
  private static GenerationOptions.Builder all() {
    return GenerationOptions.builder()
        .maxTokens(7)
        .temperature(0.3f)
        .topK(5)
        .topP(0.6f)
        .minP(0.1f)
        .repetitionPenalty(1.1f)
        .frequencyPenalty(0.2f)
        .presencePenalty(0.4f)
        .typical(0.9f)
        .seed(42)
        .stop("a", "b")
        .constraint(Constraints.choice("yes"))
        .logProbabilities(3)
        .speculation(Speculation.promptLookup(2))
        .bos(false)
        .ignoreEos(true)
        .processor((logits, history) -> {});
  }

  @Test
  void aBuilderOfOptionsHoldsAllOfThem() throws IllegalAccessException {
    GenerationOptions.Builder before =
        all().sampler((logits, random) -> 7).ignoreEos(false); // with a constraint
    GenerationOptions.Builder after = before.build().toBuilder();
    GenerationOptions.Builder defaults = GenerationOptions.builder();
    for (Field field : GenerationOptions.Builder.class.getDeclaredFields()) {
      if (!Modifier.isStatic(field.getModifiers()) && !field.isSynthetic()) {
        field.setAccessible(true);
        assertThat(field.get(after)).as(field.getName()).isEqualTo(field.get(before));
        if (!field.getName().equals("adapter") && !field.getName().equals("ignoreEos")) {
          assertThat(field.get(before)).as(field.getName()).isNotEqualTo(field.get(defaults));
        }
      }
    }
  }

  @Test
  void whatIsChangedIsReplacedAndAllElseStays() {
    GenerationOptions options = all().constraint(null).build();
    GenerationOptions changed =
        options.toBuilder().temperature(0.5f).repetitionPenalty(1).maxTokens(9).build();
    assertThat(changed.sampler()).hasToString("Samplers.of(0.5, 5, 0.6, 0.1)");
    assertThat(changed.processors()).hasSize(options.processors().size() - 1);
    assertThat(changed.maxTokens()).isEqualTo(9);
    assertThat(changed.seed()).isEqualTo(42);
    assertThat(changed.ignoreEos()).isTrue();
    assertThat(options.maxTokens()).isEqualTo(7);
    assertThat(options.sampler()).hasToString("Samplers.of(0.3, 5, 0.6, 0.1)");
  }

  @Test
  void aBuilderMayGoOnAfterItHasBuilt() {
    LogitsProcessor processor = LogitsProcessors.repetitionPenalty(2);
    GenerationOptions.Builder builder = GenerationOptions.builder().stop("a");
    GenerationOptions first = builder.build();
    GenerationOptions second = builder.stop("b").processor(processor).maxTokens(1).build();
    assertThat(first.stop()).containsExactly("a");
    assertThat(first.processors()).isEmpty();
    assertThat(first.maxTokens()).isEqualTo(256);
    assertThat(first.toBuilder().build().stop()).containsExactly("a");
    assertThat(second.stop()).containsExactly("a", "b");
    assertThat(second.processors()).containsExactly(processor);
  }
}
