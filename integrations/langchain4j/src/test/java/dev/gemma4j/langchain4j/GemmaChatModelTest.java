package dev.gemma4j.langchain4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.annotation.JsonProperty;
import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Prompt;
import dev.gemma4j.Role;
import dev.gemma4j.examples.DemoModel;
import dev.langchain4j.agent.tool.ToolSpecification;
import dev.langchain4j.data.message.AiMessage;
import dev.langchain4j.data.message.ChatMessage;
import dev.langchain4j.data.message.ImageContent;
import dev.langchain4j.data.message.SystemMessage;
import dev.langchain4j.data.message.UserMessage;
import dev.langchain4j.exception.InvalidRequestException;
import dev.langchain4j.exception.UnsupportedFeatureException;
import dev.langchain4j.memory.ChatMemory;
import dev.langchain4j.memory.chat.TokenWindowChatMemory;
import dev.langchain4j.model.chat.listener.ChatModelErrorContext;
import dev.langchain4j.model.chat.listener.ChatModelListener;
import dev.langchain4j.model.chat.listener.ChatModelResponseContext;
import dev.langchain4j.model.chat.request.ChatRequest;
import dev.langchain4j.model.chat.request.ChatRequestParameters;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.chat.response.PartialResponse;
import dev.langchain4j.model.chat.response.PartialResponseContext;
import dev.langchain4j.model.chat.response.StreamingChatResponseHandler;
import dev.langchain4j.model.output.FinishReason;
import dev.langchain4j.service.AiServices;
import java.io.IOException;
import java.nio.file.Path;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class GemmaChatModelTest {
  private static final ChatRequestParameters GREEDY =
      ChatRequestParameters.builder().temperature(0.0).maxOutputTokens(20).build();
  private static Gemma gemma;

  @BeforeAll
  static void load() throws IOException {
    gemma = DemoModel.load(LoadOptions.defaults());
  }

  @AfterAll
  static void close() {
    gemma.close();
  }

  private static GemmaChatModel model() {
    return new GemmaChatModel(gemma, GREEDY, List.of());
  }

  private static ChatRequest request(ChatRequestParameters parameters) {
    return ChatRequest.builder()
        .messages(SystemMessage.from("Be brief."), UserMessage.from("Who are you?"))
        .parameters(parameters)
        .build();
  }

  private static String expected() {
    return gemma
        .generate(
            Prompt.chat(
                List.of(
                    new dev.gemma4j.ChatMessage(Role.SYSTEM, "Be brief."),
                    new dev.gemma4j.ChatMessage(Role.USER, "Who are you?"))),
            GenerationOptions.builder().temperature(0).maxTokens(20).build())
        .text();
  }

  @Test
  void answersAsTheLibraryDoesAndTellsListeners() {
    List<ChatResponse> heard = new ArrayList<>();
    ChatModelListener listener =
        new ChatModelListener() {
          @Override
          public void onResponse(ChatModelResponseContext context) {
            heard.add(context.chatResponse());
          }
        };
    ChatResponse response =
        new GemmaChatModel(gemma, GREEDY, List.of(listener))
            .chat(request(ChatRequestParameters.builder().build()));
    assertThat(response.aiMessage().text()).isEqualTo(expected());
    assertThat(response.finishReason()).isEqualTo(FinishReason.LENGTH);
    assertThat(response.tokenUsage().outputTokenCount()).isEqualTo(20);
    assertThat(response.tokenUsage().inputTokenCount()).isGreaterThan(5);
    assertThat(response.id()).isNotEmpty();
    assertThat(response.modelName()).isEqualTo("gemma");
    assertThat(heard).containsExactly(response);
  }

  @Test
  void theRequestsParametersCount() {
    ChatRequestParameters stop =
        ChatRequestParameters.builder()
            .stopSequences("e")
            .topK(1)
            .topP(0.5)
            .frequencyPenalty(0.5)
            .presencePenalty(0.5)
            .maxOutputTokens(50)
            .build();
    ChatResponse response = model().chat(request(stop));
    assertThat(response.finishReason()).isEqualTo(FinishReason.STOP);
    assertThat(response.aiMessage().text()).doesNotContain("e");
  }

  @Test
  void whatGemmaHasBesidesCounts() {
    GenerationOptions.Builder same = GenerationOptions.builder().temperature(1.5f).maxTokens(20);
    Prompt prompt = Prompt.chat(List.of(new dev.gemma4j.ChatMessage(Role.USER, "Who are you?")));
    String drawn = gemma.generate(prompt, same.seed(7).build()).text();
    assertThat(gemma.generate(prompt, same.seed(8).build()).text()).isNotEqualTo(drawn);
    ChatRequestParameters warm =
        ChatRequestParameters.builder().temperature(1.5).maxOutputTokens(20).build();
    GemmaChatModel model = new GemmaChatModel(gemma, warm, List.of());
    GemmaChatRequestParameters seeded = GemmaChatRequestParameters.builder().seed(7L).build();
    assertThat(answer(model, seeded)).isEqualTo(drawn);
    assertThat(answer(new GemmaChatModel(gemma, seeded, List.of()), warm))
        .as("of the defaults")
        .isEqualTo(drawn);
    String narrow =
        gemma.generate(prompt, same.seed(7).minP(0.5f).repetitionPenalty(1.5f).build()).text();
    assertThat(narrow).isNotEqualTo(drawn);
    ChatRequestParameters all =
        GemmaChatRequestParameters.builder().seed(7L).minP(0.5).repetitionPenalty(1.5).build();
    assertThat(answer(model, all)).isEqualTo(narrow);
    assertThat(all.defaultedBy(warm)).isEqualTo(seeded.overrideWith(warm).overrideWith(all));
    assertThat(seeded).isNotEqualTo(all).isEqualTo(seeded.overrideWith(NOTHING));
  }

  private static final ChatRequestParameters NOTHING = GemmaChatRequestParameters.builder().build();

  private static String answer(GemmaChatModel model, ChatRequestParameters parameters) {
    return model
        .chat(
            ChatRequest.builder()
                .messages(UserMessage.from("Who are you?"))
                .parameters(parameters)
                .build())
        .aiMessage()
        .text();
  }

  @Test
  void theNameOfTheDefaultsIsTheModels() {
    ChatRequestParameters tales =
        ChatRequestParameters.builder().modelName("tales").maxOutputTokens(3).build();
    GemmaChatModel model = new GemmaChatModel(gemma, tales, List.of());
    assertThat(model.chat(request(tales)).modelName()).isEqualTo("tales");
    assertThatThrownBy(
            () -> model.chat(request(ChatRequestParameters.builder().modelName("gpt-4").build())))
        .isInstanceOf(UnsupportedFeatureException.class)
        .hasMessageContaining("the model is tales, not gpt-4");
  }

  @Test
  void aMessageWithoutTextIsEmpty() {
    assertThat(inputTokens(AiMessage.builder().build())).isEqualTo(inputTokens(AiMessage.from("")));
  }

  private static int inputTokens(AiMessage answer) {
    return model()
        .chat(UserMessage.from("Hi"), answer, UserMessage.from("Who are you?"))
        .tokenUsage()
        .inputTokenCount();
  }

  record Person(String name, boolean good) {}

  interface Describer {
    @dev.langchain4j.service.UserMessage("Describe {{it}}")
    Person describe(String whom);
  }

  @Test
  void anAiServiceGetsAnObject() {
    GemmaChatModel model =
        new GemmaChatModel(
            gemma,
            ChatRequestParameters.builder()
                .temperature(0.0)
                .frequencyPenalty(2.0)
                .maxOutputTokens(400)
                .build(),
            List.of());
    Person person = AiServices.create(Describer.class, model).describe("the old king");
    assertThat(person.name()).isNotNull();
  }

  record Whole(int number) {}

  record Day(LocalDate day) {}

  record Hour(LocalTime hour) {}

  record Moment(LocalDateTime moment) {}

  record Key(@JsonProperty(required = true) UUID id) {}

  interface Reader {
    Key key(String question);

    Whole whole(String question);

    Day day(String question);

    Hour hour(String question);

    Moment moment(String question);
  }

  @Test
  void whatJavaCannotReadIsNotWritten() {
    for (long seed = 0; seed < 4; seed++) {
      ChatRequestParameters random =
          GemmaChatRequestParameters.builder().seed(seed).maxOutputTokens(300).build();
      Reader reader = AiServices.create(Reader.class, new GemmaChatModel(gemma, random, List.of()));
      assertThat(reader.whole("How many?")).isNotNull();
      assertThat(reader.key("Which?")).isNotNull();
      assertThat(reader.day("When?")).isNotNull();
      assertThat(reader.hour("When?")).isNotNull();
      assertThat(reader.moment("When?")).isNotNull();
    }
  }

  @Test
  void aSchemaKeepsTheBoundsThatItHas() {
    Map<String, Object> positive = Map.of("type", "integer", "minimum", 1);
    Map<String, Object> schema =
        Map.of(
            "type",
            "object",
            "properties",
            Map.of("type", positive),
            "additionalProperties",
            false);
    assertThat(ReadableSchema.of(schema)).isEqualTo(schema);
    assertThat(ReadableSchema.of(Map.of("anyOf", List.of(Map.of("type", "integer")))))
        .isEqualTo(
            Map.of(
                "anyOf",
                List.of(
                    Map.of(
                        "type", "integer",
                        "minimum", Integer.MIN_VALUE,
                        "maximum", Integer.MAX_VALUE))));
  }

  @Test
  void defaultsThatAreNoneAreRefusedAtOnce() {
    ChatRequestParameters cold = ChatRequestParameters.builder().temperature(-1.0).build();
    assertThatThrownBy(() -> new GemmaChatModel(gemma, cold, List.of()))
        .isInstanceOf(InvalidRequestException.class)
        .hasMessageContaining("temperature");
    assertThatThrownBy(() -> new GemmaStreamingChatModel(gemma, cold, List.of()))
        .isInstanceOf(InvalidRequestException.class)
        .hasMessageContaining("temperature");
  }

  @Test
  void whatGemmaCannotDoIsRefused() {
    assertThatThrownBy(
            () ->
                model()
                    .chat(
                        request(
                            ChatRequestParameters.builder()
                                .toolSpecifications(
                                    ToolSpecification.builder().name("clock").build())
                                .build())))
        .isInstanceOf(UnsupportedFeatureException.class)
        .hasMessageContaining("tools");
    assertThatThrownBy(
            () -> model().chat(UserMessage.from(ImageContent.from("https://example.org/a.png"))))
        .isInstanceOf(UnsupportedFeatureException.class)
        .hasMessageContaining("text alone");
    assertThatThrownBy(() -> model().chat("king ".repeat(9000)))
        .isInstanceOf(InvalidRequestException.class)
        .hasMessageContaining("context");
  }

  /** Collects what is streamed, and cancels after some pieces. */
  private static final class Collector implements StreamingChatResponseHandler {
    private final int cancelAfter;
    private final List<String> pieces = new ArrayList<>();
    private final CompletableFuture<ChatResponse> end = new CompletableFuture<>();

    Collector(int cancelAfter) {
      this.cancelAfter = cancelAfter;
    }

    @Override
    public void onPartialResponse(PartialResponse partial, PartialResponseContext context) {
      pieces.add(partial.text());
      if (pieces.size() == cancelAfter) {
        context.streamingHandle().cancel();
      }
    }

    @Override
    public void onCompleteResponse(ChatResponse response) {
      end.complete(response);
    }

    @Override
    public void onError(Throwable error) {
      end.completeExceptionally(error);
    }
  }

  @Test
  void streamsTheSameTextAndErrors() {
    GemmaStreamingChatModel streaming = new GemmaStreamingChatModel(gemma, GREEDY, List.of());
    Collector all = new Collector(-1);
    streaming.chat(request(ChatRequestParameters.builder().build()), all);
    assertThat(all.end.join().aiMessage().text()).isEqualTo(expected());
    assertThat(String.join("", all.pieces)).isEqualTo(expected());
    assertThat(all.pieces).hasSizeGreaterThan(5);
    Collector failing = new Collector(-1);
    streaming.chat("king ".repeat(9000), failing);
    assertThatThrownBy(failing.end::join).hasCauseInstanceOf(InvalidRequestException.class);
  }

  @Test
  void aCancelledStreamFallsSilent() {
    Collector two = new Collector(2);
    new GemmaStreamingChatModel(gemma, GREEDY, List.of())
        .chat(request(ChatRequestParameters.builder().build()), two);
    assertThat(two.end.completeOnTimeout(null, 1, TimeUnit.SECONDS).join()).isNull();
    assertThat(two.pieces).hasSize(2);
  }

  @Test
  void anErrorOfTheHandlerEndsTheStream() throws Exception {
    AssertionError error = new AssertionError("boom");
    List<Object> heard = new CopyOnWriteArrayList<>();
    CountDownLatch end = new CountDownLatch(1);
    new GemmaStreamingChatModel(gemma, GREEDY, List.of())
        .chat(
            "Who are you?",
            new StreamingChatResponseHandler() {
              @Override
              public void onPartialResponse(String text) {
                heard.add(text);
                throw error;
              }

              @Override
              public void onCompleteResponse(ChatResponse response) {
                heard.add(response);
              }

              @Override
              public void onError(Throwable e) {
                heard.add(e);
                end.countDown();
              }
            });
    assertThat(end.await(30, TimeUnit.SECONDS)).isTrue();
    assertThat(heard).hasSize(2).last().isSameAs(error);
  }

  @Test
  void anExceptionOfTheHandlerComesBackAsItIs() {
    RuntimeException own = new IllegalArgumentException("a bad row");
    CompletableFuture<Throwable> heard = new CompletableFuture<>();
    new GemmaStreamingChatModel(gemma, GREEDY, List.of())
        .chat(
            "Who are you?",
            new StreamingChatResponseHandler() {
              @Override
              public void onCompleteResponse(ChatResponse response) {
                throw own;
              }

              @Override
              public void onError(Throwable e) {
                heard.complete(e);
              }
            });
    assertThat(heard.join()).isSameAs(own);
  }

  @Test
  void listenersHearOfRefusedStreams() {
    List<Throwable> heard = new CopyOnWriteArrayList<>();
    ChatModelListener listener =
        new ChatModelListener() {
          @Override
          public void onError(ChatModelErrorContext context) {
            heard.add(context.error());
          }
        };
    Collector refused = new Collector(-1);
    new GemmaStreamingChatModel(gemma, GREEDY, List.of(listener))
        .chat(request(ChatRequestParameters.builder().modelName("gpt-4").build()), refused);
    assertThatThrownBy(refused.end::join).hasCauseInstanceOf(UnsupportedFeatureException.class);
    assertThat(heard).hasSize(1);
  }

  @Test
  void tokensAreCountedAsTheModelDoes() {
    List<ChatMessage> chat =
        List.of(
            UserMessage.from(" Who are you?"),
            AiMessage.from("A king."),
            UserMessage.from("And <end_of_turn> your daughter?"));
    GemmaTokenCountEstimator estimator = new GemmaTokenCountEstimator(gemma);
    assertThat(estimator.estimateTokenCountInMessages(chat))
        .isEqualTo(model().chat(chat).tokenUsage().inputTokenCount());
    ChatRequest withSystem = request(GREEDY);
    assertThat(estimator.estimateTokenCountInMessages(withSystem.messages()))
        .isCloseTo(model().chat(withSystem).tokenUsage().inputTokenCount(), within(1));
    ChatMemory memory = TokenWindowChatMemory.withMaxTokens(60, estimator);
    for (int i = 0; i < 20; i++) {
      memory.add(UserMessage.from("Who are you?"));
      memory.add(AiMessage.from("A king."));
    }
    assertThat(memory.messages()).hasSizeBetween(2, 10);
  }

  private static final Path CORE = Path.of("../../gemma-core/src/test/resources/dev/gemma4j");

  @Test
  void anAdapterAnswersBesideTheModelThatItIsFor() throws Exception {
    try (Gemma base = Gemma.load(CORE.resolve("forward/gemma-mqa-f32"))) {
      LoraAdapter adapter = base.loadAdapter(CORE.resolve("lora/every"));
      GenerationOptions.Builder greedy = GenerationOptions.builder().temperature(0).maxTokens(20);
      Prompt prompt = Prompt.chat(List.of(new dev.gemma4j.ChatMessage(Role.USER, "Who are you?")));
      String plain = base.generate(prompt, greedy.build()).text();
      String adapted = base.generate(prompt, greedy.adapter(adapter).build()).text();
      assertThat(adapted).isNotEqualTo(plain);
      GemmaChatModel model = new GemmaChatModel(base, GREEDY, List.of());
      assertThat(model.withAdapter(adapter).chat("Who are you?")).isEqualTo(adapted);
      assertThat(model.chat("Who are you?")).isEqualTo(plain);
      CompletableFuture<ChatResponse> streamed = new CompletableFuture<>();
      new GemmaStreamingChatModel(base, GREEDY, List.of())
          .withAdapter(adapter)
          .chat(
              "Who are you?",
              new StreamingChatResponseHandler() {
                @Override
                public void onCompleteResponse(ChatResponse response) {
                  streamed.complete(response);
                }

                @Override
                public void onError(Throwable error) {
                  streamed.completeExceptionally(error);
                }
              });
      assertThat(streamed.get(30, TimeUnit.SECONDS).aiMessage().text()).isEqualTo(adapted);
      assertThatThrownBy(() -> model().withAdapter(adapter).chat("Hi"))
          .isInstanceOf(InvalidRequestException.class)
          .hasMessageContaining("another Gemma");
    }
  }
}
