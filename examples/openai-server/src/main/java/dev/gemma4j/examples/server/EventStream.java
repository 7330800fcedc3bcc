package dev.gemma4j.examples.server;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import dev.gemma4j.Generation;
import dev.gemma4j.Token;
import dev.gemma4j.TokenLogProbabilities;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Server-sent events of one answer, into which each choice's thread writes its own. The head goes
 * out with the first token: until then an error has a status.
 */
final class EventStream {
  private static final ObjectMapper JSON = new ObjectMapper();

  private final HttpExchange exchange;
  private final CompletionRequest request;
  private final Reply reply;
  private final boolean[] begun; // [choices], whether its role was told

  EventStream(HttpExchange exchange, CompletionRequest request, Reply reply) {
    this.exchange = exchange;
    this.request = request;
    this.reply = reply;
    this.begun = new boolean[request.choices()];
  }

  synchronized void token(int index, Token token) throws IOException {
    TokenLogProbabilities logs = token.logProbabilities();
    // Written even when nothing is to be told: a client that left is noticed no other way.
    if (token.text().isEmpty() && (logs == null || request.logprobs() < 0)) {
      write(": \n\n");
      return;
    }
    List<TokenLogProbabilities> told = logs == null ? List.of() : List.of(logs);
    event(reply.chunk(reply.delta(index, role(index), token.text(), null, told)));
  }

  synchronized void end(int index, Generation result) throws IOException {
    event(reply.chunk(reply.delta(index, role(index), "", result.finishReason(), List.of())));
  }

  private @Nullable String role(int index) {
    boolean first = !begun[index];
    begun[index] = true;
    return first ? "assistant" : null;
  }

  /** Ends the answer. */
  synchronized void done(@Nullable Map<String, Object> usage) throws IOException {
    if (usage != null) {
      Map<String, @Nullable Object> last = reply.chunk(null);
      last.put("usage", usage);
      event(last);
    }
    write("data: [DONE]\n\n");
    // Before the request's place is given back: a stopping server then closes connections.
    exchange.getResponseBody().close();
  }

  /** Ends an answer whose head is out with an error. */
  synchronized void fail(ApiException e) throws IOException {
    event(e.json());
    exchange.getResponseBody().close();
  }

  private void event(Object json) throws IOException {
    write("data: " + JSON.writeValueAsString(json) + "\n\n");
  }

  private void write(String text) throws IOException {
    if (exchange.getResponseCode() < 0) {
      exchange.getResponseHeaders().set("Content-Type", "text/event-stream; charset=utf-8");
      exchange.getResponseHeaders().set("Cache-Control", "no-store");
      exchange.sendResponseHeaders(200, 0);
    }
    exchange.getResponseBody().write(text.getBytes(StandardCharsets.UTF_8));
    exchange.getResponseBody().flush();
  }
}
