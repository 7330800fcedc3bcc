package dev.gemma4j.springai;

import static dev.gemma4j.springai.GemmaChatOptions.ifSaid;

import dev.gemma4j.FinishReason;
import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Role;
import dev.gemma4j.TokenStream;
import dev.gemma4j.constraint.Constraints;
import io.micrometer.observation.Observation;
import io.micrometer.observation.ObservationRegistry;
import io.micrometer.observation.contextpropagation.ObservationThreadLocalAccessor;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.UUID;
import org.jspecify.annotations.Nullable;
import org.springframework.ai.chat.messages.AssistantMessage;
import org.springframework.ai.chat.messages.Message;
import org.springframework.ai.chat.metadata.ChatGenerationMetadata;
import org.springframework.ai.chat.metadata.ChatResponseMetadata;
import org.springframework.ai.chat.metadata.DefaultUsage;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.model.Generation;
import org.springframework.ai.chat.observation.ChatModelObservationContext;
import org.springframework.ai.chat.observation.ChatModelObservationConvention;
import org.springframework.ai.chat.observation.ChatModelObservationDocumentation;
import org.springframework.ai.chat.observation.DefaultChatModelObservationConvention;
import org.springframework.ai.chat.prompt.ChatOptions;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.content.MediaContent;
import org.springframework.ai.model.tool.ToolCallingChatOptions;
import reactor.core.publisher.Flux;
import reactor.core.publisher.SynchronousSink;
import reactor.core.scheduler.Schedulers;

/**
 * A Gemma as Spring AI's {@link ChatModel}. Safe for any number of threads. A stream computes on
 * the bounded elastic scheduler and ends at once when its subscription is cancelled. System
 * messages go in front of the user turn that follows them, for Gemma has no system turn. An output
 * schema among the options is enforced. Of options of another class than {@link GemmaChatOptions}
 * counts what Spring AI's interfaces have. Tools, media and the name of another model are refused
 * with an {@link UnsupportedOperationException}.
 */
public final class GemmaChatModel implements ChatModel {
  private static final ChatModelObservationConvention CONVENTION =
      new DefaultChatModelObservationConvention();

  private final Gemma gemma;
  private final GemmaChatOptions defaults;
  private final @Nullable LoraAdapter adapter;
  private final ObservationRegistry registry;
  private final @Nullable ChatModelObservationConvention convention;

  /**
   * A model.
   *
   * @param gemma stays the caller's to close
   * @param defaults for what a prompt's options do not say; their model is the name that this one
   *     goes by, "gemma" unless set
   * @throws IllegalArgumentException when the defaults have a value that is none
   * @throws UnsupportedOperationException when they have tools
   */
  public GemmaChatModel(Gemma gemma, ChatOptions defaults) {
    this(gemma, named(defaults), null, ObservationRegistry.NOOP, null);
    options(this.defaults); // checks them: else each call would be refused
  }

  private GemmaChatModel(
      Gemma gemma,
      GemmaChatOptions defaults,
      @Nullable LoraAdapter adapter,
      ObservationRegistry registry,
      @Nullable ChatModelObservationConvention convention) {
    this.gemma = gemma;
    this.defaults = defaults;
    this.adapter = adapter;
    this.registry = registry;
    this.convention = convention;
  }

  private static GemmaChatOptions named(ChatOptions options) {
    refuseTools(options);
    return GemmaChatOptions.builder().model("gemma").build().with(options);
  }

  /**
   * The same with a LoRA adapter; both share the Gemma, and its passes.
   *
   * @param value what {@link Gemma#loadAdapter} of this Gemma read; one of another is refused when
   *     it is used
   */
  public GemmaChatModel withAdapter(LoraAdapter value) {
    return new GemmaChatModel(gemma, defaults, value, registry, convention);
  }

  /**
   * The same, but each call and stream is observed, as {@link ChatModelObservationDocumentation}
   * says: by whom, how long, how many tokens. A cancelled stream counts no tokens.
   *
   * @param value which names and tags; null for Spring AI's, or what the registry has
   */
  public GemmaChatModel withObservations(
      ObservationRegistry observations, @Nullable ChatModelObservationConvention value) {
    return new GemmaChatModel(gemma, defaults, adapter, observations, value);
  }

  @Override
  public GemmaChatOptions getDefaultOptions() {
    return defaults.copy();
  }

  @Override
  public ChatResponse call(Prompt prompt) {
    Exchange exchange = new Exchange(prompt);
    return exchange.observation.observe(
        () -> exchange.response(gemma.generate(exchange.chat, exchange.options)));
  }

  @Override
  public Flux<ChatResponse> stream(Prompt prompt) {
    return Flux.deferContextual(
        reactor -> {
          Exchange exchange = new Exchange(prompt);
          Observation observation = exchange.observation;
          // Otherwise the parent is what the subscribing thread is in.
          if (reactor.hasKey(ObservationThreadLocalAccessor.KEY)) {
            observation.parentObservation(reactor.get(ObservationThreadLocalAccessor.KEY));
          }
          observation.start();
          return Flux.<ChatResponse, TokenStream>generate(
                  () -> gemma.stream(exchange.chat, exchange.options),
                  exchange::next,
                  TokenStream::close)
              .subscribeOn(Schedulers.boundedElastic())
              .doOnError(observation::error)
              .doFinally(end -> observation.stop());
        });
  }

  /** A prompt and what becomes of it. */
  private final class Exchange {
    private final String id = UUID.randomUUID().toString();
    private final dev.gemma4j.Prompt chat;
    private final GenerationOptions options;
    private final ChatModelObservationContext context;
    private final Observation observation;

    Exchange(Prompt prompt) {
      GemmaChatOptions all = merged(prompt.getOptions());
      chat = chat(prompt);
      options = options(all);
      context =
          ChatModelObservationContext.builder()
              .prompt(new Prompt(prompt.getInstructions(), all))
              .provider("gemma4j")
              .build();
      observation =
          ChatModelObservationDocumentation.CHAT_MODEL_OPERATION.observation(
              convention, CONVENTION, () -> context, registry);
    }

    TokenStream next(TokenStream stream, SynchronousSink<ChatResponse> sink) {
      String text = "";
      while (text.isEmpty() && stream.hasNext()) {
        text = stream.next().text();
      }
      if (text.isEmpty()) {
        ChatResponse whole = response(stream.result());
        Generation end = new Generation(new AssistantMessage(""), whole.getResult().getMetadata());
        sink.next(new ChatResponse(List.of(end), whole.getMetadata()));
        sink.complete();
      } else {
        Generation part = new Generation(new AssistantMessage(text));
        sink.next(new ChatResponse(List.of(part), metadata().build()));
      }
      return stream;
    }

    /** The whole answer, which the observation gets too. */
    ChatResponse response(dev.gemma4j.Generation result) {
      String reason =
          result.finishReason() == FinishReason.EOS ? "STOP" : result.finishReason().name();
      Generation answer =
          new Generation(
              new AssistantMessage(result.text()),
              ChatGenerationMetadata.builder().finishReason(reason).build());
      DefaultUsage usage =
          new DefaultUsage(result.usage().promptTokens(), result.usage().generatedTokens());
      ChatResponse response = new ChatResponse(List.of(answer), metadata().usage(usage).build());
      context.setResponse(response);
      return response;
    }

    private ChatResponseMetadata.Builder metadata() {
      return ChatResponseMetadata.builder().id(id).model(defaults.getModel());
    }
  }

  private static dev.gemma4j.Prompt chat(Prompt prompt) {
    List<dev.gemma4j.ChatMessage> messages = new ArrayList<>();
    for (Message message : prompt.getInstructions()) {
      if (message instanceof MediaContent content && !content.getMedia().isEmpty()) {
        throw new UnsupportedOperationException("Gemma 1 reads text alone, not media");
      }
      if (message instanceof AssistantMessage assistant && assistant.hasToolCalls()) {
        throw new UnsupportedOperationException("Gemma 1 has no tools");
      }
      Role role =
          switch (message.getMessageType()) {
            case SYSTEM -> Role.SYSTEM;
            case USER -> Role.USER;
            case ASSISTANT -> Role.MODEL;
            case TOOL -> throw new UnsupportedOperationException("Gemma 1 has no tools");
          };
      String text = message.getText();
      messages.add(new dev.gemma4j.ChatMessage(role, text == null ? "" : text));
    }
    return dev.gemma4j.Prompt.chat(messages);
  }

  /** What a prompt's options and the defaults say together. */
  private GemmaChatOptions merged(@Nullable ChatOptions own) {
    GemmaChatOptions all = defaults.copy();
    if (own != null) {
      refuseTools(own);
      // A ChatClient hands the defaults back, and their name with them.
      if (own.getModel() != null && !own.getModel().equals(defaults.getModel())) {
        throw new UnsupportedOperationException(
            "the model is " + defaults.getModel() + ", not " + own.getModel());
      }
      all.with(own);
    }
    return all;
  }

  private static void refuseTools(ChatOptions options) {
    if (options instanceof ToolCallingChatOptions tools
        && !(tools.getToolCallbacks().isEmpty() && tools.getToolNames().isEmpty())) {
      throw new UnsupportedOperationException("Gemma 1 has no tools");
    }
  }

  private static String[] stop(List<String> strings) {
    if (strings.stream().anyMatch(Objects::isNull)) {
      throw new IllegalArgumentException("a stop string must not be null");
    }
    return strings.toArray(String[]::new);
  }

  private GenerationOptions options(GemmaChatOptions options) {
    GenerationOptions.Builder builder = GenerationOptions.builder();
    if (adapter != null) {
      builder.adapter(adapter);
    }
    ifSaid(options.getTemperature(), value -> builder.temperature(value.floatValue()));
    ifSaid(options.getTopP(), value -> builder.topP(value.floatValue()));
    ifSaid(options.getTopK(), builder::topK);
    ifSaid(options.getMinP(), value -> builder.minP(value.floatValue()));
    ifSaid(options.getMaxTokens(), builder::maxTokens);
    ifSaid(options.getRepetitionPenalty(), value -> builder.repetitionPenalty(value.floatValue()));
    ifSaid(options.getFrequencyPenalty(), value -> builder.frequencyPenalty(value.floatValue()));
    ifSaid(options.getPresencePenalty(), value -> builder.presencePenalty(value.floatValue()));
    ifSaid(options.getStopSequences(), value -> builder.stop(stop(value)));
    ifSaid(options.getSeed(), builder::seed);
    ifSaid(
        options.getOutputSchema(),
        value -> builder.constraint(Constraints.jsonSchema(ReadableSchema.of(value))));
    return builder.build();
  }
}
