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
import dev.langchain4j.model.chat.request.ResponseFormat;
import dev.langchain4j.model.chat.request.ResponseFormatType;
import dev.langchain4j.model.chat.request.json.JsonSchema;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.output.FinishReason;
import dev.langchain4j.model.output.TokenUsage;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** LangChain4j's requests in Gemma's terms, and Gemma's results in LangChain4j's. */
final class Conversion {
  private static final ObjectMapper JSON = new ObjectMapper();

  private Conversion() {}

  static Prompt prompt(ChatRequest request) {
    List<dev.gemma4j.ChatMessage> messages = new ArrayList<>();
    for (ChatMessage message : request.messages()) {
      messages.add(
          switch (message) {
            case SystemMessage system -> new dev.gemma4j.ChatMessage(Role.SYSTEM, system.text());
            case UserMessage user -> new dev.gemma4j.ChatMessage(Role.USER, text(user));
            case AiMessage ai when !ai.hasToolExecutionRequests() && ai.text() != null ->
                new dev.gemma4j.ChatMessage(Role.MODEL, ai.text());
            default -> throw new UnsupportedFeatureException("Gemma 1 has no tools: " + message);
          });
    }
    return Prompt.chat(messages);
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

  static GenerationOptions options(ChatRequest request, @Nullable LoraAdapter adapter) {
    if (request.modelName() != null) {
      throw new UnsupportedFeatureException(
          "modelName: the model is the Gemma that was given, not " + request.modelName());
    }
    if (request.toolSpecifications() != null && !request.toolSpecifications().isEmpty()) {
      throw new UnsupportedFeatureException("Gemma 1 has no tools");
    }
    GenerationOptions.Builder builder = GenerationOptions.builder();
    if (adapter != null) {
      builder.adapter(adapter);
    }
    if (request.temperature() != null) {
      builder.temperature(request.temperature().floatValue());
    }
    if (request.topP() != null) {
      builder.topP(request.topP().floatValue());
    }
    if (request.topK() != null) {
      builder.topK(request.topK());
    }
    if (request.maxOutputTokens() != null) {
      builder.maxTokens(request.maxOutputTokens());
    }
    if (request.frequencyPenalty() != null) {
      builder.frequencyPenalty(request.frequencyPenalty().floatValue());
    }
    if (request.presencePenalty() != null) {
      builder.presencePenalty(request.presencePenalty().floatValue());
    }
    if (request.stopSequences() != null) {
      builder.stop(request.stopSequences().toArray(String[]::new));
    }
    Constraint constraint = constraint(request.responseFormat());
    if (constraint != null) {
      builder.constraint(constraint);
    }
    return builder.build();
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
          JSON.writeValueAsString(JsonSchemaElementUtils.toMap(schema.rootElement())));
    } catch (JsonProcessingException e) {
      throw new IllegalStateException(e); // maps and strings can be written
    }
  }

  static ChatResponse response(Generation generation) {
    return ChatResponse.builder()
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
