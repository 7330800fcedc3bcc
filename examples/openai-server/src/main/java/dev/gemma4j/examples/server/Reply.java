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
  private final int[] offsets; // [choices], characters before the next token

  Reply(CompletionRequest request, Tokenizer tokenizer) {
    this.request = request;
    this.tokenizer = tokenizer;
    this.id = (request.chat() ? "chatcmpl-" : "cmpl-") + UUID.randomUUID();
    this.offsets = new int[request.choices()];
  }

  Map<String, @Nullable Object> whole(
      List<Map<String, @Nullable Object>> choices, Map<String, Object> usage) {
    Map<String, @Nullable Object> json = envelope(false);
    json.put("choices", choices);
    json.put("usage", usage);
    return json;
  }

  Map<String, @Nullable Object> chunk(@Nullable Map<String, @Nullable Object> choice) {
    Map<String, @Nullable Object> json = envelope(true);
    json.put("choices", choice == null ? List.of() : List.of(choice));
    if (request.includeUsage()) {
      json.put("usage", null); // the last one has it
    }
    return json;
  }

  private Map<String, @Nullable Object> envelope(boolean chunk) {
    Map<String, @Nullable Object> json = new LinkedHashMap<>();
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
      Map<String, @Nullable Object> message = new LinkedHashMap<>();
      message.put("role", "assistant");
      message.put("content", text);
      message.put("refusal", null);
      json.put("message", message);
    } else {
      json.put("text", text);
    }
    end(json, index, reason, logs);
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
    Map<String, @Nullable Object> delta = new LinkedHashMap<>();
    if (role != null) {
      delta.put("role", role);
      delta.put("refusal", null);
    }
    if (reason == null || !text.isEmpty()) {
      delta.put("content", text);
    }
    Map<String, @Nullable Object> json = new LinkedHashMap<>();
    json.put("index", index);
    json.put("delta", delta);
    end(json, index, reason, logs);
    return json;
  }

  private void end(
      Map<String, @Nullable Object> json,
      int index,
      @Nullable FinishReason reason,
      List<TokenLogProbabilities> logs) {
    json.put("logprobs", request.logprobs() < 0 ? null : logprobs(index, logs));
    json.put(
        "finish_reason", reason == null ? null : reason == FinishReason.LENGTH ? "length" : "stop");
  }

  private Map<String, @Nullable Object> logprobs(int index, List<TokenLogProbabilities> logs) {
    Map<String, @Nullable Object> json = new LinkedHashMap<>();
    if (request.chat()) {
      List<Map<String, Object>> content = new ArrayList<>();
      for (TokenLogProbabilities log : logs) {
        Map<String, Object> token = token(log.chosen());
        token.put("top_logprobs", log.best().stream().map(this::token).toList());
        content.add(token);
      }
      json.put("content", content);
      json.put("refusal", null);
      return json;
    }
    List<Integer> starts = new ArrayList<>();
    List<Map<String, Float>> best = new ArrayList<>();
    for (TokenLogProbabilities log : logs) {
      Map<String, Float> alternatives = new LinkedHashMap<>();
      log.best().forEach(other -> alternatives.putIfAbsent(text(other), other.value()));
      best.add(alternatives);
      starts.add(offsets[index]);
      offsets[index] += characters(log.chosen());
    }
    json.put("tokens", logs.stream().map(log -> text(log.chosen())).toList());
    json.put("token_logprobs", logs.stream().map(log -> log.chosen().value()).toList());
    json.put("top_logprobs", best);
    json.put("text_offset", starts);
    return json;
  }

  /** That begin in a token; one may be spread over several. */
  private int characters(LogProbability log) {
    int begun = 0;
    for (byte b : tokenizer.bytes(log.id())) {
      begun += (b & 0xc0) == 0x80 ? 0 : 1; // all but the following bytes of a character
    }
    return begun;
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
