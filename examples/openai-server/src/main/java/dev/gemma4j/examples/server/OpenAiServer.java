package dev.gemma4j.examples.server;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import dev.gemma4j.FinishReason;
import dev.gemma4j.Gemma;
import dev.gemma4j.Generation;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Prompt;
import dev.gemma4j.Token;
import dev.gemma4j.TokenStream;
import dev.gemma4j.Usage;
import io.micrometer.core.instrument.Counter;
import io.micrometer.core.instrument.Timer;
import io.micrometer.prometheusmetrics.PrometheusConfig;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Serves one model, alone and with adapters, under <a
 * href="https://platform.openai.com/docs/api-reference">OpenAI's API</a>, a chat page at /, /health
 * and /metrics. One virtual thread serves a request.
 */
final class OpenAiServer implements AutoCloseable {
  private static final Logger log = LoggerFactory.getLogger(OpenAiServer.class);
  private static final ObjectMapper JSON =
      new ObjectMapper().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

  /** Choices of one request that are generated at a time; each keeps keys and values. */
  private static final int MAX_CHOICES = 16;

  private static final String MODEL = "/v1/models/";

  private final Gemma gemma;
  private final Map<String, LoraAdapter> adapters;
  private final ServerOptions options;
  private final Access access;
  private final HttpServer http;
  private final ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();
  private final ScheduledThreadPoolExecutor clock =
      new ScheduledThreadPoolExecutor(1, Thread.ofPlatform().daemon().factory());
  private final Semaphore permits;
  private final Set<Running> running = ConcurrentHashMap.newKeySet();
  private final PrometheusMeterRegistry metrics =
      new PrometheusMeterRegistry(PrometheusConfig.DEFAULT);
  private final AtomicInteger active;
  private final Counter promptTokens = metrics.counter("gemma.tokens", "kind", "prompt");
  private final Counter generatedTokens = metrics.counter("gemma.tokens", "kind", "generated");
  private final long created = System.currentTimeMillis() / 1000;
  private volatile boolean draining;
  private volatile boolean unreadable; // the model

  private OpenAiServer(Gemma gemma, Map<String, LoraAdapter> adapters, ServerOptions options)
      throws IOException {
    this.gemma = gemma;
    this.adapters = adapters;
    this.options = options;
    this.access = new Access(options);
    this.permits = new Semaphore(options.maxConcurrent());
    AtomicInteger gauge = metrics.gauge("gemma.requests.active", new AtomicInteger());
    this.active = java.util.Objects.requireNonNull(gauge);
    this.http = HttpServer.create(new InetSocketAddress(options.host(), options.port()), 0);
    http.setExecutor(threads);
    clock.setRemoveOnCancelPolicy(true); // else it keeps each request until its time is up
  }

  /**
   * Starts to serve; the model stays the caller's to close, after the server.
   *
   * @param adapters of the model, each by the name under which it is a model of its own
   */
  static OpenAiServer start(Gemma gemma, Map<String, LoraAdapter> adapters, ServerOptions options)
      throws IOException {
    OpenAiServer server = new OpenAiServer(gemma, adapters, options);
    server.http.createContext("/", server::serve);
    server.http.start();
    return server;
  }

  /** Where it listens. */
  int port() {
    return http.getAddress().getPort();
  }

  /**
   * Answers a request.
   *
   * @throws IOException when it cannot: the JDK's server then closes the connection, without the
   *     end of an answer that has begun
   */
  private void serve(HttpExchange exchange) throws IOException {
    long start = System.nanoTime();
    String id = "req_" + UUID.randomUUID();
    exchange.getResponseHeaders().set("X-Request-Id", id);
    try {
      try {
        route(exchange);
      } catch (RuntimeException | Error e) {
        fail(exchange, told(exchange, e));
      }
      exchange.close();
    } catch (IOException e) {
      log.debug("client gone", e);
      throw e;
    } finally {
      int status = exchange.getResponseCode();
      Timer.builder("http.server.requests")
          .tag("uri", path(exchange))
          .tag("status", status < 0 ? "none" : Integer.toString(status))
          .register(metrics)
          .record(System.nanoTime() - start, TimeUnit.NANOSECONDS);
    }
  }

  /** What the client hears of a failure; the log has more of one that is not the client's. */
  private ApiException told(HttpExchange exchange, Throwable e) {
    ApiException answer = ApiException.of(e, promptField(exchange));
    if (answer.status == 500) {
      String id = exchange.getResponseHeaders().getFirst("X-Request-Id");
      log.error("{} {} {}", id, exchange.getRequestMethod(), exchange.getRequestURI(), e);
    }
    if (e instanceof UncheckedIOException || e instanceof InternalError) {
      unreadable = true; // a file of the weights has become shorter, say: no pass will follow
    }
    return answer;
  }

  /** The path if it is known, lest each unknown one become a metric. */
  private static String path(HttpExchange exchange) {
    String path = exchange.getRequestURI().getPath();
    Set<String> known =
        Set.of("/", "/health", "/metrics", "/v1/models", "/v1/completions", "/v1/chat/completions");
    return known.contains(path) ? path : "other";
  }

  private static String promptField(HttpExchange exchange) {
    return path(exchange).equals("/v1/completions") ? "prompt" : "messages";
  }

  private void route(HttpExchange exchange) throws IOException {
    String path = exchange.getRequestURI().getPath();
    access.share(exchange);
    access.checkSite(exchange);
    if (access.preflight(exchange)) {
      exchange.sendResponseHeaders(204, -1);
      return;
    }
    if (path.startsWith("/v1/")) {
      access.checkKey(exchange);
    }
    checkMethod(exchange, path);
    switch (path) {
      case "/" -> page(exchange);
      case "/health" -> {
        String status = unreadable ? "unreadable" : draining ? "draining" : "ok";
        sendJson(exchange, status.equals("ok") ? 200 : 503, Map.of("status", status));
      }
      case "/metrics" ->
          send(
              exchange,
              200,
              "text/plain; version=0.0.4; charset=utf-8",
              metrics.scrape().getBytes(StandardCharsets.UTF_8));
      case "/v1/models" ->
          sendJson(
              exchange, 200, Map.of("object", "list", "data", models().map(this::model).toList()));
      case "/v1/chat/completions" -> complete(exchange, true);
      case "/v1/completions" -> complete(exchange, false);
      default -> sendJson(exchange, 200, model(path.substring(MODEL.length())));
    }
  }

  /** Throws unless there is something at the path that knows the method. */
  private void checkMethod(HttpExchange exchange, String path) {
    boolean known =
        !path(exchange).equals("other")
            || path.startsWith(MODEL) && models().anyMatch(path.substring(MODEL.length())::equals);
    String method = exchange.getRequestMethod();
    List<String> allowed = path.endsWith("/completions") ? List.of("POST") : List.of("GET", "HEAD");
    if (known && allowed.contains(method)) {
      return;
    }
    if (known) {
      exchange.getResponseHeaders().set("Allow", String.join(", ", allowed));
    }
    if (!known && path.startsWith(MODEL)) {
      throw ApiException.unknownModel(path.substring(MODEL.length()), models().toList());
    }
    String message = "Unknown request: " + method + " " + path;
    throw new ApiException(known ? 405 : 404, "invalid_request_error", message, null, null);
  }

  private Stream<String> models() {
    return Stream.concat(Stream.of(options.model()), adapters.keySet().stream());
  }

  private Map<String, Object> model(String name) {
    return Map.of("id", name, "object", "model", "created", created, "owned_by", "gemma");
  }

  private void complete(HttpExchange exchange, boolean chat) throws IOException {
    Running task = new Running();
    running.add(task);
    long millis = options.timeout().toMillis();
    RuntimeException late =
        new ApiException(504, "timeout_error", "The request took too long", null, "timeout");
    List<ScheduledFuture<?>> alarms =
        List.of(
            clock.schedule(() -> task.cancel(late), millis, TimeUnit.MILLISECONDS),
            clock.schedule(task::abort, millis + Running.GRACE_MILLIS, TimeUnit.MILLISECONDS));
    try {
      CompletionRequest request =
          CompletionRequest.parse(body(exchange), chat, gemma, adapters, options);
      if (draining) {
        throw stopping();
      }
      // Only now: a client that is slow to send its body takes nobody's place.
      if (!permits.tryAcquire()) {
        throw ApiException.busy(
            429, "rate_limit_error", "Too many requests at a time", "rate_limit_exceeded");
      }
      active.incrementAndGet();
      try {
        if (request.schema() != null) {
          task.apart(request::compileSchema);
        }
        answer(exchange, request, task);
      } finally {
        active.decrementAndGet();
        permits.release();
      }
    } finally {
      alarms.forEach(alarm -> alarm.cancel(false));
      running.remove(task);
      task.end();
    }
  }

  private void answer(HttpExchange exchange, CompletionRequest request, Running task)
      throws IOException {
    Reply reply = new Reply(request, gemma.tokenizer());
    if (request.stream()) {
      stream(exchange, request, reply, task);
      return;
    }
    List<Generation> results = generate(request, task, null);
    List<Map<String, @Nullable Object>> choices = new ArrayList<>();
    for (Generation result : results) {
      choices.add(
          reply.choice(
              choices.size(), result.text(), result.finishReason(), result.logProbabilities()));
    }
    sendJson(exchange, 200, reply.whole(choices, usage(request, results)));
  }

  private JsonNode body(HttpExchange exchange) throws IOException {
    String type = String.valueOf(exchange.getRequestHeaders().getFirst("Content-Type"));
    // Another site's page can post text, but not JSON, without asking first.
    if (!type.split(";", 2)[0].strip().equalsIgnoreCase("application/json")) {
      throw new ApiException(
          415, "invalid_request_error", "expected Content-Type application/json", null, null);
    }
    byte[] body = exchange.getRequestBody().readNBytes(options.maxBodyBytes() + 1);
    if (body.length > options.maxBodyBytes()) {
      throw new ApiException(
          413,
          "invalid_request_error",
          "The body is larger than " + options.maxBodyBytes() + " bytes",
          null,
          null);
    }
    try {
      return JSON.readTree(body);
    } catch (IOException e) { // not the client's connection: all has been read
      String why = e instanceof JsonProcessingException j ? j.getOriginalMessage() : e.getMessage();
      throw ApiException.badRequest("The body is no JSON: " + why, null);
    }
  }

  /** What all choices took; the tokens of a prompt are counted once. */
  private static Map<String, Object> usage(CompletionRequest request, List<Generation> results) {
    int prompt = 0;
    int reused = 0;
    int generated = 0;
    for (int i = 0; i < results.size(); i++) {
      Usage usage = results.get(i).usage();
      if (i % request.n() == 0) {
        prompt += usage.promptTokens();
        reused += usage.reusedPromptTokens();
      }
      generated += usage.generatedTokens();
    }
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("prompt_tokens", prompt);
    json.put("completion_tokens", generated);
    json.put("total_tokens", prompt + generated);
    json.put("prompt_tokens_details", Map.of("cached_tokens", reused));
    return json;
  }

  /**
   * Generates the choices at the same time, each on a virtual thread, so that they share the
   * model's passes. What ends one early ends all.
   *
   * @param events hears of them as they come; null for nobody
   * @return by index
   */
  private List<Generation> generate(
      CompletionRequest request, Running task, @Nullable EventStream events) throws IOException {
    List<Future<Generation>> choices = new ArrayList<>();
    Semaphore places = new Semaphore(MAX_CHOICES);
    try (ExecutorService own = Executors.newVirtualThreadPerTaskExecutor()) {
      for (Prompt prompt : request.prompts()) {
        CountDownLatch computed = new CountDownLatch(1);
        for (int i = 0; i < request.n(); i++) {
          if (!take(places)) {
            break;
          }
          int index = choices.size();
          boolean first = i == 0;
          GenerationOptions chosen = request.options(index);
          choices.add(
              own.submit(
                  () -> {
                    try {
                      // The first leaves the prompt's keys and values to the others.
                      if (!first) {
                        computed.await();
                      }
                      return choice(index, request.n(), prompt, chosen, task, events, computed);
                    } catch (IOException e) {
                      ClientGone gone = new ClientGone(e);
                      task.cancel(gone);
                      throw gone;
                    } catch (RuntimeException | Error e) {
                      task.cancel(request.blamed(e));
                      throw e;
                    } finally {
                      computed.countDown();
                      places.release();
                    }
                  }));
        }
      }
    }
    try {
      task.check();
    } catch (ClientGone e) {
      throw new IOException(e);
    }
    return choices.stream().map(Future::resultNow).toList();
  }

  /** What is written for a client goes nowhere. Not what the library throws for its files. */
  private static final class ClientGone extends RuntimeException {
    private static final long serialVersionUID = 1L;

    ClientGone(IOException e) {
      super(e);
    }
  }

  /** False when the request is aborted; its interrupt then ends the choices under way. */
  private static boolean take(Semaphore places) {
    try {
      places.acquire();
      return true;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }

  private Generation choice(
      int index,
      int n,
      Prompt prompt,
      GenerationOptions chosen,
      Running task,
      @Nullable EventStream events,
      CountDownLatch computed)
      throws IOException {
    TokenStream tokens = task.start(gemma, prompt, chosen);
    try (tokens) {
      while (tokens.hasNext()) {
        computed.countDown();
        Token token = tokens.next();
        generatedTokens.increment();
        if (events != null) {
          events.token(index, token);
        }
      }
      task.check();
      Generation result = tokens.result();
      if (events != null) {
        events.end(index, result);
      }
      return result;
    } finally {
      if (index % n == 0) { // the other choices take the prompt from the first
        countPrompt(tokens);
      }
    }
  }

  /** Counts a prompt that was computed, whatever ended its text. */
  private void countPrompt(TokenStream tokens) {
    Generation ended;
    try {
      ended = tokens.result();
    } catch (IllegalStateException e) { // a text that has failed has no result
      return;
    }
    if (ended.finishReason() != FinishReason.CANCELLED || !ended.tokens().isEmpty()) {
      promptTokens.increment(ended.usage().promptTokens());
    }
  }

  private void stream(HttpExchange exchange, CompletionRequest request, Reply reply, Running task)
      throws IOException {
    EventStream events = new EventStream(exchange, request, reply);
    try {
      List<Generation> results = generate(request, task, events);
      events.done(request.includeUsage() ? usage(request, results) : null);
    } catch (RuntimeException | Error e) {
      if (exchange.getResponseCode() < 0) {
        throw e; // it still gets a status
      }
      events.fail(told(exchange, e));
    }
  }

  private static void page(HttpExchange exchange) throws IOException {
    try (InputStream in = OpenAiServer.class.getResourceAsStream("index.html")) {
      exchange
          .getResponseHeaders()
          .set(
              "Content-Security-Policy",
              "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline';"
                  + " connect-src 'self'; base-uri 'none'; form-action 'none'");
      byte[] page = java.util.Objects.requireNonNull(in, "index.html").readAllBytes();
      send(exchange, 200, "text/html; charset=utf-8", page);
    }
  }

  private static void fail(HttpExchange exchange, ApiException e) throws IOException {
    if (exchange.getResponseCode() >= 0) {
      throw new IOException("an answer has begun, and cannot end", e);
    }
    if (e.retryAfter != null) {
      exchange.getResponseHeaders().set("Retry-After", Integer.toString(e.retryAfter));
    }
    if (e.status == 504) { // OpenAI's clients would ask for the same again, and take as long
      exchange.getResponseHeaders().set("X-Should-Retry", "false");
    }
    sendJson(exchange, e.status, e.json());
  }

  private static void sendJson(HttpExchange exchange, int status, Object json) throws IOException {
    send(exchange, status, "application/json", JSON.writeValueAsBytes(json));
  }

  private static void send(HttpExchange exchange, int status, String type, byte[] body)
      throws IOException {
    exchange.getResponseHeaders().set("Content-Type", type);
    exchange.getResponseHeaders().set("X-Content-Type-Options", "nosniff");
    if (exchange.getRequestMethod().equals("HEAD")) {
      exchange.getResponseHeaders().set("Content-Length", Integer.toString(body.length));
      exchange.sendResponseHeaders(status, -1);
      return;
    }
    exchange.sendResponseHeaders(status, body.length);
    exchange.getResponseBody().write(body);
    exchange.getResponseBody().close();
  }

  private static ApiException stopping() {
    return new ApiException(503, "server_error", "The server is stopping", null, "stopping");
  }

  /** Refuses new work, waits for what runs, cancels what takes too long, and stops. */
  @Override
  public void close() {
    draining = true;
    try {
      if (!permits.tryAcquire(
          options.maxConcurrent(), options.drain().toMillis(), TimeUnit.MILLISECONDS)) {
        running.forEach(task -> task.cancel(stopping()));
        if (!permits.tryAcquire(
            options.maxConcurrent(), Running.GRACE_MILLIS, TimeUnit.MILLISECONDS)) {
          running.forEach(Running::abort);
          permits.tryAcquire(options.maxConcurrent(), 5, TimeUnit.SECONDS);
        }
      }
    } catch (InterruptedException e) {
      running.forEach(task -> task.cancel(stopping()));
      Thread.currentThread().interrupt();
    }
    http.stop(0);
    threads.close();
    clock.shutdownNow();
    metrics.close();
  }
}
