package dev.gemma4j.springai;

import dev.gemma4j.Gemma;
import io.micrometer.observation.ObservationRegistry;
import java.io.IOException;
import java.nio.file.Path;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.observation.ChatModelObservationConvention;
import org.springframework.ai.model.SpringAIModelProperties;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.annotation.Bean;

/**
 * A {@link Gemma} and its {@link ChatModel} when {@code gemma.model}, the path of a checkpoint, is
 * set; other properties that begin with {@code gemma} say more. {@code spring.ai.model.chat}, where
 * it chooses among several providers, must say {@code gemma}. The context closes the model.
 */
@AutoConfiguration
@ConditionalOnProperty("gemma.model")
@EnableConfigurationProperties(GemmaProperties.class)
public class GemmaAutoConfiguration {
  /** For Spring. */
  public GemmaAutoConfiguration() {}

  /** The model that {@code gemma.model} names. */
  @Bean(destroyMethod = "close")
  @ConditionalOnMissingBean
  Gemma gemma(GemmaProperties properties) throws IOException {
    return Gemma.load(Path.of(properties.model()), properties.loadOptions());
  }

  /** Its chat model. */
  @Bean
  @ConditionalOnMissingBean(ChatModel.class)
  @ConditionalOnProperty(
      name = SpringAIModelProperties.CHAT_MODEL,
      havingValue = "gemma",
      matchIfMissing = true)
  GemmaChatModel gemmaChatModel(
      Gemma gemma,
      GemmaProperties properties,
      ObjectProvider<ObservationRegistry> registry,
      ObjectProvider<ChatModelObservationConvention> convention)
      throws IOException {
    GemmaChatModel model =
        new GemmaChatModel(gemma, properties.chatOptions())
            .withObservations(
                registry.getIfUnique(() -> ObservationRegistry.NOOP), convention.getIfUnique());
    String adapter = properties.adapter();
    return adapter == null ? model : model.withAdapter(gemma.loadAdapter(Path.of(adapter)));
  }
}
