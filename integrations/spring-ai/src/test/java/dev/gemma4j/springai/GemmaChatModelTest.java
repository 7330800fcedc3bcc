package dev.gemma4j.springai;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import dev.gemma4j.ChatMessage;
import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Role;
import dev.gemma4j.examples.DemoModel;
import io.micrometer.common.KeyValue;
import io.micrometer.observation.Observation;
import io.micrometer.observation.ObservationHandler;
import io.micrometer.observation.ObservationRegistry;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.OffsetTime;
import java.time.Period;
import java.time.Year;
import java.time.ZoneOffset;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.springframework.ai.chat.client.AdvisorParams;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.ai.chat.messages.AssistantMessage;
import org.springframework.ai.chat.messages.ToolResponseMessage;
import org.springframework.ai.chat.messages.UserMessage;
import org.springframework.ai.chat.metadata.ChatResponseMetadata;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.observation.ChatModelObservationContext;
import org.springframework.ai.chat.prompt.ChatOptions;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.converter.BeanOutputConverter;
import org.springframework.ai.model.tool.ToolCallingChatOptions;
import org.springframework.ai.tool.annotation.Tool;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;
import reactor.core.publisher.Flux;

@Timeout(60)
class GemmaChatModelTest {
  private static final GemmaChatOptions GREEDY =
      GemmaChatOptions.builder().temperature(0.0).maxTokens(20).build();
  private static Gemma demo;

  @BeforeAll
  static void load() throws IOException {
    demo = DemoModel.load(LoadOptions.defaults());
  }

  @AfterAll
  static void close() {
    demo.close();
  }

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

  record Person(String name, boolean good) {}

  @Test
  void aClientGetsAnObject() {
    GemmaChatModel model =
        new GemmaChatModel(
            demo,
            ChatOptions.builder().temperature(0.0).frequencyPenalty(2.0).maxTokens(400).build());
    ChatClient client =
        ChatClient.builder(model)
            .defaultAdvisors(AdvisorParams.ENABLE_NATIVE_STRUCTURED_OUTPUT)
            .build();
    Person person = client.prompt("Describe the old king").call().entity(Person.class);
    assertThat(person.name()).isNotNull();
    assertThat(client.prompt("Who?").options(GREEDY.copy()).call().content())
        .as("the next call of the same client")
        .isEqualTo(model.call(new Prompt("Who?", GREEDY)).getResult().getOutput().getText());
  }

  record Whole(int whole, Integer boxed) {}

  record Local(LocalDateTime both, LocalTime time) {}

  record Fixed(Instant instant, OffsetDateTime offset) {}

  record Length(Duration length) {}

  record Site(URI site) {}

  @Test
  void whatJavaCannotReadIsNotWritten() {
    ChatClient client =
        ChatClient.builder(new GemmaChatModel(demo, ChatOptions.builder().maxTokens(400).build()))
            .defaultAdvisors(AdvisorParams.ENABLE_NATIVE_STRUCTURED_OUTPUT)
            .build();
    for (long seed = 0; seed < 4; seed++) {
      for (Class<?> type :
          List.of(Whole.class, Local.class, Fixed.class, Length.class, Site.class)) {
        GemmaChatOptions random = GemmaChatOptions.builder().seed(seed).build();
        assertThat((Object) client.prompt("When?").options(random).call().entity(type)).isNotNull();
      }
    }
  }

  record Note(short pages, Year year, OffsetTime at, Period period, char mark) {}

  @Test
  void aConverterMaySayWhatSpringsSchemaDoesNot() {
    BeanOutputConverter<Note> notes =
        new BeanOutputConverter<>(Note.class) {
          @Override
          protected void postProcessSchema(JsonNode schema) {
            schema.withObject("/properties/pages").put("minimum", 0).put("maximum", 32767);
            schema.withObject("/properties/at").put("pattern", "Z$");
            schema.withObject("/properties/period").put("pattern", "^P[^T]*$");
            schema.withObject("/properties/mark").put("pattern", "^[a-z]$");
            schema
                .withObject("/properties")
                .putObject("year")
                .put("type", "integer")
                .put("minimum", 1)
                .put("maximum", 9999);
          }
        };
    ChatClient client =
        ChatClient.builder(new GemmaChatModel(demo, ChatOptions.builder().maxTokens(400).build()))
            .defaultAdvisors(AdvisorParams.ENABLE_NATIVE_STRUCTURED_OUTPUT)
            .build();
    for (long seed = 0; seed < 8; seed++) {
      GemmaChatOptions random = GemmaChatOptions.builder().seed(seed).build();
      Note note = client.prompt("When?").options(random).call().entity(notes);
      assertThat(note.at().getOffset()).isEqualTo(ZoneOffset.UTC);
      assertThat(note.period()).isNotNull();
    }
  }

  @Test
  void aSchemaKeepsTheBoundsThatItHas() {
    String kept =
        "{\"type\":\"object\",\"properties\":{\"format\":{\"type\":\"integer\",\"minimum\":1},"
            + "\"day\":{\"type\":\"string\",\"format\":\"date\"}}}";
    assertThat(ReadableSchema.of(kept)).isEqualTo(kept);
    assertThat(ReadableSchema.of("{\"items\":{\"type\":[\"integer\",\"null\"]}}"))
        .isEqualTo(
            "{\"items\":{\"type\":[\"integer\",\"null\"],"
                + "\"minimum\":-2147483648,\"maximum\":2147483647}}");
  }

  @Test
  void defaultsThatAreNoneAreRefusedAtOnce() {
    ChatOptions cold = ChatOptions.builder().temperature(-1.0).build();
    assertThatThrownBy(() -> new GemmaChatModel(demo, cold))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("temperature");
    ChatOptions hole = ChatOptions.builder().stopSequences(Arrays.asList("a", null)).build();
    assertThatThrownBy(() -> new GemmaChatModel(demo, hole))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("stop string");
  }

  @Test
  void aSchemaAmongTheOptionsCountsInStreamsToo() {
    GemmaChatOptions yes = GREEDY.copy();
    yes.setOutputSchema("{\"enum\": [\"yes\", \"no\"]}");
    GemmaChatModel model = new GemmaChatModel(demo, GREEDY);
    assertThat(model.call(new Prompt("Well?", yes)).getResult().getOutput().getText())
        .isIn("\"yes\"", "\"no\"");
    assertThat(text(model.stream(new Prompt("Well?", yes)))).isIn("\"yes\"", "\"no\"");
    yes.setOutputSchema("{\"type\": \"date\"}");
    assertThatThrownBy(() -> model.call(new Prompt("Well?", yes)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("date");
  }

  private static String text(Flux<ChatResponse> parts) {
    return String.join(
        "", parts.map(part -> part.getResult().getOutput().getText()).collectList().block());
  }

  @Test
  void whatGemmaHasBesidesCounts() {
    GemmaChatModel model =
        new GemmaChatModel(demo, ChatOptions.builder().temperature(1.5).maxTokens(20).build());
    dev.gemma4j.Prompt chat =
        dev.gemma4j.Prompt.chat(List.of(new ChatMessage(Role.USER, "Who are you?")));
    GenerationOptions.Builder same = GenerationOptions.builder().temperature(1.5f).maxTokens(20);
    GemmaChatOptions seeded = GemmaChatOptions.builder().seed(7L).build();
    String drawn = demo.generate(chat, same.seed(7).build()).text();
    assertThat(demo.generate(chat, same.seed(8).build()).text()).isNotEqualTo(drawn);
    assertThat(answer(model, seeded)).isEqualTo(drawn);
    assertThat(answer(new GemmaChatModel(demo, seeded), ChatOptions.builder().build()))
        .as("of the defaults")
        .isEqualTo(demo.generate(chat, GenerationOptions.builder().seed(7).build()).text());
    String narrow =
        demo.generate(chat, same.seed(7).minP(0.5f).repetitionPenalty(1.5f).build()).text();
    assertThat(narrow).isNotEqualTo(drawn);
    GemmaChatOptions all =
        GemmaChatOptions.builder().seed(7L).minP(0.5).repetitionPenalty(1.5).build();
    assertThat(answer(model, all)).isEqualTo(narrow);
  }

  private static String answer(GemmaChatModel model, ChatOptions options) {
    return model.call(new Prompt("Who are you?", options)).getResult().getOutput().getText();
  }

  @Test
  void theNameOfTheDefaultsIsTheModels() {
    GemmaChatModel model =
        new GemmaChatModel(demo, ChatOptions.builder().model("tales").maxTokens(3).build());
    assertThat(model.getDefaultOptions().getModel()).isEqualTo("tales");
    assertThat(ChatClient.create(model).prompt("Who?").call().content()).isNotNull();
    assertThat(answer(model, ChatOptions.builder().model("tales").build())).isNotNull();
    assertThatThrownBy(() -> answer(model, ChatOptions.builder().model("gpt-4").build()))
        .isInstanceOf(UnsupportedOperationException.class)
        .hasMessage("the model is tales, not gpt-4");
  }

  public static final class Clock {
    @Tool(description = "the time")
    public String time() {
      return "noon";
    }
  }

  @Test
  void toolsAreRefusedWhereverTheyStand() {
    GemmaChatModel model = new GemmaChatModel(demo, GREEDY);
    assertRefused(() -> ChatClient.create(model).prompt("Hi").tools(new Clock()).call().content());
    ChatOptions named = ToolCallingChatOptions.builder().toolNames("clock").build();
    assertRefused(() -> model.call(new Prompt("Hi", named)));
    assertRefused(() -> new GemmaChatModel(demo, named));
    AssistantMessage call =
        AssistantMessage.builder()
            .toolCalls(List.of(new AssistantMessage.ToolCall("1", "function", "clock", "{}")))
            .build();
    assertRefused(() -> model.call(new UserMessage("Hi"), call, new UserMessage("And?")));
  }

  private static void assertRefused(ThrowingCallable call) {
    assertThatThrownBy(call)
        .isInstanceOf(UnsupportedOperationException.class)
        .hasMessageContaining("tools");
  }

  @Test
  void aMessageWithoutTextIsEmpty() {
    assertThat(promptTokens(new AssistantMessage(null)))
        .isEqualTo(promptTokens(new AssistantMessage("")));
  }

  private static int promptTokens(AssistantMessage answer) {
    Prompt prompt = new Prompt(new UserMessage("Hi"), answer, new UserMessage("Who are you?"));
    return new GemmaChatModel(demo, GREEDY).call(prompt).getMetadata().getUsage().getPromptTokens();
  }

  @Test
  void callsAndStreamsAreObserved() throws Exception {
    // A stream's observation stops after its subscriber has heard of the end.
    BlockingQueue<ChatModelObservationContext> seen = new LinkedBlockingQueue<>();
    ObservationRegistry registry = registry(seen);
    GemmaChatModel model = new GemmaChatModel(demo, GREEDY).withObservations(registry, null);
    ChatClient client = ChatClient.builder(model, registry, null, null).build();
    ChatResponse response = client.prompt("Who are you?").call().chatResponse();
    assertThat(response.getMetadata().getId()).isNotEmpty();
    assertThat(response.getMetadata().getModel()).isEqualTo("gemma");
    assertObserved(next(seen), response.getMetadata());

    List<ChatResponse> parts =
        client.prompt("Who are you?").stream().chatResponse().collectList().block();
    assertThat(parts.stream().map(part -> part.getMetadata().getId()).distinct()).hasSize(1);
    ChatModelObservationContext streamed = next(seen);
    assertObserved(streamed, parts.getLast().getMetadata());
    assertThat(streamed.getResponse().getResult()).isEqualTo(response.getResult());

    assertThatThrownBy(() -> model.call("king ".repeat(9000))).isSameAs(next(seen).getError());
    assertThatThrownBy(() -> model.stream("king ".repeat(9000)).blockLast())
        .isSameAs(next(seen).getError());
    model.stream(new Prompt("Hi")).take(2).blockLast();
    assertThat(next(seen).getResponse()).as("of what was cancelled").isNull();
    assertThat(model.withObservations(ObservationRegistry.NOOP, null).call("Hi")).isNotEmpty();
    assertThat(seen).isEmpty();
  }

  private static ChatModelObservationContext next(BlockingQueue<ChatModelObservationContext> seen)
      throws InterruptedException {
    ChatModelObservationContext context = seen.poll(30, TimeUnit.SECONDS);
    assertThat(context).isNotNull();
    return context;
  }

  private static ObservationRegistry registry(Collection<ChatModelObservationContext> stopped) {
    ObservationRegistry registry = ObservationRegistry.create();
    registry
        .observationConfig()
        .observationHandler(
            new ObservationHandler<ChatModelObservationContext>() {
              @Override
              public void onStop(ChatModelObservationContext context) {
                stopped.add(context);
              }

              @Override
              public boolean supportsContext(Observation.Context context) {
                return context instanceof ChatModelObservationContext;
              }
            });
    return registry;
  }

  private static void assertObserved(
      ChatModelObservationContext context, ChatResponseMetadata metadata) {
    assertThat(context.getName()).isEqualTo("gen_ai.client.operation");
    assertThat(context.getParentObservation()).as("of the client").isNotNull();
    assertThat(context.getAllKeyValues())
        .contains(
            KeyValue.of("gen_ai.operation.name", "chat"),
            KeyValue.of("gen_ai.system", "gemma4j"),
            KeyValue.of("gen_ai.request.model", "gemma"),
            KeyValue.of("gen_ai.response.model", "gemma"),
            KeyValue.of("gen_ai.response.id", metadata.getId()),
            KeyValue.of("gen_ai.request.temperature", "0.0"),
            KeyValue.of("gen_ai.response.finish_reasons", "[\"LENGTH\"]"),
            KeyValue.of(
                "gen_ai.usage.input_tokens", metadata.getUsage().getPromptTokens().toString()),
            KeyValue.of("gen_ai.usage.output_tokens", "20"));
  }
}
