package dev.gemma4j.examples.server;

import dev.gemma4j.FinishReason;
import dev.gemma4j.LogProbability;
import dev.gemma4j.TokenLogProbabilities;
import dev.gemma4j.tokenizer.Tokenizer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/** The JSON of one request's answer, whole or in chunks. */
final class Reply {
  private final CompletionRequest request;
  private final Tokenizer tokenizer;
  private final String id;
  private final long created = System.currentTimeMillis() / 1000;

  Reply(CompletionRequest request, Tokenizer tokenizer) {
    this.request = request;
    this.tokenizer = tokenizer;
    this.id = (request.chat() ? "chatcmpl-" : "cmpl-") + UUID.randomUUID();
  }

  Map<String, Object> whole(
      List<Map<String, @Nullable Object>> choices, Map<String, Object> usage) {
    Map<String, Object> json = envelope(false);
    json.put("choices", choices);
    json.put("usage", usage);
    return json;
  }

  Map<String, Object> chunk(@Nullable Map<String, @Nullable Object> choice) {
    Map<String, Object> json = envelope(true);
    json.put("choices", choice == null ? List.of() : List.of(choice));
    return json;
  }

  private Map<String, Object> envelope(boolean chunk) {
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("id", id);
    String kind = chunk ? "chat.completion.chunk" : "chat.completion";
    json.put("object", request.chat() ? kind : "text_completion");
    json.put("created", created);
    json.put("model", request.model());
    return json;
  }

  Map<String, @Nullable Object> choice(
      int index, String text, @Nullable FinishReason reason, List<TokenLogProbabilities> logs) {
    Map<String, @Nullable Object> json = new LinkedHashMap<>();
    json.put("index", index);
    if (request.chat()) {
      json.put("message", Map.of("role", "assistant", "content", text));
    } else {
      json.put("text", text);
    }
    end(json, reason, logs);
    return json;
  }

  Map<String, @Nullable Object> delta(
      int index,
      @Nullable String role,
      String text,
      @Nullable FinishReason reason,
      List<TokenLogProbabilities> logs) {
    if (!request.chat()) {
      return choice(index, text, reason, logs);
    }
    Map<String, Object> delta = new LinkedHashMap<>();
    if (role != null) {
      delta.put("role", role);
    }
    if (reason == null || !text.isEmpty()) {
      delta.put("content", text);
    }
    Map<String, @Nullable Object> json = new LinkedHashMap<>();
    json.put("index", index);
    json.put("delta", delta);
    end(json, reason, logs);
    return json;
  }

  private void end(
      Map<String, @Nullable Object> json,
      @Nullable FinishReason reason,
      List<TokenLogProbabilities> logs) {
    json.put("logprobs", request.logprobs() < 0 ? null : logprobs(logs));
    json.put(
        "finish_reason", reason == null ? null : reason == FinishReason.LENGTH ? "length" : "stop");
  }

  private Map<String, Object> logprobs(List<TokenLogProbabilities> logs) {
    if (request.chat()) {
      List<Map<String, Object>> content = new ArrayList<>();
      for (TokenLogProbabilities log : logs) {
        Map<String, Object> token = token(log.chosen());
        token.put("top_logprobs", log.best().stream().map(this::token).toList());
        content.add(token);
      }
      return Map.of("content", content);
    }
    List<Map<String, Float>> best = new ArrayList<>();
    for (TokenLogProbabilities log : logs) {
      Map<String, Float> alternatives = new LinkedHashMap<>();
      log.best().forEach(other -> alternatives.putIfAbsent(text(other), other.value()));
      best.add(alternatives);
    }
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("tokens", logs.stream().map(log -> text(log.chosen())).toList());
    json.put("token_logprobs", logs.stream().map(log -> log.chosen().value()).toList());
    json.put("top_logprobs", best);
    return json;
  }

  private Map<String, Object> token(LogProbability log) {
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("token", text(log));
    json.put("logprob", log.value());
    List<Integer> bytes = new ArrayList<>();
    for (byte b : tokenizer.bytes(log.id())) {
      bytes.add(b & 0xff);
    }
    json.put("bytes", bytes);
    return json;
  }

  private String text(LogProbability log) {
    return tokenizer.isMarker(log.id())
        ? tokenizer.piece(log.id())
        : new String(tokenizer.bytes(log.id()), StandardCharsets.UTF_8);
  }
}
