package dev.gemma4j.examples.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Prompt;
import dev.gemma4j.Session;
import dev.gemma4j.examples.DemoModel;
import dev.gemma4j.loader.GemmaConfig;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(60)
class OpenAiServerTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final HttpClient CLIENT = HttpClient.newHttpClient();
  private static Gemma gemma;
  private static OpenAiServer server;

  @BeforeAll
  static void start() throws IOException {
    gemma = DemoModel.load(LoadOptions.defaults());
    server = start(null, 2, 400, Duration.ofSeconds(50), Duration.ZERO);
  }

  private static OpenAiServer start(
      @Nullable String key, int concurrent, int maxTokens, Duration timeout, Duration drain)
      throws IOException {
    return OpenAiServer.start(
        gemma,
        Map.of(),
        new ServerOptions(
            "127.0.0.1",
            0,
            "demo",
            key,
            null,
            List.of(),
            20_000,
            concurrent,
            maxTokens,
            timeout,
            drain));
  }

  @AfterAll
  static void stop() {
    server.close();
    gemma.close();
  }

  private static HttpRequest request(OpenAiServer to, String path, @Nullable String body) {
    HttpRequest.Builder builder =
        HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + to.port() + path));
    if (body != null) {
      builder
          .header("Content-Type", "application/json")
          .POST(HttpRequest.BodyPublishers.ofString(body.replace('\'', '"')));
    }
    return builder.build();
  }

  private static HttpResponse<String> send(OpenAiServer to, String path, @Nullable String body)
      throws Exception {
    return CLIENT.send(request(to, path, body), HttpResponse.BodyHandlers.ofString());
  }

  private static JsonNode ok(String path, @Nullable String body) throws Exception {
    HttpResponse<String> response = send(server, path, body);
    assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
    return JSON.readTree(response.body());
  }

  private static double metric(String name) throws Exception {
    return metric(server, name);
  }

  private static double metric(OpenAiServer of, String name) throws Exception {
    return send(of, "/metrics", null)
        .body()
        .lines()
        .filter(line -> line.startsWith(name + " "))
        .mapToDouble(line -> Double.parseDouble(line.substring(name.length() + 1)))
        .findAny()
        .orElseThrow();
  }

  private static final String PROMPT = "gemma_tokens_total{kind=\"prompt\"}";
  private static final String GENERATED = "gemma_tokens_total{kind=\"generated\"}";

  @Test
  void aCompletionIsTheLibrarysText() throws Exception {
    JsonNode json =
        ok("/v1/completions", "{'prompt': 'Once upon a time', 'temperature': 0, 'max_tokens': 20}");
    String expected =
        gemma
            .generate(
                Prompt.of("Once upon a time"),
                GenerationOptions.builder().temperature(0).maxTokens(20).build())
            .text();
    assertThat(json.at("/choices/0/text").asText()).isEqualTo(expected);
    assertThat(json.at("/choices/0/finish_reason").asText()).isEqualTo("length");
    assertThat(json.at("/usage/completion_tokens").asInt()).isEqualTo(20);
    assertThat(json.at("/object").asText()).isEqualTo("text_completion");
  }

  @Test
  void choicesOfEachPromptInOrder() throws Exception {
    String body =
        "{'prompt': ['A king', [2, 300]], 'n': 2, 'seed': 5, 'top_k': 3, 'max_tokens': 8}";
    JsonNode json = ok("/v1/completions", body);
    assertThat(json.get("choices")).hasSize(4);
    assertThat(json.at("/choices/3/index").asInt()).isEqualTo(3);
    assertThat(json.at("/choices/0/text")).isNotEqualTo(json.at("/choices/1/text"));
    assertThat(ok("/v1/completions", body).get("choices")).isEqualTo(json.get("choices"));
  }

  @Test
  void eachChoiceIsTheTextOfItsOwnSeed() throws Exception {
    // Rounding, which what shares a pass changes, hardly tips a choice among few tokens.
    String body = "{'prompt': 'A king', 'n': 6, 'seed': 7, 'top_k': 3, 'max_tokens': 12}";
    JsonNode json = ok("/v1/completions", body);
    for (int i = 0; i < 6; i++) {
      GenerationOptions alone =
          GenerationOptions.builder()
              .temperature(1)
              .topP(1)
              .topK(3)
              .seed(7 + i)
              .maxTokens(12)
              .build();
      assertThat(json.at("/choices/" + i + "/index").asInt()).isEqualTo(i);
      assertThat(json.at("/choices/" + i + "/text").asText())
          .isEqualTo(gemma.generate(Prompt.of("A king"), alone).text());
    }
    assertThat(json.at("/usage/prompt_tokens").asInt())
        .isEqualTo(gemma.tokenizer().encode("A king").length + 1);
  }

  @ParameterizedTest
  @CsvSource({"chat/completions, 1", "completions, 0"})
  void choicesOfAStreamComeAtTheSameTime(String path, int roles) throws Exception {
    String prompt =
        path.equals("completions")
            ? "'prompt': 'A king'"
            : "'messages': [{'role': 'user', 'content': 'A king'}]";
    String body =
        "{"
            + prompt
            + ", 'n': 3, 'seed': 7, 'top_k': 3, 'max_tokens': 40, 'logit_bias': {'1': -100}";
    HttpResponse<String> response = send(server, "/v1/" + path, body + ", 'stream': true}");
    StringBuilder[] texts = {new StringBuilder(), new StringBuilder(), new StringBuilder()};
    int[] told = new int[3];
    int[] ended = new int[3];
    boolean together = false;
    for (String line : response.body().lines().filter(l -> l.startsWith("data: {")).toList()) {
      JsonNode choice = JSON.readTree(line.substring(6)).at("/choices/0");
      int index = choice.get("index").asInt();
      assertThat(ended[index]).as("nothing follows the end").isZero();
      together |= index > 0 && ended[0] == 0;
      told[index] += choice.at("/delta/role").asText().equals("assistant") ? 1 : 0;
      ended[index] += choice.get("finish_reason").isNull() ? 0 : 1;
      texts[index].append(choice.at("/delta/content").asText(choice.path("text").asText()));
    }
    assertThat(together).isTrue();
    assertThat(told).containsExactly(roles, roles, roles);
    assertThat(ended).containsExactly(1, 1, 1);
    assertThat(response.body()).endsWith("data: [DONE]\n\n");
    JsonNode whole = ok("/v1/" + path, body + "}").get("choices");
    for (int i = 0; i < 3; i++) {
      JsonNode choice = whole.get(i);
      assertThat(texts[i].toString())
          .isEqualTo(choice.at("/message/content").asText(choice.path("text").asText()));
    }
  }

  @ParameterizedTest
  @CsvSource({"true", "false"})
  void oneThatFailsEndsTheOthers(boolean streaming) throws Exception {
    ok("/v1/completions", "{'prompt': 'x', 'max_tokens': 1, 'logit_bias': {'1': -100}}");
    double before = metric(GENERATED);
    HttpResponse<String> response =
        send(
            server,
            "/v1/completions",
            "{'prompt': ['A king', '"
                + "king ".repeat(3000)
                + "'], 'max_tokens': 400, 'logit_bias': {'1': -100}, 'stream': "
                + streaming
                + "}");
    if (streaming) {
      assertThat(response.body()).doesNotContain("[DONE]");
    } else {
      assertThat(response.statusCode()).as(response.body()).isEqualTo(400);
    }
    assertThat(metric(GENERATED) - before).as("no choice came to its end").isLessThan(400);
    assertThat(metric("gemma_requests_active")).isZero();
  }

  @Test
  void aStreamIsTheWholeInPieces() throws Exception {
    String body =
        "{'messages': [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content':"
            + " [{'type': 'text', 'text': 'Who are you?'}]}], 'temperature': 0,"
            + " 'max_completion_tokens': 30";
    JsonNode whole = ok("/v1/chat/completions", body + "}");
    HttpResponse<String> response =
        send(
            server,
            "/v1/chat/completions",
            body + ", 'stream': true, 'stream_options': {'include_usage': true}}");
    assertThat(response.headers().firstValue("Content-Type").orElse(""))
        .startsWith("text/event-stream");
    StringBuilder text = new StringBuilder();
    JsonNode last = null;
    for (String line : response.body().lines().filter(l -> l.startsWith("data: {")).toList()) {
      last = JSON.readTree(line.substring(6));
      text.append(last.at("/choices/0/delta/content").asText(""));
    }
    assertThat(text.toString()).isEqualTo(whole.at("/choices/0/message/content").asText());
    for (String field : List.of("prompt_tokens", "completion_tokens", "total_tokens")) {
      assertThat(last.at("/usage/" + field)).isEqualTo(whole.at("/usage/" + field));
    }
    assertThat(last.at("/usage/prompt_tokens_details/cached_tokens").asInt())
        .as("the stream's prompt was computed for the whole")
        .isEqualTo(whole.at("/usage/prompt_tokens").asInt() / 32 * 32);
    assertThat(whole.at("/choices/0/message/refusal").isNull()).isTrue();
    JsonNode first = JSON.readTree(response.body().lines().findFirst().orElse("").substring(6));
    assertThat(first.get("usage").isNull()).isTrue();
    assertThat(first.at("/choices/0/delta/refusal").isNull()).isTrue();
    assertThat(response.body()).contains("\"role\":\"assistant\"").endsWith("data: [DONE]\n\n");
  }

  @Test
  void probabilitiesBiasAndStop() throws Exception {
    JsonNode json =
        ok(
            "/v1/chat/completions",
            "{'messages': [{'role': 'user', 'content': 'Hi'}], 'logprobs': true, 'top_logprobs': 3,"
                + " 'logit_bias': {'300': 100}, 'max_tokens': 2, 'temperature': 0}");
    JsonNode token = json.at("/choices/0/logprobs/content/0");
    assertThat(token.get("top_logprobs")).hasSize(3);
    assertThat(token.get("logprob").asDouble()).isNegative();
    assertThat(json.at("/choices/0/logprobs/refusal").isNull()).isTrue();
    assertThat(token.get("bytes"))
        .hasSameSizeAs(JSON.valueToTree(gemma.tokenizer().bytes(300).length == 0 ? 0 : ints(300)));
    JsonNode stopped =
        ok(
            "/v1/completions",
            "{'prompt': 'Once upon a time', 'temperature': 0, 'max_tokens': 99, 'stop': ' the',"
                + " 'logprobs': 2}");
    assertThat(stopped.at("/choices/0/finish_reason").asText()).isEqualTo("stop");
    assertThat(stopped.at("/choices/0/text").asText()).doesNotContain(" the");
    assertThat(stopped.at("/choices/0/logprobs/token_logprobs").size()).isPositive();
  }

  @ParameterizedTest
  @CsvSource({"true", "false"})
  void theOffsetOfATokenIsThatOfItsText(boolean streaming) throws Exception {
    String body =
        "{'prompt': 'Once upon a time', 'seed': 4, 'max_tokens': 20, 'n': 2, 'logprobs': 0,"
            + " 'response_format': {'type': 'json_schema', 'json_schema': {'schema':"
            + " {'const': 'a\\u00e4\\u20ac\\ud83d\\ude00 king'}}}, 'stream': "
            + streaming
            + "}";
    String answer = send(server, "/v1/completions", body).body();
    List<String> texts =
        streaming
            ? answer.lines().filter(l -> l.startsWith("data: {")).map(l -> l.substring(6)).toList()
            : List.of(answer);
    List<Integer> offsets = new ArrayList<>();
    StringBuilder text = new StringBuilder();
    for (String json : texts) {
      for (JsonNode choice : JSON.readTree(json).get("choices")) {
        if (choice.get("index").asInt() == 1) {
          choice.at("/logprobs/text_offset").forEach(offset -> offsets.add(offset.asInt()));
          text.append(choice.get("text").asText());
        }
      }
    }
    String expected = "\"a\u00e4\u20ac\ud83d\ude00 king\"";
    assertThat(text.toString()).isEqualTo(expected);
    assertThat(offsets).isSorted().startsWith(0);
    assertThat(offsets.getLast()).isLessThan(expected.codePointCount(0, expected.length()));
  }

  private static int[] ints(int id) {
    return new int[gemma.tokenizer().bytes(id).length];
  }

  @Test
  void jsonOfASchema() throws Exception {
    JsonNode json =
        ok(
            "/v1/chat/completions",
            "{'messages': [{'role': 'user', 'content': 'Who?'}], 'seed': 1, 'response_format':"
                + " {'type': 'json_schema', 'json_schema': {'name': 'p', 'schema': {'type':"
                + " 'object', 'required': ['name'], 'properties': {'name': {'type': 'string',"
                + " 'maxLength': 10}}}}}}");
    JsonNode content = JSON.readTree(json.at("/choices/0/message/content").asText());
    assertThat(content.get("name").isTextual()).isTrue();
    JsonNode object =
        ok(
            "/v1/completions",
            "{'prompt': 'x', 'max_tokens': 3, 'response_format': {'type': 'json_object'}}");
    assertThat(object.at("/choices/0/text").asText()).startsWith("{");
  }

  private static String schema(String pattern) {
    return "{'prompt': 'x', 'max_tokens': 1, 'response_format': {'type': 'json_schema',"
        + " 'json_schema': {'schema': {'type': 'string', 'pattern': '"
        + pattern
        + "'}}}}";
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aSchemaThatProvesTooAmbiguousIsTheClients(boolean streaming) throws Exception {
    String ambiguous = schema("^((a?){1000}){1000}$");
    HttpResponse<String> answer =
        send(
            server,
            "/v1/completions",
            ambiguous.replace("'max_tokens'", "'stream': " + streaming + ", 'max_tokens'"));
    assertThat(answer.statusCode()).as(answer.body()).isEqualTo(400);
    JsonNode error = JSON.readTree(answer.body()).get("error");
    assertThat(error.get("message").asText()).startsWith("Invalid schema: ").contains("ambiguous");
    assertThat(error.get("param").asText()).isEqualTo("response_format");
  }

  @Test
  void theCompilationOfASchemaIsBounded() throws Exception {
    ServerOptions options =
        new ServerOptions(
            "127.0.0.1",
            0,
            "demo",
            null,
            null,
            List.of(),
            1 << 20,
            1,
            9,
            Duration.ofSeconds(50),
            Duration.ZERO);
    try (OpenAiServer wide = OpenAiServer.start(gemma, Map.of(), options)) {
      HttpResponse<String> large = send(wide, "/v1/completions", schema("a".repeat(70_000)));
      assertThat(large.statusCode()).as(large.body()).isEqualTo(400);
      assertThat(large.body()).contains("response_format", "expected at most 65536");
      assertThat(send(wide, "/v1/completions", schema("a".repeat(60_000))).statusCode())
          .isEqualTo(200);
    }
    try (OpenAiServer hasty = start(null, 1, 400, Duration.ofMillis(1), Duration.ZERO)) {
      String refused = schema("[^a]".repeat(4800)); // after a second
      assertThat(send(hasty, "/v1/completions", refused).statusCode()).isEqualTo(504);
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{'prompt': 'x', 'temperature': 3} | temperature",
        "{'prompt': 'x', 'max_tokens': 401} | max_tokens",
        "{'prompt': 'x', 'n': 0} | n",
        "{'prompt': 'x', 'stop': ['']} | stop",
        "{'prompt': 'x', 'logit_bias': {'9999': 1}} | logit_bias",
        "{'prompt': 'x', 'logit_bias': [1, 2]} | logit_bias",
        "{'prompt': 'x', 'logit_bias': 'x'} | logit_bias",
        "{'prompt': 'x', 'seed': 1.5} | seed",
        "{'prompt': 'x', 'best_of': 2} | best_of",
        "{'prompt': 'x', 'n': 2, 'best_of': 3} | best_of",
        "{'prompt': 'x', 'tool_choice': 'required'} | tool_choice",
        "{'prompt': 'x', 'function_call': {'name': 'f'}} | function_call",
        "{'prompt': 'x', 'top_k': -2} | top_k",
        "{'prompt': 'x', 'tools': [{}]} | tools",
        "{'prompt': 'x', 'response_format': 'text'} | response_format",
        "{'prompt': 'x', 'stream': true, 'stream_options': [true]} | stream_options",
        "{'prompt': 'x', 'echo': true} | echo",
        "{'prompt': 'x', 'stream_options': {}} | stream_options",
        "{'prompt': 'x', 'response_format': {'type': 'xml'}} | response_format",
        "{'prompt': 'x', 'response_format': {'type': 7}} | response_format",
        "{'prompt': {}} | prompt",
        "{} | prompt",
        "[] | null",
        "{'prompt': 'x'} trailing | null",
        "{'prompt': 'x'} {} | null",
        "{' | null"
      })
  void badInputIsNamed(String body, String param) throws Exception {
    HttpResponse<String> response = send(server, "/v1/completions", body.replace("'", "\""));
    assertThat(response.statusCode()).as(response.body()).isEqualTo(400);
    JsonNode error = JSON.readTree(response.body()).get("error");
    assertThat(error.get("type").asText()).isEqualTo("invalid_request_error");
    assertThat(error.get("param").asText()).isEqualTo(param);
  }

  @Test
  void whatIsMissingIsFoundToBeNothing() throws Exception {
    String body = "{\"messages\": [{\"role\": \"user\"}]}";
    assertThat(send(server, "/v1/chat/completions", body).body()).contains("but found nothing");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "'tools': []",
        "'tool_choice': 'none'",
        "'tool_choice': 'auto'",
        "'parallel_tool_calls': false",
        "'parallel_tool_calls': true",
        "'functions': []",
        "'function_call': 'auto'",
        "'reasoning_effort': 'low'",
        "'verbosity': 'medium'",
        "'prediction': {'type': 'content', 'content': 'x'}",
        "'prompt_cache_retention': '24h'",
        "'n': 2, 'best_of': 2",
        "'top_k': -1",
        "'modalities': ['text']",
        "'echo': false",
        "'best_of': 1",
      })
  void whatAsksForWhatIsDoneAnywayIsAllowed(String neutral) throws Exception {
    ok("/v1/completions", "{'prompt': 'x', 'max_tokens': 1, " + neutral + "}");
  }

  @Test
  void theLeastThatOneCanAskFor() throws Exception {
    String body = "{'prompt': 'Once', 'max_tokens': 8, ";
    assertThat(ok("/v1/completions", body + "'top_p': 0}").get("choices"))
        .isEqualTo(ok("/v1/completions", body + "'temperature': 0}").get("choices"));
    JsonNode nothing = ok("/v1/completions", "{'prompt': 'x', 'max_tokens': 0}");
    assertThat(nothing.at("/choices/0/text").asText("-")).isEmpty();
    assertThat(nothing.at("/choices/0/finish_reason").asText()).isEqualTo("length");
    assertThat(nothing.at("/usage/completion_tokens").asInt(-1)).isZero();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "'refusal': null, 'annotations': [], 'audio': null, 'tool_calls': [] | 200 | ''",
        "'tool_calls': [{'id': '1'}] | 400 | messages[1].tool_calls",
        "'function_call': {'name': 'f'} | 400 | messages[1].function_call",
      })
  void whatATurnHoldsBesideItsText(String more, int status, String param) throws Exception {
    String user = "{'role': 'user', 'content': 'Hi'}";
    String body =
        "{'max_tokens': 1, 'messages': ["
            + (user + ", {'role': 'assistant', 'content': '', " + more + "}, " + user + "]}");
    HttpResponse<String> response = send(server, "/v1/chat/completions", body);
    assertThat(response.statusCode()).as(response.body()).isEqualTo(status);
    assertThat(JSON.readTree(response.body()).at("/error/param").asText()).isEqualTo(param);
  }

  @Test
  void tokensAreCountedAsTheyComeAndAPromptOnce() throws Exception {
    double prompt = metric(PROMPT);
    double generated = metric(GENERATED);
    JsonNode usage =
        ok(
                "/v1/completions",
                "{'prompt': 'A king', 'n': 4, 'max_tokens': 5, 'logit_bias': {'1': -100}}")
            .get("usage");
    assertThat(metric(PROMPT) - prompt).isEqualTo(usage.get("prompt_tokens").asInt());
    assertThat(metric(GENERATED) - generated).isEqualTo(20);
    prompt = metric(PROMPT);
    generated = metric(GENERATED);
    open(server).close(); // after the first token
    await(server, 0);
    assertThat(metric(PROMPT) - prompt).isEqualTo(gemma.tokenizer().encode("x").length + 1);
    assertThat(metric(GENERATED) - generated).isPositive();
  }

  @Test
  void aBodyInNoEncodingOfTextIsAnswered() throws Exception {
    HttpRequest request =
        HttpRequest.newBuilder(request(server, "/v1/completions", null).uri())
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofByteArray(new byte[] {0, 0, -1, -2, '{', '}'}))
            .build();
    HttpResponse<String> response = CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
    assertThat(response.statusCode()).isEqualTo(400);
    assertThat(response.body()).contains("The body is no JSON");
  }

  @Test
  void whatIsTooLongOrUnknown() throws Exception {
    String longText = "king ".repeat(3000);
    HttpResponse<String> context =
        send(server, "/v1/completions", "{'prompt': '" + longText + "', 'stream': true}");
    assertThat(context.statusCode()).isEqualTo(400);
    assertThat(context.body()).contains("context_length_exceeded", "\"param\":\"prompt\"");
    assertThat(send(server, "/v1/completions", "{'prompt': '" + longText + longText + "'}"))
        .extracting(HttpResponse::statusCode)
        .isEqualTo(413);
    assertThat(send(server, "/v1/completions", "{'model': 'gpt', 'prompt': 'x'}").statusCode())
        .isEqualTo(404);
    assertThat(send(server, "/v2", null).statusCode()).isEqualTo(404);
    HttpResponse<String> model = send(server, "/v1/models/gpt", null);
    assertThat(model.statusCode()).isEqualTo(404);
    assertThat(model.body()).contains("model_not_found", "\"param\":\"model\"");
    for (String type : List.of("text/plain", ";", "; charset=utf-8")) {
      HttpRequest text =
          HttpRequest.newBuilder(request(server, "/v1/completions", null).uri())
              .header("Content-Type", type)
              .POST(HttpRequest.BodyPublishers.ofString("{}"))
              .build();
      assertThat(CLIENT.send(text, HttpResponse.BodyHandlers.ofString()).statusCode())
          .as(type)
          .isEqualTo(415);
    }
  }

  @Test
  void modelsHealthAndPage() throws Exception {
    assertThat(ok("/v1/models", null).at("/data/0/id").asText()).isEqualTo("demo");
    assertThat(ok("/health", null).get("status").asText()).isEqualTo("ok");
    HttpResponse<String> page = send(server, "/", null);
    assertThat(page.body()).contains("<title>Gemma chat</title>");
    assertThat(header(page, "X-Request-Id"))
        .startsWith("req_")
        .isNotEqualTo(header(send(server, "/", null), "X-Request-Id"));
    assertThat(page.headers().firstValue("Access-Control-Allow-Origin")).isEmpty();
  }

  @Test
  void anotherSitesPagesMayCallOnceTheyAreNamed() throws Exception {
    Duration time = Duration.ofSeconds(9);
    ServerOptions options =
        new ServerOptions(
            "127.0.0.1",
            0,
            "demo",
            null,
            "https://a.example",
            List.of("gemma.lan"),
            9,
            1,
            9,
            time,
            Duration.ZERO);
    try (OpenAiServer open = OpenAiServer.start(gemma, Map.of(), options)) {
      HttpResponse<String> allowed =
          ask(
              open,
              "OPTIONS",
              "/v1/completions",
              "Origin",
              "https://a.example",
              "Access-Control-Request-Method",
              "POST",
              "Access-Control-Request-Headers",
              "authorization, x-stainless-os");
      assertThat(allowed.statusCode()).isEqualTo(204);
      assertThat(header(allowed, "Access-Control-Allow-Origin")).isEqualTo("https://a.example");
      assertThat(header(allowed, "Access-Control-Allow-Headers"))
          .isEqualTo("authorization, x-stainless-os");
      assertThat(header(allowed, "Access-Control-Max-Age")).isEqualTo("3600");
      HttpResponse<String> models = ask(open, "GET", "/v1/models", "Origin", "https://a.example");
      assertThat(models.statusCode()).isEqualTo(200);
      assertThat(header(models, "Access-Control-Allow-Origin")).isEqualTo("https://a.example");
      assertThat(header(models, "Access-Control-Expose-Headers"))
          .contains("Retry-After", "X-Request-Id", "X-Should-Retry");
      assertThat(ask(open, "OPTIONS", "/v1/models", "Origin", "https://b.example").statusCode())
          .isEqualTo(403);
      assertThat(status(open, "gemma.lan:80", "-")).isEqualTo(200);
      assertThat(status(open, "gemma.lan.evil", "-")).isEqualTo(403);
    }
  }

  /** With these headers, each name before its value. */
  private static HttpResponse<String> ask(
      OpenAiServer to, String method, String path, String... headers) throws Exception {
    HttpRequest request =
        HttpRequest.newBuilder(request(to, path, null).uri())
            .headers(headers)
            .method(method, HttpRequest.BodyPublishers.noBody())
            .build();
    return CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
  }

  private static String header(HttpResponse<?> of, String name) {
    return of.headers().firstValue(name).orElse("");
  }

  /** Of a request with this Host, which Java's client does not let one choose, and Origin. */
  private static int status(OpenAiServer to, String host, String origin) throws IOException {
    try (Socket client = new Socket("127.0.0.1", to.port())) {
      String head =
          "GET /v1/models HTTP/1.1\r\nConnection: close\r\n"
              + (host.equals("-") ? "" : "Host: " + host + "\r\n")
              + (origin.equals("-") ? "" : "Origin: " + origin + "\r\n");
      client.getOutputStream().write((head + "\r\n").getBytes(StandardCharsets.UTF_8));
      String answer = new String(client.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      return Integer.parseInt(answer.split(" ")[1]);
    }
  }

  @ParameterizedTest
  @CsvSource({
    "127.0.0.1:8080, http://127.0.0.1:8080, 200",
    "LOCALHOST, -, 200",
    "[::1]:8080, http://[::1]:8080, 200",
    "192.168.1.7, https://192.168.1.7, 200", // behind a proxy with TLS
    "-, -, 200",
    "evil.example, -, 403",
    "evil.example:8080, http://evil.example:8080, 403",
    "127.0.0.1.evil.example, -, 403",
    "127.0.0.1, http://evil.example, 403",
    "127.0.0.1:8080, http://127.0.0.1:9090, 403",
    "127.0.0.1, null, 403",
  })
  void withoutAKeyNoOtherSitesPageReachesTheServer(String host, String origin, int status)
      throws Exception {
    assertThat(status(server, host, origin)).isEqualTo(status);
    try (OpenAiServer locked = start("k", 1, 10, Duration.ofSeconds(9), Duration.ZERO)) {
      assertThat(status(locked, host, origin)).as("the key decides").isEqualTo(401);
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "HEAD | / | 200 | ''",
        "HEAD | /health | 200 | ''",
        "HEAD | /v1/models/demo | 200 | ''",
        "POST | /health | 405 | GET, HEAD",
        "DELETE | /v1/models/demo | 405 | GET, HEAD",
        "GET | /v1/completions | 405 | POST",
        "HEAD | /v1/chat/completions | 405 | POST",
        "OPTIONS | /v1/models | 405 | GET, HEAD",
        "GET | /v1/models/other | 404 | ''",
        "HEAD | /v2/completions | 404 | ''",
      })
  void aMethodThatAPathDoesNotKnow(String method, String path, int status, String allow)
      throws Exception {
    HttpResponse<String> response = ask(server, method, path, "Accept", "*/*");
    assertThat(response.statusCode()).isEqualTo(status);
    assertThat(header(response, "Allow")).isEqualTo(allow);
    if (method.equals("HEAD")) {
      assertThat(response.body()).isEmpty();
      assertThat(Integer.parseInt(header(response, "Content-Length"))).isPositive();
    }
  }

  @Test
  void theKeyIsAsked() throws Exception {
    try (OpenAiServer locked = start("k", 1, 10, Duration.ofSeconds(9), Duration.ZERO)) {
      assertThat(send(locked, "/v1/models", null).statusCode()).isEqualTo(401);
      assertThat(send(locked, "/health", null).statusCode()).isEqualTo(200);
      assertThat(header(send(locked, "/v1/models", null), "WWW-Authenticate")).isEqualTo("Bearer");
      for (String right : List.of("Bearer k", "bearer k", "BEARER  k")) {
        assertThat(ask(locked, "GET", "/v1/models", "Authorization", right).statusCode())
            .isEqualTo(200);
      }
      for (String wrong : List.of("k", "Basic k", "Bearer", "Bearer K", "Bearer k2")) {
        assertThat(ask(locked, "GET", "/v1/models", "Authorization", wrong).statusCode())
            .isEqualTo(401);
      }
    }
  }

  private static final String ENDLESS =
      "{'prompt': 'x', 'stream': true, 'max_tokens': 400, 'n': 16, 'logit_bias': {'1': -100}}";

  private static InputStream open(OpenAiServer to) throws Exception {
    InputStream in =
        CLIENT
            .send(
                request(to, "/v1/completions", ENDLESS), HttpResponse.BodyHandlers.ofInputStream())
            .body();
    assertThat(in.read()).isPositive();
    return in;
  }

  @Test
  @SuppressWarnings("try") // a stream is only held open
  void oneTooManyIsToldToComeBackAndAClientThatLeavesFreesItsPlace() throws Exception {
    try (InputStream first = open(server)) {
      try (InputStream second = open(server)) {
        HttpResponse<String> third = send(server, "/v1/completions", "{'prompt': 'x'}");
        assertThat(third.statusCode()).isEqualTo(429);
        assertThat(third.headers().firstValue("Retry-After")).contains("1");
        assertThat(metric("gemma_requests_active")).isEqualTo(2);
      }
    }
    await(server, 0);
  }

  @Test
  void theClockAndAStoppingServerCancel() throws Exception {
    try (OpenAiServer hasty = start(null, 1, 400, Duration.ofMillis(1), Duration.ZERO)) {
      HttpResponse<String> response =
          send(hasty, "/v1/completions", "{'prompt': 'x', 'n': 16, 'max_tokens': 400}");
      assertThat(response.statusCode()).isEqualTo(504);
      assertThat(header(response, "X-Should-Retry")).isEqualTo("false");
    }
    OpenAiServer stopping = start(null, 1, 400, Duration.ofMinutes(1), Duration.ofMillis(1));
    try (InputStream stream = open(stopping)) {
      stopping.close();
      assertThat(new String(stream.readAllBytes())).contains("The server is stopping");
    }
  }

  /** More than the buffers between the server and a client that does not read can hold. */
  private static final String MUCH =
      "{'prompt': 'x', 'max_tokens': 400, 'n': 16, 'logprobs': 20, 'logit_bias': {'1': -100}"
          + ", 'stream': ";

  /** A client that has sent this much of a request, and goes no further. */
  private static Socket halfway(OpenAiServer to, String body, int length) throws IOException {
    Socket client = new Socket();
    client.setReceiveBufferSize(4096);
    client.connect(new InetSocketAddress("127.0.0.1", to.port()));
    String head =
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            + ("Content-Length: " + length + "\r\n\r\n");
    client.getOutputStream().write((head + body).getBytes(StandardCharsets.UTF_8));
    return client;
  }

  @SuppressWarnings("try") // a client is only there
  @ParameterizedTest
  @CsvSource({"true", "false"})
  void theClockEndsARequestWhoseClientDoesNotRead(boolean streaming) throws Exception {
    String body = MUCH.replace('\'', '"') + streaming + "}";
    Duration time = Duration.ofSeconds(streaming ? 4 : 10);
    try (OpenAiServer timed = start(null, 1, 400, time, Duration.ZERO);
        Socket client = halfway(timed, body, body.length())) {
      await(timed, 1);
      await(timed, 0);
    }
  }

  @Test
  @SuppressWarnings("try")
  void aStoppingServerDoesNotWaitForAClientThatDoesNotRead() throws Exception {
    String body = MUCH.replace('\'', '"') + "true}";
    OpenAiServer stopping = start(null, 1, 400, Duration.ofMinutes(5), Duration.ofSeconds(4));
    try (Socket client = halfway(stopping, body, body.length())) {
      await(stopping, 1);
      stopping.close(); // the test's time is shorter than the request's
    }
  }

  @Test
  void theClockEndsARequestWhoseBodyDoesNotCome() throws Exception {
    try (OpenAiServer timed = start(null, 1, 400, Duration.ofSeconds(1), Duration.ZERO);
        Socket client = halfway(timed, "{", 100)) {
      assertThat(client.getInputStream().read()).isEqualTo(-1);
      while (!send(timed, "/metrics", null).body().contains("status=\"none\"")) {
        Thread.sleep(20); // counted after the connection was closed
      }
    }
  }

  /** Waits until so many requests are active, at most for the time of the test. */
  private static void await(OpenAiServer of, int active) throws Exception {
    while (metric(of, "gemma_requests_active") != active) {
      Thread.sleep(20);
    }
  }

  private interface Scenario {
    void run(OpenAiServer server, Gemma model, long page) throws Exception;
  }

  /** With room for keys and values of 256 tokens, in 8 pages of 32. */
  private static void withLittleMemory(Duration wait, Scenario scenario) throws Exception {
    GemmaConfig config = gemma.config();
    long page = 32L * config.numLayers() * config.numKvHeads() * config.headDim() * 2 * Float.BYTES;
    LoadOptions load = LoadOptions.defaults().withKvMemory(8 * page).withKvWait(wait);
    try (Gemma small = DemoModel.load(load);
        OpenAiServer full = OpenAiServer.start(small, Map.of(), plain())) {
      scenario.run(full, small, page);
    }
  }

  private static final String SHORT = "{'prompt': 'A king', 'max_tokens': 8";

  @ParameterizedTest
  @CsvSource({"true", "false"})
  void aRequestForWhichThereIsNoRoomInTimeIsToldToComeBack(boolean streaming) throws Exception {
    withLittleMemory(
        Duration.ofMillis(300),
        (full, small, page) -> {
          String body = SHORT + ", 'stream': " + streaming + "}";
          try (Session others = small.newSession()) {
            others.append(new int[8 * 32]);
            long start = System.nanoTime();
            HttpResponse<String> response = send(full, "/v1/completions", body);
            assertThat(System.nanoTime() - start).isGreaterThan(300_000_000);
            assertThat(response.statusCode()).as(response.body()).isEqualTo(503);
            assertThat(response.headers().firstValue("Retry-After")).contains("1");
            JsonNode error = JSON.readTree(response.body()).get("error");
            assertThat(error.get("code").asText()).isEqualTo("out_of_memory");
            assertThat(error.get("message").asText())
                .isEqualTo(
                    "keys and values: asked for "
                        + page
                        + " bytes, 0 are left of kvMemory, which is "
                        + 8 * page
                        + ", after 300 ms of waiting");
            assertThat(send(full, "/health", null).statusCode()).isEqualTo(200);
          }
          assertThat(send(full, "/v1/completions", body).statusCode()).isEqualTo(200);
        });
  }

  @Test
  void aRequestWaitsForRoomAndGetsItsText() throws Exception {
    String expected =
        ok("/v1/completions", SHORT + ", 'temperature': 0}").at("/choices").toString();
    withLittleMemory(
        Duration.ofMinutes(1),
        (full, small, page) -> {
          CompletableFuture<HttpResponse<String>> waiting;
          try (Session others = small.newSession()) {
            others.append(new int[8 * 32]);
            waiting =
                CLIENT.sendAsync(
                    request(full, "/v1/completions", SHORT + ", 'temperature': 0}"),
                    HttpResponse.BodyHandlers.ofString());
            assertThatThrownBy(() -> waiting.get(500, TimeUnit.MILLISECONDS))
                .isInstanceOf(TimeoutException.class);
          }
          assertThat(JSON.readTree(waiting.get().body()).at("/choices").toString())
              .isEqualTo(expected);
        });
  }

  @Test
  void aTextThatOutgrowsTheMemoryEndsItsStreamWithAnError() throws Exception {
    withLittleMemory(
        Duration.ofMinutes(1),
        (full, small, page) -> {
          HttpResponse<String> response = send(full, "/v1/completions", ENDLESS);
          assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
          assertThat(response.body()).contains("data: {\"id\"", "out_of_memory");
          assertThat(response.body()).doesNotContain("[DONE]");
        });
  }

  private static ServerOptions plain() {
    return new ServerOptions(
        "127.0.0.1",
        0,
        "demo",
        null,
        null,
        List.of(),
        9999,
        4,
        400,
        Duration.ofSeconds(50),
        Duration.ZERO);
  }

  @Test
  void aStreamWhoseModelFailsEndsWithAnError() throws Exception {
    Gemma closing = DemoModel.load(LoadOptions.defaults());
    try (OpenAiServer own = OpenAiServer.start(closing, Map.of(), plain());
        InputStream stream = open(own)) {
      closing.close();
      assertThat(new String(stream.readAllBytes(), StandardCharsets.UTF_8))
          .contains("\"message\":\"internal error\"")
          .doesNotContain("[DONE]");
    }
  }

  @Test
  @DisabledOnOs(OS.WINDOWS) // where a mapped file keeps its size
  void aModelThatCanNoLongerBeReadIsTold(@TempDir Path directory) throws Exception {
    DemoModel.extract(directory);
    try (Gemma mapped = Gemma.load(directory);
        OpenAiServer own = OpenAiServer.start(mapped, Map.of(), plain());
        InputStream stream = open(own)) {
      try (FileChannel weights =
          FileChannel.open(directory.resolve("model.safetensors"), StandardOpenOption.WRITE)) {
        weights.truncate(1_000_000);
      }
      assertThat(new String(stream.readAllBytes(), StandardCharsets.UTF_8))
          .contains("\"message\":\"internal error\"")
          .doesNotContain("[DONE]");
      HttpResponse<String> whole = send(own, "/v1/completions", SHORT + "}");
      assertThat(whole.statusCode()).isEqualTo(500);
      assertThat(whole.body()).contains("internal error");
      HttpResponse<String> health = send(own, "/health", null);
      assertThat(health.statusCode()).isEqualTo(503);
      assertThat(health.body()).contains("unreadable");
    }
  }

  @Test
  void aPromptThatNeverFitsIsRefusedAtOnce() throws Exception {
    withLittleMemory(
        Duration.ofMinutes(5), // longer than a test may take
        (full, small, page) -> {
          HttpResponse<String> response =
              send(full, "/v1/completions", "{'prompt': '" + "king ".repeat(300) + "'}");
          assertThat(response.statusCode()).as(response.body()).isEqualTo(400);
          assertThat(response.body()).contains("context_length_exceeded", "kvMemory");
          assertThat(response.headers().firstValue("Retry-After")).isEmpty();
        });
  }

  private static final Path CORE = Path.of("../../gemma-core/src/test/resources/dev/gemma4j");

  @Test
  void eachAdapterIsAModelOfItsOwn() throws Exception {
    ServerOptions options =
        new ServerOptions(
            "127.0.0.1",
            0,
            "base",
            null,
            null,
            List.of(),
            9999,
            4,
            99,
            Duration.ofSeconds(50),
            Duration.ZERO);
    try (Gemma base = Gemma.load(CORE.resolve("forward/gemma-mqa-f32"))) {
      Map<String, LoraAdapter> adapters = new LinkedHashMap<>();
      for (String name : List.of("every", "other")) {
        adapters.put(name, base.loadAdapter(CORE.resolve("lora/" + name)));
      }
      try (OpenAiServer adapting = OpenAiServer.start(base, adapters, options)) {
        JsonNode models = JSON.readTree(send(adapting, "/v1/models", null).body()).get("data");
        assertThat(models.findValuesAsText("id")).containsExactly("base", "every", "other");
        assertThat(JSON.readTree(send(adapting, "/v1/models/every", null).body()).get("id"))
            .isEqualTo(models.get(1).get("id"));
        assertThat(send(adapting, "/v1/models/none", null).statusCode()).isEqualTo(404);
        String body = "{'prompt': [2, 21, 77], 'temperature': 0, 'max_tokens': 20";
        JsonNode plain = completion(adapting, body + "}").get("choices");
        assertThat(completion(adapting, body + ", 'model': 'base'}").get("choices"))
            .isEqualTo(plain);
        for (Map.Entry<String, LoraAdapter> each : adapters.entrySet()) {
          GenerationOptions alone =
              GenerationOptions.builder()
                  .temperature(0)
                  .maxTokens(20)
                  .adapter(each.getValue())
                  .build();
          JsonNode answer = completion(adapting, body + ", 'model': '" + each.getKey() + "'}");
          assertThat(answer.get("model").asText()).isEqualTo(each.getKey());
          assertThat(answer.at("/choices/0/text").asText())
              .isEqualTo(base.generate(Prompt.ofIds(2, 21, 77), alone).text())
              .isNotEqualTo(plain.at("/0/text").asText());
        }
        HttpResponse<String> unknown =
            send(adapting, "/v1/completions", "{'model': 'none', 'prompt': 'x'}");
        assertThat(unknown.statusCode()).isEqualTo(404);
        assertThat(unknown.body()).contains("model_not_found", "'base', 'every', 'other'");
      }
    }
  }

  private static JsonNode completion(OpenAiServer to, String body) throws Exception {
    HttpResponse<String> response = send(to, "/v1/completions", body);
    assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
    return JSON.readTree(response.body());
  }
}
