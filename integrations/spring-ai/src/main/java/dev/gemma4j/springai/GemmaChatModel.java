package dev.gemma4j.springai;

import dev.gemma4j.FinishReason;
import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Role;
import dev.gemma4j.TokenStream;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.springframework.ai.chat.messages.AssistantMessage;
import org.springframework.ai.chat.messages.Message;
import org.springframework.ai.chat.messages.UserMessage;
import org.springframework.ai.chat.metadata.ChatGenerationMetadata;
import org.springframework.ai.chat.metadata.ChatResponseMetadata;
import org.springframework.ai.chat.metadata.DefaultUsage;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.model.Generation;
import org.springframework.ai.chat.prompt.ChatOptions;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.model.tool.ToolCallingChatOptions;
import reactor.core.publisher.Flux;
import reactor.core.publisher.SynchronousSink;
import reactor.core.scheduler.Schedulers;

/**
 * A Gemma as Spring AI's {@link ChatModel}. Safe for any number of threads. A stream computes on
 * the bounded elastic scheduler and ends at once when its subscription is cancelled. System
 * messages go in front of the user turn that follows them, for Gemma has no system turn. Tools,
 * media and a model's name are refused with an {@link UnsupportedOperationException}.
 */
public final class GemmaChatModel implements ChatModel {
  private final Gemma gemma;
  private final ChatOptions defaults;
  private final @Nullable LoraAdapter adapter;

  /**
   * A model.
   *
   * @param gemma stays the caller's to close
   * @param defaults for what a prompt's options do not say
   */
  public GemmaChatModel(Gemma gemma, ChatOptions defaults) {
    this(gemma, defaults, null);
  }

  private GemmaChatModel(Gemma gemma, ChatOptions defaults, @Nullable LoraAdapter adapter) {
    this.gemma = gemma;
    this.defaults = defaults.copy();
    this.adapter = adapter;
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
    dev.gemma4j.Generation result = gemma.generate(chat(prompt), options(prompt));
    return response(result.text(), result);
  }

  @Override
  public Flux<ChatResponse> stream(Prompt prompt) {
    return Flux.<ChatResponse, TokenStream>generate(
            () -> gemma.stream(chat(prompt), options(prompt)),
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
      if (message instanceof UserMessage user && !user.getMedia().isEmpty()) {
        throw new UnsupportedOperationException("Gemma 1 reads text alone, not media");
      }
      Role role =
          switch (message.getMessageType()) {
            case SYSTEM -> Role.SYSTEM;
            case USER -> Role.USER;
            case ASSISTANT -> Role.MODEL;
            case TOOL -> throw new UnsupportedOperationException("Gemma 1 has no tools");
          };
      messages.add(new dev.gemma4j.ChatMessage(role, String.valueOf(message.getText())));
    }
    return dev.gemma4j.Prompt.chat(messages);
  }

  private GenerationOptions options(Prompt prompt) {
    ChatOptions own = prompt.getOptions();
    if (own instanceof ToolCallingChatOptions tools
        && !(tools.getToolCallbacks().isEmpty() && tools.getToolNames().isEmpty())) {
      throw new UnsupportedOperationException("Gemma 1 has no tools");
    }
    if (own != null && own.getModel() != null) {
      throw new UnsupportedOperationException(
          "the model is the Gemma that was given, not " + own.getModel());
    }
    GenerationOptions.Builder builder = GenerationOptions.builder();
    if (adapter != null) {
      builder.adapter(adapter);
    }
    Double temperature = first(own, ChatOptions::getTemperature);
    if (temperature != null) {
      builder.temperature(temperature.floatValue());
    }
    Double topP = first(own, ChatOptions::getTopP);
    if (topP != null) {
      builder.topP(topP.floatValue());
    }
    Integer topK = first(own, ChatOptions::getTopK);
    if (topK != null) {
      builder.topK(topK);
    }
    Integer maxTokens = first(own, ChatOptions::getMaxTokens);
    if (maxTokens != null) {
      builder.maxTokens(maxTokens);
    }
    Double frequency = first(own, ChatOptions::getFrequencyPenalty);
    if (frequency != null) {
      builder.frequencyPenalty(frequency.floatValue());
    }
    Double presence = first(own, ChatOptions::getPresencePenalty);
    if (presence != null) {
      builder.presencePenalty(presence.floatValue());
    }
    List<String> stop = first(own, ChatOptions::getStopSequences);
    if (stop != null) {
      builder.stop(stop.toArray(String[]::new));
    }
    return builder.build();
  }

  private <T> @Nullable T first(
      @Nullable ChatOptions own, Function<ChatOptions, @Nullable T> option) {
    T value = own == null ? null : option.apply(own);
    return value == null ? option.apply(defaults) : value;
  }
}
