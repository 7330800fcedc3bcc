package dev.gemma4j.springai;

import dev.gemma4j.Gemma;
import dev.gemma4j.LoadOptions;
import java.io.IOException;
import java.nio.file.Path;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.prompt.ChatOptions;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.context.annotation.Bean;
import org.springframework.core.env.Environment;

/**
 * A {@link Gemma} and its {@link ChatModel} when {@code gemma.model}, the path of a checkpoint, is
 * set. {@code gemma.threads}, {@code gemma.context-length}, {@code gemma.temperature}, {@code
 * gemma.max-tokens} and {@code gemma.adapter}, the directory of a LoRA adapter for the chat model,
 * say more. The context closes the model.
 */
@AutoConfiguration
@ConditionalOnProperty("gemma.model")
public class GemmaAutoConfiguration {
  /** For Spring. */
  public GemmaAutoConfiguration() {}

  /** The model that {@code gemma.model} names. */
  @Bean(destroyMethod = "close")
  @ConditionalOnMissingBean
  public Gemma gemma(Environment environment) throws IOException {
    LoadOptions options = LoadOptions.defaults();
    Integer threads = environment.getProperty("gemma.threads", Integer.class);
    if (threads != null) {
      options = options.withThreads(threads);
    }
    options =
        options.withContextLength(
            environment.getProperty("gemma.context-length", Integer.class, 0));
    return Gemma.load(Path.of(environment.getRequiredProperty("gemma.model")), options);
  }

  /** Its chat model. */
  @Bean
  @ConditionalOnMissingBean(ChatModel.class)
  public GemmaChatModel gemmaChatModel(Gemma gemma, Environment environment) throws IOException {
    GemmaChatModel model =
        new GemmaChatModel(
            gemma,
            ChatOptions.builder()
                .temperature(environment.getProperty("gemma.temperature", Double.class))
                .maxTokens(environment.getProperty("gemma.max-tokens", Integer.class))
                .build());
    String adapter = environment.getProperty("gemma.adapter");
    return adapter == null ? model : model.withAdapter(gemma.loadAdapter(Path.of(adapter)));
  }
}
