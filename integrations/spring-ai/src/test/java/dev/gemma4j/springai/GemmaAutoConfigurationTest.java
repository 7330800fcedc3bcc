package dev.gemma4j.springai;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.Gemma;
import dev.gemma4j.KvType;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.Memory;
import dev.gemma4j.examples.DemoModel;
import io.micrometer.observation.Observation;
import io.micrometer.observation.ObservationHandler;
import io.micrometer.observation.ObservationRegistry;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Configuration;

@Timeout(60)
class GemmaAutoConfigurationTest {
  @TempDir private static Path directory;

  private final ApplicationContextRunner runner =
      new ApplicationContextRunner()
          .withConfiguration(AutoConfigurations.of(GemmaAutoConfiguration.class))
          .withPropertyValues("gemma.model=" + directory);

  @BeforeAll
  static void extract() throws IOException {
    DemoModel.extract(directory);
  }

  @Configuration(proxyBeanMethods = false)
  @EnableAutoConfiguration
  static class Application {}

  @Test
  void anApplicationFindsItAndClosesTheModel() {
    Gemma gemma;
    try (ConfigurableApplicationContext context =
        SpringApplication.run(
            Application.class, "--gemma.model=" + directory, "--gemma.max-tokens=3")) {
      gemma = context.getBean(Gemma.class);
      assertThat(context.getBean(ChatModel.class).call("Hi")).isNotEmpty();
    }
    assertThatThrownBy(() -> gemma.generate("Hi")).isInstanceOf(IllegalStateException.class);
  }

  @Test
  void propertiesReachTheModel() {
    runner
        .withPropertyValues(
            "gemma.weights=q8_0",
            "gemma.memory=copied",
            "gemma.threads=1",
            "gemma.context-length=64",
            "gemma.kv=f16",
            "gemma.kv-memory=64MB",
            "gemma.kv-wait=2s",
            "gemma.prompt-reuse=false")
        .run(
            context -> {
              Gemma gemma = context.getBean(Gemma.class);
              assertThat(gemma.weights()).isEqualTo("Q8_0");
              assertThat(gemma.threads()).isEqualTo(1);
              assertThat(gemma.contextLength()).isEqualTo(64);
              LoadOptions options = context.getBean(GemmaProperties.class).loadOptions();
              assertThat(options.memory()).isEqualTo(Memory.COPIED);
              assertThat(options.kv()).isEqualTo(KvType.F16);
              assertThat(options.kvMemory()).isEqualTo(64 << 20);
              assertThat(options.kvWait()).isEqualTo(Duration.ofSeconds(2));
              assertThat(options.promptReuse()).isFalse();
            });
  }

  @Test
  void propertiesReachTheChatModel() {
    runner
        .withPropertyValues(
            "gemma.max-tokens=5",
            "gemma.temperature=0.5",
            "gemma.top-p=0.9",
            "gemma.top-k=40",
            "gemma.min-p=0.1",
            "gemma.repetition-penalty=1.1",
            "gemma.frequency-penalty=0.2",
            "gemma.presence-penalty=0.3",
            "gemma.seed=7",
            "gemma.stop=one,two")
        .run(
            context -> {
              assertThat(context.getBean(GemmaChatModel.class).getDefaultOptions())
                  .usingRecursiveComparison()
                  .isEqualTo(
                      GemmaChatOptions.builder()
                          .model(directory.getFileName().toString())
                          .maxTokens(5)
                          .temperature(0.5)
                          .topP(0.9)
                          .topK(40)
                          .minP(0.1)
                          .repetitionPenalty(1.1)
                          .frequencyPenalty(0.2)
                          .presencePenalty(0.3)
                          .seed(7L)
                          .stopSequences(List.of("one", "two"))
                          .build());
            });
    runner
        .withPropertyValues("gemma.model-name=tales")
        .run(
            context ->
                assertThat(context.getBean(ChatModel.class).getDefaultOptions().getModel())
                    .isEqualTo("tales"));
  }

  @Test
  void aWrongValueIsNamed() {
    runner
        .withPropertyValues("gemma.threads=many")
        .run(
            context ->
                assertThat(context)
                    .getFailure()
                    .hasStackTraceContaining("gemma.threads")
                    .hasStackTraceContaining("many"));
  }

  @Test
  void aPathThatIsBlankIsNamed() {
    for (String property : List.of("gemma.model", "gemma.adapter", "gemma.merged-adapter")) {
      runner
          .withPropertyValues(property + "=")
          .run(
              context ->
                  assertThat(context).getFailure().hasStackTraceContaining(property + " is blank"));
    }
  }

  @Test
  void aWrongDefaultIsNoModel() {
    runner
        .withPropertyValues("gemma.temperature=-1")
        .run(context -> assertThat(context).getFailure().hasStackTraceContaining("temperature"));
  }

  @Test
  void itGivesWayToAnotherProvider() {
    runner
        .withPropertyValues("spring.ai.model.chat=openai")
        .run(context -> assertThat(context).doesNotHaveBean(ChatModel.class));
    runner
        .withPropertyValues("spring.ai.model.chat=gemma")
        .run(context -> assertThat(context).hasSingleBean(GemmaChatModel.class));
  }

  @Test
  void theApplicationsRegistryObserves() {
    List<String> seen = new ArrayList<>();
    ObservationRegistry registry = ObservationRegistry.create();
    registry
        .observationConfig()
        .observationHandler(
            new ObservationHandler<>() {
              @Override
              public void onStop(Observation.Context context) {
                seen.add(context.getName());
              }

              @Override
              public boolean supportsContext(Observation.Context context) {
                return true;
              }
            });
    runner
        .withBean(ObservationRegistry.class, () -> registry)
        .withPropertyValues("gemma.max-tokens=3")
        .run(context -> context.getBean(ChatModel.class).call("Hi"));
    assertThat(seen).containsExactly("gen_ai.client.operation");
  }

  @Test
  void editorsKnowTheProperties() throws IOException {
    try (InputStream in =
        GemmaAutoConfiguration.class.getResourceAsStream(
            "/META-INF/spring-configuration-metadata.json")) {
      assertThat(new String(in.readAllBytes(), StandardCharsets.UTF_8))
          .contains("\"gemma.model\"", "\"gemma.kv-memory\"", "Seed of the random numbers");
    }
  }
}
