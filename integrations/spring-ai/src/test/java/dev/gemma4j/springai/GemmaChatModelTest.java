package dev.gemma4j.springai;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.ChatMessage;
import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Role;
import dev.gemma4j.examples.DemoModel;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.ai.chat.messages.ToolResponseMessage;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.prompt.ChatOptions;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;

@Timeout(60)
class GemmaChatModelTest {
  private final ApplicationContextRunner runner =
      new ApplicationContextRunner()
          .withConfiguration(AutoConfigurations.of(GemmaAutoConfiguration.class));

  @Test
  void withoutAModelThereIsNone() {
    runner.run(context -> assertThat(context).doesNotHaveBean(ChatModel.class));
  }

  @Test
  void aClientOfTheContextsModelCallsStreamsAndIsRefused(@TempDir Path directory)
      throws IOException {
    DemoModel.extract(directory);
    runner
        .withPropertyValues(
            "gemma.model=" + directory, "gemma.temperature=0", "gemma.max-tokens=20")
        .run(
            context -> {
              Gemma gemma = context.getBean(Gemma.class);
              GemmaChatModel model = context.getBean(GemmaChatModel.class);
              String expected =
                  gemma
                      .generate(
                          dev.gemma4j.Prompt.chat(
                              List.of(
                                  new ChatMessage(Role.SYSTEM, "Be brief."),
                                  new ChatMessage(Role.USER, "Who are you?"))),
                          GenerationOptions.builder().temperature(0).maxTokens(20).build())
                      .text();
              ChatClient client = ChatClient.create(model);
              ChatResponse response =
                  client.prompt().system("Be brief.").user("Who are you?").call().chatResponse();
              assertThat(response.getResult().getOutput().getText()).isEqualTo(expected);
              assertThat(response.getResult().getMetadata().getFinishReason()).isEqualTo("LENGTH");
              assertThat(response.getMetadata().getUsage().getCompletionTokens()).isEqualTo(20);

              List<String> pieces =
                  client.prompt().system("Be brief.").user("Who are you?").stream()
                      .content()
                      .collectList()
                      .block();
              assertThat(String.join("", pieces)).isEqualTo(expected);
              assertThat(pieces).hasSizeGreaterThan(5);
              assertThat(model.stream(new Prompt("Hi")).take(2).collectList().block()).hasSize(2);

              assertThat(
                      client
                          .prompt("Who are you?")
                          .options(ChatOptions.builder().maxTokens(3).build())
                          .call()
                          .chatResponse()
                          .getMetadata()
                          .getUsage()
                          .getCompletionTokens())
                  .isEqualTo(3);
              assertThatThrownBy(
                      () ->
                          model.call(
                              new Prompt(
                                  ToolResponseMessage.builder().responses(List.of()).build())))
                  .isInstanceOf(UnsupportedOperationException.class)
                  .hasMessageContaining("tools");
            });
  }

  private static final Path CORE = Path.of("../../gemma-core/src/test/resources/dev/gemma4j");

  @Test
  void anAdapterAnswersBesideTheModelThatItIsFor() {
    Path directory = CORE.resolve("lora/every");
    runner
        .withPropertyValues(
            "gemma.model=" + CORE.resolve("forward/gemma-mqa-f32"),
            "gemma.adapter=" + directory,
            "gemma.temperature=0",
            "gemma.max-tokens=20")
        .run(
            context -> {
              Gemma gemma = context.getBean(Gemma.class);
              GemmaChatModel configured = context.getBean(GemmaChatModel.class);
              GenerationOptions.Builder greedy =
                  GenerationOptions.builder().temperature(0).maxTokens(20);
              dev.gemma4j.Prompt prompt =
                  dev.gemma4j.Prompt.chat(List.of(new ChatMessage(Role.USER, "Who are you?")));
              String plain = gemma.generate(prompt, greedy.build()).text();
              LoraAdapter adapter = gemma.loadAdapter(directory);
              String adapted = gemma.generate(prompt, greedy.adapter(adapter).build()).text();
              assertThat(adapted).isNotEqualTo(plain);
              assertThat(configured.call("Who are you?")).isEqualTo(adapted);
              GemmaChatModel without = new GemmaChatModel(gemma, configured.getDefaultOptions());
              assertThat(without.call("Who are you?")).isEqualTo(plain);
              GemmaChatModel with = without.withAdapter(adapter);
              assertThat(with.call("Who are you?")).isEqualTo(adapted);
              assertThat(String.join("", with.stream("Who are you?").collectList().block()))
                  .isEqualTo(adapted);
            });
  }
}
