package dev.gemma4j.springai;

import static dev.gemma4j.springai.GemmaChatOptions.ifSaid;

import dev.gemma4j.FinishReason;
import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Role;
import dev.gemma4j.TokenStream;
import dev.gemma4j.constraint.Constraints;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.springframework.ai.chat.messages.AssistantMessage;
import org.springframework.ai.chat.messages.Message;
import org.springframework.ai.chat.metadata.ChatGenerationMetadata;
import org.springframework.ai.chat.metadata.ChatResponseMetadata;
import org.springframework.ai.chat.metadata.DefaultUsage;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.model.Generation;
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
  private final Gemma gemma;
  private final GemmaChatOptions defaults;
  private final @Nullable LoraAdapter adapter;

  /**
   * A model.
   *
   * @param gemma stays the caller's to close
   * @param defaults for what a prompt's options do not say; their model is the name that this one
   *     goes by, "gemma" unless set
   */
  public GemmaChatModel(Gemma gemma, ChatOptions defaults) {
    this(gemma, named(defaults), null);
  }

  private GemmaChatModel(Gemma gemma, GemmaChatOptions defaults, @Nullable LoraAdapter adapter) {
    this.gemma = gemma;
    this.defaults = defaults;
    this.adapter = adapter;
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
    return new GemmaChatModel(gemma, defaults, value);
  }

  @Override
  public ChatOptions getDefaultOptions() {
    return defaults.copy();
  }

  @Override
  public ChatResponse call(Prompt prompt) {
    dev.gemma4j.Generation result =
        gemma.generate(chat(prompt), options(merged(prompt.getOptions())));
    return response(result.text(), result);
  }

  @Override
  public Flux<ChatResponse> stream(Prompt prompt) {
    return Flux.<ChatResponse, TokenStream>generate(
            () -> gemma.stream(chat(prompt), options(merged(prompt.getOptions()))),
            GemmaChatModel::next,
            TokenStream::close)
        .subscribeOn(Schedulers.boundedElastic());
  }

  private static TokenStream next(TokenStream stream, SynchronousSink<ChatResponse> sink) {
    String text = "";
    while (text.isEmpty() && stream.hasNext()) {
      text = stream.next().text();
    }
    if (text.isEmpty()) {
      sink.next(response("", stream.result()));
      sink.complete();
    } else {
      sink.next(new ChatResponse(List.of(new Generation(new AssistantMessage(text)))));
    }
    return stream;
  }

  private static ChatResponse response(String text, dev.gemma4j.Generation result) {
    String reason =
        result.finishReason() == FinishReason.EOS ? "STOP" : result.finishReason().name();
    ChatGenerationMetadata end = ChatGenerationMetadata.builder().finishReason(reason).build();
    ChatResponseMetadata usage =
        ChatResponseMetadata.builder()
            .usage(
                new DefaultUsage(result.usage().promptTokens(), result.usage().generatedTokens()))
            .build();
    return new ChatResponse(List.of(new Generation(new AssistantMessage(text), end)), usage);
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
    ifSaid(options.getStopSequences(), value -> builder.stop(value.toArray(String[]::new)));
    ifSaid(options.getSeed(), builder::seed);
    ifSaid(options.getOutputSchema(), value -> builder.constraint(Constraints.jsonSchema(value)));
    return builder.build();
  }
}
