package dev.gemma4j.langchain4j;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.gemma4j.ContextLengthException;
import dev.gemma4j.Generation;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Prompt;
import dev.gemma4j.Role;
import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.constraint.Constraints;
import dev.langchain4j.data.message.AiMessage;
import dev.langchain4j.data.message.ChatMessage;
import dev.langchain4j.data.message.Content;
import dev.langchain4j.data.message.SystemMessage;
import dev.langchain4j.data.message.TextContent;
import dev.langchain4j.data.message.UserMessage;
import dev.langchain4j.exception.InvalidRequestException;
import dev.langchain4j.exception.UnsupportedFeatureException;
import dev.langchain4j.internal.JsonSchemaElementUtils;
import dev.langchain4j.model.chat.request.ChatRequest;
import dev.langchain4j.model.chat.request.ChatRequestParameters;
import dev.langchain4j.model.chat.request.ResponseFormat;
import dev.langchain4j.model.chat.request.ResponseFormatType;
import dev.langchain4j.model.chat.request.ToolChoice;
import dev.langchain4j.model.chat.request.json.JsonSchema;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.output.FinishReason;
import dev.langchain4j.model.output.TokenUsage;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** LangChain4j's requests in Gemma's terms, and Gemma's results in LangChain4j's. */
final class Conversion {
  private static final ObjectMapper JSON = new ObjectMapper();

  private Conversion() {}

  static Prompt prompt(ChatRequest request) {
    return Prompt.chat(request.messages().stream().map(Conversion::message).toList());
  }

  static dev.gemma4j.ChatMessage message(ChatMessage message) {
    return switch (message) {
      case SystemMessage system -> new dev.gemma4j.ChatMessage(Role.SYSTEM, system.text());
      case UserMessage user -> new dev.gemma4j.ChatMessage(Role.USER, text(user));
      case AiMessage ai when !ai.hasToolExecutionRequests() ->
          new dev.gemma4j.ChatMessage(Role.MODEL, ai.text() == null ? "" : ai.text());
      default -> throw new UnsupportedFeatureException("Gemma 1 has no tools: " + message);
    };
  }

  private static String text(UserMessage message) {
    List<String> texts = new ArrayList<>();
    for (Content content : message.contents()) {
      if (!(content instanceof TextContent text)) {
        throw new UnsupportedFeatureException("Gemma 1 reads text alone, not " + content.type());
      }
      texts.add(text.text());
    }
    return String.join("\n", texts);
  }

  /**
   * A model's defaults, with a name for the model.
   *
   * @throws RuntimeException when no request could be answered with them, as {@link #exception}
   *     calls it
   */
  static GemmaChatRequestParameters defaults(ChatRequestParameters parameters) {
    GemmaChatRequestParameters defaults =
        GemmaChatRequestParameters.builder().modelName("gemma").overrideWith(parameters).build();
    try {
      options(defaults, defaults, null);
    } catch (RuntimeException e) {
      throw exception(e);
    }
    return defaults;
  }

  static GenerationOptions options(
      ChatRequest request, GemmaChatRequestParameters defaults, @Nullable LoraAdapter adapter) {
    return options(defaults.overrideWith(request.parameters()), defaults, adapter);
  }

  private static GenerationOptions options(
      GemmaChatRequestParameters all,
      GemmaChatRequestParameters defaults,
      @Nullable LoraAdapter adapter) {
    if (!all.modelName().equals(defaults.modelName())) {
      throw new UnsupportedFeatureException(
          "modelName: the model is " + defaults.modelName() + ", not " + all.modelName());
    }
    if (all.toolChoice() == ToolChoice.REQUIRED || !all.toolSpecifications().isEmpty()) {
      throw new UnsupportedFeatureException("Gemma 1 has no tools");
    }
    GenerationOptions.Builder builder = GenerationOptions.builder();
    ifSaid(adapter, builder::adapter);
    ifSaid(all.temperature(), value -> builder.temperature(value.floatValue()));
    ifSaid(all.topP(), value -> builder.topP(value.floatValue()));
    ifSaid(all.topK(), builder::topK);
    ifSaid(all.minP(), value -> builder.minP(value.floatValue()));
    ifSaid(all.maxOutputTokens(), builder::maxTokens);
    ifSaid(all.repetitionPenalty(), value -> builder.repetitionPenalty(value.floatValue()));
    ifSaid(all.frequencyPenalty(), value -> builder.frequencyPenalty(value.floatValue()));
    ifSaid(all.presencePenalty(), value -> builder.presencePenalty(value.floatValue()));
    ifSaid(all.stopSequences(), value -> builder.stop(value.toArray(String[]::new)));
    ifSaid(all.seed(), builder::seed);
    ifSaid(constraint(all.responseFormat()), builder::constraint);
    return builder.build();
  }

  private static <T> void ifSaid(@Nullable T value, Consumer<T> setter) {
    if (value != null) {
      setter.accept(value);
    }
  }

  private static @Nullable Constraint constraint(@Nullable ResponseFormat format) {
    if (format == null || format.type() == ResponseFormatType.TEXT) {
      return null;
    }
    JsonSchema schema = format.jsonSchema();
    if (schema == null) {
      return Constraints.jsonObject();
    }
    try {
      return Constraints.jsonSchema(
          JSON.writeValueAsString(
              ReadableSchema.of(JsonSchemaElementUtils.toMap(schema.rootElement()))));
    } catch (JsonProcessingException e) {
      throw new IllegalStateException(e); // maps and strings can be written
    }
  }

  static ChatResponse response(Generation generation, GemmaChatRequestParameters defaults) {
    return ChatResponse.builder()
        .id(UUID.randomUUID().toString())
        .modelName(defaults.modelName())
        .aiMessage(AiMessage.from(generation.text()))
        .tokenUsage(
            new TokenUsage(generation.usage().promptTokens(), generation.usage().generatedTokens()))
        .finishReason(
            switch (generation.finishReason()) {
              case EOS, STOP -> FinishReason.STOP;
              case LENGTH -> FinishReason.LENGTH;
              case CANCELLED -> FinishReason.OTHER;
            })
        .build();
  }

  /** What LangChain4j calls an exception of Gemma's. */
  static RuntimeException exception(RuntimeException e) {
    return e instanceof IllegalArgumentException || e instanceof ContextLengthException
        ? new InvalidRequestException(e)
        : e;
  }
}
