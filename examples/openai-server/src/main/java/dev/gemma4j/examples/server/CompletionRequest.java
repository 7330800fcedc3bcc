package dev.gemma4j.examples.server;

import com.fasterxml.jackson.databind.JsonNode;
import dev.gemma4j.ChatMessage;
import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Prompt;
import dev.gemma4j.Role;
import dev.gemma4j.constraint.Constraints;
import dev.gemma4j.sampling.LogitsProcessors;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * A request for completions of a text or a chat.
 *
 * @param model the name of what answers: the model, or an adapter
 * @param n choices of each prompt
 * @param includeUsage whether a stream ends with its usage
 * @param logprobs how many alternatives of each token to tell; -1 for no probabilities
 * @param seed of the first choice; the others count on
 * @param schema what the texts must be valid for; null for anything
 */
record CompletionRequest(
    String model,
    boolean chat,
    List<Prompt> prompts,
    int n,
    boolean stream,
    boolean includeUsage,
    int logprobs,
    @Nullable Long seed,
    @Nullable String schema,
    GenerationOptions.Builder builder) {
  private static final Set<String> COMMON =
      Set.of(
          "model",
          "n",
          "stop",
          "temperature",
          "top_p",
          "top_k",
          "min_p",
          "repetition_penalty",
          "seed",
          "max_tokens",
          "logprobs",
          "frequency_penalty",
          "presence_penalty",
          "logit_bias",
          "response_format",
          "stream",
          "stream_options");
  private static final Set<String> OF_CHAT =
      Set.of("messages", "max_completion_tokens", "top_logprobs");

  /** What changes nothing here: a wish for how to answer that this model cannot follow, too. */
  private static final Set<String> IGNORED =
      Set.of(
          "user",
          "metadata",
          "store",
          "service_tier",
          "safety_identifier",
          "prompt_cache_key",
          "prompt_cache_retention",
          "prediction",
          "reasoning_effort",
          "verbosity");

  /** Values of what is not understood that ask for what is done anyway. */
  private static final Map<String, Set<String>> NEUTRAL =
      Map.of(
          "tools", Set.of("[]"),
          "tool_choice", Set.of("\"none\"", "\"auto\""),
          "parallel_tool_calls", Set.of("false", "true"),
          "functions", Set.of("[]"),
          "function_call", Set.of("\"none\"", "\"auto\""),
          "modalities", Set.of("[\"text\"]"),
          "echo", Set.of("false"));

  private static final Set<String> OF_MESSAGE = Set.of("role", "content", "name", "annotations");

  /** Of a schema: what is larger is a mistake or an attack, and takes seconds to compile. */
  private static final int MAX_SCHEMA = 1 << 16;

  /** Choices of all prompts. */
  int choices() {
    return n * prompts.size();
  }

  /**
   * Makes the choices follow the schema, if there is one. May take a second; an interrupt ends it.
   *
   * @throws ApiException when the schema is not understood
   */
  void compileSchema() {
    if (schema != null) {
      try {
        builder.constraint(Constraints.jsonSchema(schema));
      } catch (IllegalArgumentException e) {
        throw ApiException.badRequest("Invalid schema: " + e.getMessage(), "response_format");
      }
    }
  }

  /**
   * What a choice of it failed with, or what that means: of a schema it may turn out only while a
   * text is made that it has too many readings, or wants what the vocabulary cannot say.
   */
  Throwable blamed(Throwable e) {
    return schema != null && e instanceof IllegalStateException
        ? ApiException.badRequest("Invalid schema: " + e.getMessage(), "response_format")
        : e;
  }

  /** The options of one choice, counted over all prompts. One thread at a time asks. */
  GenerationOptions options(int choice) {
    return (seed == null ? builder : builder.seed(seed + choice)).build();
  }

  /**
   * Checks and reads a request; its schema is still to be compiled.
   *
   * @throws ApiException that names the field, what it should be and what it is
   */
  static CompletionRequest parse(
      JsonNode json,
      boolean chat,
      Gemma gemma,
      Map<String, LoraAdapter> adapters,
      ServerOptions server) {
    Fields fields = Fields.ofBody(json);
    Set<String> known = new HashSet<>(COMMON);
    known.addAll(chat ? OF_CHAT : Set.of("prompt"));
    known.addAll(IGNORED);
    int n = fields.integer("n", 1, 16, 1);
    Map<String, Set<String>> neutral = new HashMap<>(NEUTRAL);
    neutral.put("best_of", Set.of(Integer.toString(n))); // no more than are told
    fields.allowOnly("", known, neutral);
    String named = fields.text("model");
    String model = named == null ? server.model() : named;
    LoraAdapter adapter = adapters.get(model);
    if (adapter == null && !model.equals(server.model())) {
      List<String> names = new ArrayList<>(List.of(server.model()));
      names.addAll(adapters.keySet());
      throw ApiException.unknownModel(model, names);
    }
    boolean stream = fields.flag("stream");
    JsonNode streaming = fields.get("stream_options");
    if (streaming != null && !stream) {
      throw ApiException.badRequest(
          "'stream_options' is only allowed when 'stream' is true", "stream_options");
    }
    int maxTokens =
        fields.integer(
            "max_tokens", chat ? 1 : 0, server.maxTokens(), chat ? server.maxTokens() : 16);
    if (chat) {
      maxTokens = fields.integer("max_completion_tokens", 1, server.maxTokens(), maxTokens);
    }
    int logprobs = logprobs(fields, chat);
    float temperature = fields.number("temperature", 0, 2, 1);
    float topP = fields.number("top_p", 0, 1, 1);
    boolean greedy = temperature == 0 || topP == 0; // the most probable token alone is left
    GenerationOptions.Builder builder =
        GenerationOptions.builder()
            .maxTokens(maxTokens)
            .temperature(greedy ? 0 : temperature)
            .topP(greedy ? 1 : topP)
            .topK(Math.max(0, fields.integer("top_k", -1, Integer.MAX_VALUE, 0))) // -1 as in vLLM
            .minP(fields.number("min_p", 0, 0.99f, 0))
            .repetitionPenalty(fields.number("repetition_penalty", 0.01f, 100, 1))
            .frequencyPenalty(fields.number("frequency_penalty", -2, 2, 0))
            .presencePenalty(fields.number("presence_penalty", -2, 2, 0))
            .logProbabilities(logprobs)
            .stop(fields.texts("stop", 4).toArray(String[]::new));
    if (adapter != null) {
      builder.adapter(adapter);
    }
    JsonNode bias = fields.get("logit_bias");
    if (bias != null) {
      builder.processor(LogitsProcessors.logitBias(bias(bias, gemma.tokenizer().vocabSize())));
    }
    String schema = format(fields, builder);
    return new CompletionRequest(
        model,
        chat,
        chat ? List.of(Prompt.chat(messages(fields))) : prompts(fields, gemma),
        n,
        stream,
        streaming != null && Fields.of("stream_options", streaming).flag("include_usage"),
        logprobs,
        fields.longInteger("seed"),
        schema,
        builder);
  }

  private static int logprobs(Fields fields, boolean chat) {
    if (!chat) {
      return fields.integer("logprobs", 0, 20, -1);
    }
    boolean wanted = fields.flag("logprobs");
    int best = fields.integer("top_logprobs", 0, 20, 0);
    if (!wanted && fields.get("top_logprobs") != null) {
      throw ApiException.badRequest(
          "'top_logprobs' is only allowed when 'logprobs' is true", "top_logprobs");
    }
    return wanted ? best : -1;
  }

  private static Map<Integer, Float> bias(JsonNode json, int vocabulary) {
    Map<Integer, Float> bias = new HashMap<>();
    for (Map.Entry<String, JsonNode> entry : Fields.of("logit_bias", json).json().properties()) {
      int id = entry.getKey().matches("[0-9]{1,9}") ? Integer.parseInt(entry.getKey()) : -1;
      float value = entry.getValue().isNumber() ? entry.getValue().floatValue() : Float.NaN;
      if (id < 0 || id >= vocabulary || !(Math.abs(value) <= 100)) {
        throw Fields.wrong("logit_bias", "ids of tokens with numbers in [-100, 100]", json);
      }
      bias.put(id, value);
    }
    return bias;
  }

  /** The schema that the response format has, if it has one; what else it says is set. */
  private static @Nullable String format(Fields fields, GenerationOptions.Builder builder) {
    JsonNode format = fields.get("response_format");
    if (format == null) {
      return null;
    }
    return switch (Fields.of("response_format", format).json().path("type").asText()) {
      case "text" -> null;
      case "json_object" -> {
        builder.constraint(Constraints.jsonObject());
        yield null;
      }
      case "json_schema" -> {
        String schema = format.path("json_schema").path("schema").toString();
        if (schema.length() > MAX_SCHEMA) {
          throw ApiException.badRequest(
              "Invalid schema: found "
                  + schema.length()
                  + " characters, expected at most "
                  + MAX_SCHEMA,
              "response_format");
        }
        yield schema;
      }
      default -> throw Fields.wrong("response_format", "text, json_object or json_schema", format);
    };
  }

  private static List<Prompt> prompts(Fields fields, Gemma gemma) {
    JsonNode prompt = fields.get("prompt");
    if (prompt == null) {
      throw ApiException.badRequest("you must provide a prompt", "prompt");
    }
    boolean several = prompt.isArray() && !prompt.path(0).isInt();
    List<Prompt> prompts = new ArrayList<>();
    for (JsonNode one : several ? Fields.list(prompt) : List.of(prompt)) {
      if (one.isTextual()) {
        prompts.add(Prompt.of(one.textValue()));
        continue;
      }
      int limit = gemma.tokenizer().vocabSize();
      List<JsonNode> ids = one.isArray() ? Fields.list(one) : List.of();
      if (ids.isEmpty()
          || !ids.stream()
              .allMatch(id -> id.isInt() && id.intValue() >= 0 && id.intValue() < limit)) {
        throw Fields.wrong("prompt", "a string, ids of tokens, or a list of these", prompt);
      }
      prompts.add(Prompt.ofIds(ids.stream().mapToInt(JsonNode::intValue).toArray()));
    }
    if (prompts.isEmpty() || prompts.size() > 16) {
      throw Fields.wrong("prompt", "1 to 16 prompts", prompt);
    }
    return prompts;
  }

  private static List<ChatMessage> messages(Fields fields) {
    JsonNode json = fields.get("messages");
    if (json == null || !json.isArray() || json.isEmpty()) {
      throw ApiException.badRequest("you must provide a list of messages", "messages");
    }
    List<ChatMessage> messages = new ArrayList<>();
    for (JsonNode message : json) {
      String at = "messages[" + messages.size() + "]";
      // Clients send answers back as they came, with what was empty in them.
      Map<String, Set<String>> empty = Map.of("tool_calls", Set.of("[]"));
      Fields.of(at, message).allowOnly(at + ".", OF_MESSAGE, empty);
      Role role =
          switch (message.path("role").asText()) {
            case "system", "developer" -> Role.SYSTEM;
            case "user" -> Role.USER;
            case "assistant" -> Role.MODEL;
            default ->
                throw Fields.wrong(
                    at + ".role", "system, developer, user or assistant", message.path("role"));
          };
      messages.add(new ChatMessage(role, content(at + ".content", message.path("content"))));
    }
    if (messages.getLast().role() != Role.USER) {
      throw ApiException.badRequest("the last message must be the user's", "messages");
    }
    return messages;
  }

  private static String content(String at, JsonNode content) {
    if (content.isTextual()) {
      return content.textValue();
    }
    StringBuilder text = new StringBuilder();
    for (JsonNode part : content) {
      if (!part.path("type").asText().equals("text") || !part.path("text").isTextual()) {
        throw Fields.wrong(at, "text; this model reads nothing else", part);
      }
      text.append(part.get("text").textValue());
    }
    if (!content.isArray()) {
      throw Fields.wrong(at, "a string or parts of text", content);
    }
    return text.toString();
  }
}
