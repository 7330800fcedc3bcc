package dev.gemma4j.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.assertj.core.api.Assertions.withinPercentage;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.gemma4j.Gemma;
import dev.gemma4j.LoadOptions;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.FileSystemLoopException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The command's contract: what scripts rely on. */
class CommandTest {
  private static final ObjectMapper JSON = new ObjectMapper();

  private record Result(int status, String out, String err) {
    JsonNode json() throws IOException {
      return JSON.readTree(out);
    }
  }

  private static Result run(String in, String... args) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    ByteArrayOutputStream err = new ByteArrayOutputStream();
    int status =
        Main.run(
            args,
            new ByteArrayInputStream(in.getBytes(StandardCharsets.UTF_8)),
            new PrintStream(out, true, StandardCharsets.UTF_8),
            new PrintStream(err, true, StandardCharsets.UTF_8));
    return new Result(
        status, out.toString(StandardCharsets.UTF_8), err.toString(StandardCharsets.UTF_8));
  }

  private static Path resource(String name) {
    try {
      return Path.of(Objects.requireNonNull(CommandTest.class.getResource(name), name).toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  private static JsonNode goldens(String model) throws IOException {
    String name =
        model.endsWith(".gguf") ? model.replace(".gguf", ".goldens.json") : model + "/goldens.json";
    return JSON.readTree(resource(name).toFile());
  }

  private static ObjectNode object(Object... pairs) {
    ObjectNode object = JSON.createObjectNode();
    for (int i = 0; i < pairs.length; i += 2) {
      object.set((String) pairs[i], JSON.valueToTree(pairs[i + 1]));
    }
    return object;
  }

  private static final String MODEL = "gemma-mqa-f32";

  /** Made by make_adapters.py beside it. */
  private static final Path ADAPTER =
      Path.of("../gemma-core/src/test/resources/dev/gemma4j/lora/every");

  @Test
  void anAdapterIsSwitchedOnOrMerged(@TempDir Path directory) throws IOException {
    String adapter = ADAPTER.toString();
    String merged = directory.resolve("merged.gguf").toString();
    assertThat(
            run("", "quantize", model(), merged, "--type", "F32", "--merge-adapter", adapter)
                .status())
        .isZero();
    JsonNode goldens = JSON.readTree(ADAPTER.resolve("goldens.json").toFile());
    JsonNode prompt = goldens.get("prompts").get(2);
    JsonNode sequence = goldens.get("sequence");
    for (String[] options :
        new String[][] {
          {"--model", model(), "--adapter", adapter},
          {"--model", model(), "--merge-adapter", adapter},
          {"--model", merged}
        }) {
      JsonNode logits = json(object("ids", prompt.get("ids")), "logits", options).get("logits");
      for (int i = 0; i < logits.size(); i++) {
        assertThat(logits.get(i).doubleValue())
            .isCloseTo(prompt.get("last_logits").get(i).doubleValue(), within(5e-3));
      }
      JsonNode score = json(object("ids", sequence.get("ids")), "score", options).get("logprobs");
      for (int i = 0; i < score.size(); i++) {
        assertThat(score.get(i).doubleValue())
            .isCloseTo(sequence.get("logprobs").get(i).doubleValue(), within(2e-3));
      }
      ObjectNode request =
          object(
              "ids",
              prompt.get("ids"),
              "maxTokens",
              prompt.get("greedy").size(),
              "temperature",
              0,
              "ignoreEos",
              true);
      assertThat(json(request, "generate", options).get("ids")).isEqualTo(prompt.get("greedy"));
      JsonNode vector = json(object("text", "a word"), "embed", options);
      assertThat(vector).isNotEqualTo(json(object("text", "a word"), "embed", "--model", model()));
    }
  }

  private static JsonNode json(ObjectNode request, String command, String... options)
      throws IOException {
    List<String> arguments = new ArrayList<>(List.of(command, "--jsonl"));
    arguments.addAll(List.of(options));
    Result result = run(request + "\n", arguments.toArray(String[]::new));
    assertThat(result.err()).isEmpty();
    assertThat(result.status()).isZero();
    return result.json();
  }

  @Test
  void anAdapterThatDoesNotFitIsTold(@TempDir Path directory) throws IOException {
    String config = Files.readString(ADAPTER.resolve("adapter_config.json"));
    Files.writeString(
        directory.resolve("adapter_config.json"),
        config.replace("\"use_dora\": false", "\"use_dora\": true"));
    for (String option : new String[] {"--adapter", "--merge-adapter"}) {
      Result result = run("", "generate", "--model", model(), option, directory.toString(), "a");
      assertThat(result.status()).isEqualTo(1);
      assertThat(result.err())
          .contains("adapter_config.json: use_dora: found true")
          .hasLineCount(1);
    }
  }

  private static String model() {
    return resource(MODEL).toString();
  }

  @ParameterizedTest
  @ValueSource(strings = {"gemma-mqa-f32", "gemma-mqa.Q8_0.gguf"})
  void generatesLogitsAndScoresAsTheReference(String name) throws IOException {
    JsonNode goldens = goldens(name);
    String path = resource(name).toString();
    StringBuilder generate = new StringBuilder();
    StringBuilder logits = new StringBuilder();
    for (JsonNode prompt : goldens.get("prompts")) {
      generate
          .append(
              object(
                  "ids",
                  prompt.get("ids"),
                  "maxTokens",
                  prompt.get("greedy").size(),
                  "temperature",
                  0,
                  "ignoreEos",
                  true))
          .append('\n');
      logits.append(object("ids", prompt.get("ids"))).append('\n');
    }
    Result generated = run(generate.toString(), "generate", "--jsonl", "--model", path);
    assertThat(generated.err()).isEmpty();
    assertThat(generated.status()).isZero();
    List<String> lines = generated.out().lines().toList();
    for (int i = 0; i < lines.size(); i++) {
      JsonNode answer = JSON.readTree(lines.get(i));
      JsonNode prompt = goldens.get("prompts").get(i);
      assertThat(answer.get("ids")).isEqualTo(prompt.get("greedy"));
      assertThat(answer.get("finishReason").textValue()).isEqualTo("length");
      assertThat(answer.get("usage").get("promptTokens").intValue())
          .isEqualTo(prompt.get("ids").size());
      assertThat(answer.get("usage").get("decodeMs").doubleValue()).isPositive();
    }
    assertThat(lines).hasSize(goldens.get("prompts").size());

    lines = run(logits.toString(), "logits", "--jsonl", "--model", path).out().lines().toList();
    for (int i = 0; i < lines.size(); i++) {
      JsonNode found = JSON.readTree(lines.get(i)).get("logits");
      JsonNode expected = goldens.get("prompts").get(i).get("last_logits");
      assertThat(found.size()).isEqualTo(expected.size());
      for (int j = 0; j < found.size(); j++) {
        assertThat(found.get(j).doubleValue())
            .isCloseTo(expected.get(j).doubleValue(), within(2e-3));
      }
    }
    assertThat(lines).hasSize(goldens.get("prompts").size());

    JsonNode sequence = goldens.get("sequence");
    JsonNode score =
        run(object("ids", sequence.get("ids")) + "\n", "score", "--jsonl", "--model", path).json();
    assertThat(score.get("logprobs").size()).isEqualTo(sequence.get("ids").size() - 1);
    for (int i = 0; i < score.get("logprobs").size(); i++) {
      assertThat(score.get("logprobs").get(i).doubleValue())
          .isCloseTo(sequence.get("logprobs").get(i).doubleValue(), within(2e-3));
    }
    double perplexity = sequence.get("perplexity").doubleValue();
    assertThat(score.get("perplexity").doubleValue())
        .isCloseTo(perplexity, within(1e-3 * perplexity));
  }

  @Test
  void speculationChangesNoText() throws IOException {
    String plain =
        run(
                "",
                "generate",
                "--raw",
                "--seed",
                "3",
                "--max-tokens",
                "20",
                "--model",
                model(),
                "abab")
            .out();
    Result lookup =
        run(
            "{\"prompt\":\"abab\",\"seed\":3,\"maxTokens\":20,\"lookup\":4}\n",
            "generate",
            "--jsonl",
            "--model",
            model());
    assertThat(lookup.json().get("text").textValue()).isEqualTo(plain);
    JsonNode draft =
        run(
                "",
                "generate",
                "--json",
                "--seed",
                "3",
                "--max-tokens",
                "20",
                "--model",
                model(),
                "--draft",
                model(),
                "--draft-tokens",
                "3",
                "abab")
            .json();
    assertThat(draft.get("text").textValue()).isEqualTo(plain);
    assertThat(draft.get("usage").get("draftedTokens").intValue()).isPositive();
    assertThat(run("", "generate", "--lookup", "99", "abab").status()).isEqualTo(2);
  }

  @Test
  void tellsHowProbableEachTokenIs() throws IOException {
    String[] greedy = {"--temperature", "0", "--max-tokens", "6", "--ignore-eos", "--model"};
    List<String> command = new ArrayList<>(List.of("generate", "--logprobs", "3", "abab"));
    command.addAll(List.of(greedy));
    command.add(model());
    Result text = run("", command.toArray(String[]::new));
    command.add("--json");
    JsonNode json = run("", command.toArray(String[]::new)).json();
    assertThat(text.status()).isZero();
    assertThat(text.out())
        .isEqualTo("abab" + json.get("text").textValue() + System.lineSeparator());

    JsonNode logprobs = json.get("logprobs");
    assertThat(logprobs).hasSize(6);
    List<String> table = text.err().lines().toList();
    assertThat(table).hasSize(6);
    ArrayNode prompt = JSON.createArrayNode().add(2);
    run("abab", "tokenize", "--json", "--model", model()).json().get("ids").forEach(prompt::add);
    int before = prompt.size();
    prompt.addAll((ArrayNode) json.get("ids"));
    JsonNode score =
        run(object("ids", prompt) + "\n", "score", "--jsonl", "--model", model())
            .json()
            .get("logprobs");
    for (int i = 0; i < 6; i++) {
      JsonNode token = logprobs.get(i);
      assertThat(token.get("id")).isEqualTo(json.get("ids").get(i));
      assertThat(token.get("logprob").doubleValue())
          .isCloseTo(score.get(before - 1 + i).doubleValue(), within(1e-4));
      assertThat(token.get("best")).hasSize(3);
      assertThat(token.get("best").get(0).get("id")).as("greedy").isEqualTo(token.get("id"));
      assertThat(token.get("best").get(0).get("piece")).isEqualTo(token.get("piece"));
      assertThat(token.get("best").get(1).get("logprob").doubleValue())
          .isLessThanOrEqualTo(token.get("logprob").doubleValue())
          .isGreaterThanOrEqualTo(token.get("best").get(2).get("logprob").doubleValue());
      String[] cells = table.get(i).split("  \\| ");
      assertThat(cells).hasSize(4);
      assertThat(Double.parseDouble(cells[0].strip().split(" ")[0]))
          .isCloseTo(token.get("logprob").doubleValue(), within(1e-3));
      assertThat(cells[3])
          .contains(token.get("best").get(2).get("piece").textValue().replace("\n", "\\n"));
    }

    ObjectNode request = object("prompt", "abab", "maxTokens", 2, "ignoreEos", true);
    assertThat(json(request, "generate", "--model", model()).has("logprobs")).isFalse();
    request.put("logprobs", 0);
    JsonNode alone = json(request, "generate", "--model", model()).get("logprobs");
    assertThat(alone).hasSize(2);
    assertThat(alone.get(0).get("best")).isEmpty();
    request.put("logprobs", Integer.MAX_VALUE);
    assertThat(json(request, "generate", "--model", model()).at("/logprobs/0/best"))
        .as("the whole vocabulary")
        .hasSize(512);
    assertThat(run("", "generate", "--logprobs", "-2", "abab"))
        .returns(2, Result::status)
        .extracting(Result::err)
        .asString()
        .contains("logProbabilities must be 0 or more");
  }

  @Test
  void embedsTexts() throws IOException {
    JsonNode vector = run("", "embed", "--model", model(), "abc").json().get("embedding");
    assertThat(vector.size()).isEqualTo(64);
    double squares = 0;
    for (JsonNode value : vector) {
      squares += value.doubleValue() * value.doubleValue();
    }
    assertThat(squares).isCloseTo(1, within(1e-5));
    JsonNode line = run("{\"text\":\"abc\"}\n", "embed", "--jsonl", "--model", model()).json();
    assertThat(line.get("embedding")).isEqualTo(vector);
    assertThat(run("", "embed", "--json", "--model", model(), "abc").json().get("embedding"))
        .isEqualTo(vector);
    assertThat(run("", "embed", "--pooling", "max", "abc").status()).isEqualTo(2);
  }

  @Test
  void logitsOfAllPositions() throws IOException {
    JsonNode all = run("", "logits", "--all", "--json", "--model", model(), "2", "3,4").json();
    assertThat(all.get("logits").size()).isEqualTo(3);
    JsonNode last = run("", "logits", "--json", "--model", model(), "2", "3", "4").json();
    assertThat(last.get("logits").size()).isEqualTo(512);
    Result human = run("", "logits", "--model", model(), "2");
    assertThat(human.out().lines()).hasSize(10);
    Result each = run("", "logits", "--all", "--model", model(), "2", "3", "4");
    assertThat(each.out().lines()).hasSize(33);
    assertThat(each.out()).startsWith("after <bos>").contains(human.out());
  }

  @Test
  void tokenizesAndBack() throws IOException {
    String text = "Hello, wörld 你好 😀\n";
    JsonNode tokens =
        run(object("text", text) + "\n", "tokenize", "--jsonl", "--model", model()).json();
    assertThat(tokens.get("decoded").textValue()).isEqualTo(text);
    assertThat(tokens.get("pieces").size()).isEqualTo(tokens.get("ids").size());
    JsonNode back =
        run(object("ids", tokens.get("ids")) + "\n", "detokenize", "--jsonl", "--model", model())
            .json();
    assertThat(back.get("text").textValue()).isEqualTo(text);
    JsonNode piped = run(text, "tokenize", "--json", "--bos", "--model", model()).json();
    assertThat(piped.get("ids").get(0).intValue()).isEqualTo(2);
    assertThat(piped.get("ids").size()).isEqualTo(tokens.get("ids").size() + 1);
    List<String> arguments = new ArrayList<>(List.of("detokenize", "--model", model()));
    ((ArrayNode) tokens.get("ids")).forEach(id -> arguments.add(id.toString()));
    assertThat(run("", arguments.toArray(String[]::new)).out())
        .isEqualTo(text + System.lineSeparator());
  }

  @Test
  void streamedRawAndJsonTextsAreTheSame() throws IOException {
    String[] common = {
      "--model", model(), "--seed", "5", "--max-tokens", "30", "--temperature", "1.2", "The"
    };
    JsonNode json = run("", concat(new String[] {"generate", "--json"}, common)).json();
    Result raw = run("", concat(new String[] {"generate", "--raw"}, common));
    Result human = run("", concat(new String[] {"generate"}, common));
    String text = json.get("text").textValue();
    assertThat(raw.out()).isEqualTo(text);
    assertThat(human.out()).isEqualTo("The" + text + System.lineSeparator());
    assertThat(json.get("ids").size()).isLessThanOrEqualTo(30);
  }

  private static String[] concat(String[] a, String... b) {
    List<String> all = new ArrayList<>(List.of(a));
    all.addAll(List.of(b));
    return all.toArray(String[]::new);
  }

  @Test
  void chatAnswersMessages() throws IOException {
    String request =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"maxTokens\": 4,"
            + " \"temperature\": 0}\n";
    JsonNode answer = run(request, "chat", "--jsonl", "--model", model()).json();
    String text =
        run("", "chat", "--model", model(), "--max-tokens", "4", "--temperature", "0", "Hi").out();
    assertThat(text).isEqualTo(answer.get("text").textValue() + System.lineSeparator());
    Result talk = run("Hi\nMore\n", "chat", "--model", model(), "--max-tokens", "4");
    assertThat(talk.status()).isZero();
    assertThat(talk.err()).as("nobody to be prompted").isEmpty();
    assertThat(talk.out().length()).isPositive();
    Result bad =
        run(
            "{\"messages\": [{\"role\": \"robot\", \"content\": \"Hi\"}]}\n",
            "chat",
            "--jsonl",
            "--model",
            model());
    assertThat(bad.status()).isEqualTo(1);
    assertThat(bad.err()).contains("line 1: messages").contains("assistant");
    String more =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\", \"tone\": \"kind\"}]}\n";
    assertBad(run(more, "chat", "--jsonl", "--model", model()), 1, "line 1: unknown key tone");
  }

  @Test
  void aMessageThatDoesNotFitIsSaidSoAndTheChatGoesOn() {
    String model = model();
    String[] chat = {"chat", "--max-tokens", "4", "--context", "64", "--model", model};
    Result talk = run("Hi\n" + "word ".repeat(50) + "\nMore\n", chat);
    assertBad(
        talk, 1, "gemma: ", "tokens at position", "exceed the context of 64 positions; a shorter");
    Result without = run("Hi\nMore\n", chat);
    assertThat(without.status()).isZero();
    assertThat(talk.out().lines().count()).isEqualTo(without.out().lines().count()).isPositive();
    assertBad(run("Hi\n".repeat(99), chat), 1, "exceed the context of 64 positions"); // and ends
  }

  @Test
  void inspectShowsEverything() throws IOException {
    JsonNode report = run("", "inspect", "--json", model()).json();
    assertThat(report.get("config").get("numLayers").intValue()).isEqualTo(3);
    assertThat(report.get("tokenizer").get("pieces").intValue()).isEqualTo(512);
    assertThat(report.get("tensors").size()).isEqualTo(2 + 9 * 3);
    JsonNode first = report.get("tensors").get(0);
    assertThat(first.get("type").textValue()).isEqualTo("F32");
    assertThat(first.get("bytes").longValue()).isPositive();
    assertThat(first.get("shape").size()).isEqualTo(2);
    Result human = run("", "inspect", resource("gemma-mqa.Q8_0.gguf").toString());
    assertThat(human.status()).isZero();
    assertThat(human.out()).contains("Q8_0").contains("general.architecture").contains("gemma");
  }

  @Test
  void benchMeasures() throws IOException {
    JsonNode report =
        run("", "bench", "--json", "--model", model(), "-p=8,16", "-n=4", "-r=1", "--warm-up=0")
            .json();
    assertThat(report.get("prefill").size()).isEqualTo(2);
    assertThat(report.get("prefill").get(1).get("tokens").intValue()).isEqualTo(16);
    assertThat(report.get("decode").get("tokensPerSecond").doubleValue()).isPositive();
    assertThat(report.get("readBandwidthGBps").doubleValue()).isPositive();
    assertThat(report.get("decodeBandwidthShare").doubleValue()).isPositive();
    assertThat(report.get("weights").textValue()).isEqualTo("F32");
  }

  private static void assertBad(Result result, int status, String... parts) {
    assertThat(result.status()).as(result.err()).isEqualTo(status);
    assertThat(result.err().strip().lines()).as(result.err()).hasSize(1);
    assertThat(result.err()).contains(parts).doesNotContain("\tat ");
  }

  @Test
  void badModelsGiveOneLineAndStatus1(@TempDir Path directory) throws IOException {
    assertBad(run("", "generate", "--model", "/no/such/model", "x"), 1, "/no/such/model");
    Files.writeString(directory.resolve("x.gguf"), "GGUF");
    assertBad(run("", "inspect", directory.resolve("x.gguf").toString()), 1, "x.gguf");
    Path cut = directory.resolve("cut");
    Files.createDirectory(cut);
    for (String file : List.of("config.json", "tokenizer.model", "model.safetensors")) {
      Files.copy(resource(MODEL).resolve(file), cut.resolve(file));
    }
    byte[] weights = Files.readAllBytes(cut.resolve("model.safetensors"));
    Files.write(
        cut.resolve("model.safetensors"), java.util.Arrays.copyOf(weights, weights.length / 2));
    assertBad(run("", "generate", "--model", cut.toString(), "x"), 1, "model.safetensors");
    String config = Files.readString(cut.resolve("config.json"));
    Files.writeString(cut.resolve("config.json"), config.replace("\"gemma\"", "\"llama\""));
    assertBad(
        run("", "generate", "--model", cut.toString(), "x"), 1, "config.json", "llama", "gemma");
    assertBad(run("", "inspect", resource("model_dir-02").toString()), 1, "up_proj");
    assertBad(run("", "inspect", resource("model_dir-03").toString()), 1, "q_proj");
    Result verbose = run("", "inspect", "--verbose", resource("model_dir-03").toString());
    assertThat(verbose.err()).contains("\tat ");
  }

  @Test
  void badRequestsNameTheirLine() {
    String good = "{\"ids\": [2], \"maxTokens\": 1}\n";
    String[][] cases = {
      {"{\"ids\": [2]", "line 2: no valid JSON"},
      {"[1]", "line 2: found ARRAY, expected an object"},
      {"{\"idz\": [2]}", "line 2: unknown key idz"},
      {"{\"ids\": \"x\"}", "line 2: ids: found \"x\", expected an array of token ids"},
      {"{\"ids\": [2, 99999]}", "line 2: token id must be in [0, 512), but is 99999"},
      {"{\"ids\": []}", "line 2: no tokens"},
      {"{\"ids\": [2], \"temperature\": -1}", "line 2: temperature must be"},
      {"{\"ids\": [2], \"topK\": 1.5}", "line 2: topK: found 1.5, expected an integer"},
      {"{\"ids\": [2], \"prompt\": \"x\"}", "line 2: expected either prompt or ids"},
      {"{}", "line 2: expected either prompt or ids"}
    };
    for (String[] c : cases) {
      Result result = run(good + c[0] + "\n" + good, "generate", "--jsonl", "--model", model());
      assertBad(result, 1, c[1]);
      assertThat(result.out().lines()).as(c[0]).hasSize(1);
    }
  }

  @Test
  void wrongUsageIsStatus2() {
    assertBad(run(""), 2, "expected a command");
    assertBad(run("", "fly"), 2, "fly");
    assertBad(run("", "generate", "--fly"), 2, "--fly");
    assertBad(run("", "generate", "--temperature", "hot", "x"), 2, "--temperature", "hot");
    assertBad(run("", "generate", "--temperature", "-1", "x"), 2, "temperature must be");
    assertBad(run("", "generate", "--threads", "0", "x"), 2, "threads must be");
    assertBad(run("", "generate", "--weights", "Q9", "x"), 2, "Q9", "Q8_0");
    assertBad(run("", "logits", "--model", model()), 2, "expected token ids");
    assertBad(run("", "logits", "--model", model(), "x"), 2, "found x, expected a token id");
    assertBad(run("", "inspect"), 2, "PATH");
    assertBad(run("", "bench", "-r", "2000000000"), 2, "-r must be in [1, 1000000]");
    assertBad(run("", "tokenize", "-hello"), 2, "-hello");
    assertBad(run("2 3", "detokenize"), 2, "expected token ids");
    assertThat(run("", "--help").status()).isZero();
    assertThat(run("", "generate", "--help").out()).contains("--max-tokens");
  }

  @Test
  void whatWouldBeIgnoredIsWrongUsageBeforeAnythingIsLoaded() {
    String[][] cases = {
      {"generate", "--jsonl", "x", "found x, but --jsonl reads from standard input"},
      {"generate", "--json", "--jsonl", "expected one of --json and --jsonl"},
      {"generate", "--draft-tokens", "4", "x", "--draft-tokens: there is no --draft"},
      {
        "generate",
        "--draft",
        "/no",
        "--draft-tokens",
        "99",
        "x",
        "--draft-tokens: tokens must be in [1, 15], but is 99"
      },
      {"generate", "--draft", "/no", "--lookup", "2", "x", "expected one of --draft and --lookup"},
      {"generate", "--lookup", "-3", "x", "lookup, if not 0: tokens must be in [1, 15], but is -3"},
      {"chat", "--jsonl", "x", "found x, but --jsonl reads"},
      {"chat", "--json", "--jsonl", "expected one of --json and --jsonl"},
      {"chat", "--no-bos", "x", "--no-bos"},
      {"tokenize", "--jsonl", "x", "found x"},
      {"tokenize", "--json", "--jsonl", "expected one of"},
      {"detokenize", "--jsonl", "2", "3", "found 2"},
      {"detokenize", "--json", "--jsonl", "expected one of"},
      {"logits", "--jsonl", "2", "found 2"},
      {"logits", "--json", "--jsonl", "expected one of"},
      {"score", "--jsonl", "x", "found x"},
      {"score", "--jsonl", "--ids", "2,3", "--ids: --jsonl reads it"},
      {"score", "--json", "--jsonl", "expected one of"},
      {"score", "--ids", "2,3", "x", "expected either --ids or TEXT"},
      {"embed", "--jsonl", "x", "found x"}
    };
    for (String[] c : cases) {
      List<String> args = new ArrayList<>(List.of(c).subList(0, c.length - 1));
      args.addAll(1, List.of("--model", "/no/such/model"));
      assertBad(run("{}", args.toArray(String[]::new)), 2, c[c.length - 1]);
    }
  }

  @Test
  void aChatAppliesWhatItIsGiven() throws IOException {
    String[] greedy = {"chat", "--temperature", "0", "--max-tokens", "4", "--model", model()};
    ObjectNode user = object("role", "user", "content", "Hi");
    ObjectNode system = object("role", "system", "content", "You are terse.");
    ObjectNode request = object("messages", List.of(system, user));
    JsonNode told = run(request.toString(), concat(greedy, "--jsonl")).json();
    request = object("messages", List.of(user));
    String[] option = concat(greedy, "--jsonl", "--system", "You are terse.");
    JsonNode answer = run(request.toString(), option).json();
    assertThat(answer.at("/usage/promptTokens")).isEqualTo(told.at("/usage/promptTokens"));
    assertThat(answer.get("ids")).isEqualTo(told.get("ids"));
    request = object("messages", List.of(system, user));
    option[option.length - 1] = "A system text that the request replaces.";
    answer = run(request.toString(), option).json();
    assertThat(answer.at("/usage/promptTokens")).isEqualTo(told.at("/usage/promptTokens"));

    String text = run("", concat(greedy, "Hi")).out();
    assertThat(run("", concat(greedy, "--raw", "Hi")).out() + System.lineSeparator())
        .isEqualTo(text);
    request = object("messages", List.of(user), "noBos", true);
    assertBad(run(request.toString(), concat(greedy, "--jsonl")), 1, "unknown key noBos");
  }

  @Test
  void filesThatCannotBeUsedSayWhy(@TempDir Path directory) throws IOException {
    // What the system says; a test that runs as root is denied nothing.
    assertThat(Main.message(new AccessDeniedException("x.gguf")))
        .isEqualTo("x.gguf: permission denied");
    assertThat(Main.message(new NoSuchFileException("x.gguf")))
        .isEqualTo("x.gguf: no such file or directory");
    assertThat(Main.message(new NotDirectoryException("x.gguf")))
        .isEqualTo("x.gguf: not a directory");
    assertThat(Main.message(new FileAlreadyExistsException("x.gguf")))
        .isEqualTo("x.gguf: it exists already");
    assertThat(Main.message(new FileSystemException("x.gguf", null, "Read-only file system")))
        .isEqualTo("x.gguf: Read-only file system");
    assertThat(Main.message(new FileSystemLoopException("x.gguf")))
        .isEqualTo("x.gguf: FileSystemLoopException");
    assertBad(
        run("", "generate", "--json-schema", directory.toString(), "x"),
        2,
        "json-schema: cannot read " + directory + ": ",
        "irectory");
    Path file = Files.write(directory.resolve("file"), new byte[] {(byte) 0xff});
    assertBad(run("", "generate", "--json-schema", file.toString(), "x"), 2, file + ": not UTF-8");
  }

  @Test
  void aContextThatIsTooLargeOrTooSmallSaysSo() {
    assertBad(run("", "generate", "--model", model(), "--context", "9000", "x"), 1, "9000", "8192");
    assertBad(
        run("", "score", "--model", model(), "--context", "1", "x"), 1, "expected at least 2");
    Result tooLong =
        run("", "generate", "--model", model(), "--context", "2", "a long prompt here");
    assertBad(tooLong, 1, "2");
    assertThat(tooLong.out()).isEmpty();
    assertThat(run("", "tokenize", "--context", "0", "x").status()).isZero();
  }

  @Test
  void weightTypesAndKernelsAreChosen() throws IOException {
    for (String type : List.of("F32", "BF16", "F16", "Q8_0", "Q4_0", "q8_0")) {
      JsonNode logits =
          run("", "logits", "--json", "--model", model(), "--weights", type, "2", "7").json();
      assertThat(logits.get("logits").size()).isEqualTo(512);
    }
    assertThat(run("", "logits", "--kernels", "scalar", "--model", model(), "2").status()).isZero();
  }

  /** Runs a command until it has written something, then interrupts it, as Ctrl-C does. */
  private static Result interrupted(String in, String... args) throws InterruptedException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    ByteArrayOutputStream err = new ByteArrayOutputStream();
    AtomicInteger status = new AtomicInteger(-1);
    Thread command =
        Thread.ofPlatform()
            .start(
                () ->
                    status.set(
                        Main.run(
                            args,
                            new ByteArrayInputStream(in.getBytes(StandardCharsets.UTF_8)),
                            new PrintStream(out, true, StandardCharsets.UTF_8),
                            new PrintStream(err, true, StandardCharsets.UTF_8))));
    while (out.size() == 0 && command.isAlive()) {
      Thread.sleep(1);
    }
    command.interrupt();
    command.join();
    return new Result(
        status.get(), out.toString(StandardCharsets.UTF_8), err.toString(StandardCharsets.UTF_8));
  }

  @Test
  void anInterruptEndsEverythingWithStatus130() throws InterruptedException {
    Result human =
        interrupted(
            "", "generate", "--model", model(), "--ignore-eos", "--max-tokens", "8000", "x");
    assertThat(human.status()).isEqualTo(130);
    assertThat(human.out()).endsWith(System.lineSeparator());
    assertThat(human.err()).isEmpty();
    int count = 5000;
    String line = "{\"prompt\": \"x\", \"maxTokens\": 50, \"ignoreEos\": true}\n";
    Result lines = interrupted(line.repeat(count), "generate", "--jsonl", "--model", model());
    assertThat(lines.status()).isEqualTo(130);
    assertThat(lines.out().lines().filter(l -> l.contains("cancelled")).count())
        .as("the rest of the requests is not answered")
        .isLessThanOrEqualTo(1);
    assertThat(lines.err()).isEmpty();
    Thread.currentThread().interrupt(); // as early as the load
    Result early = run("", "generate", "--model", model(), "x");
    assertThat(Thread.interrupted()).isTrue();
    assertThat(early.status()).isEqualTo(130);
    assertThat(early.err()).isEmpty();
  }

  /** Runs a command whose output takes no more than so many writes. */
  private static Result limited(int writes, String reason, InputStream in, String... args) {
    ByteArrayOutputStream taken = new ByteArrayOutputStream();
    ByteArrayOutputStream err = new ByteArrayOutputStream();
    AtomicInteger left = new AtomicInteger(writes);
    OutputStream out =
        new OutputStream() {
          @Override
          public void write(int b) throws IOException {
            write(new byte[] {(byte) b}, 0, 1);
          }

          @Override
          public void write(byte[] bytes, int from, int count) throws IOException {
            if (left.getAndDecrement() <= 0) {
              throw new IOException(reason);
            }
            taken.write(bytes, from, count);
          }
        };
    int status = Main.run(args, in, out, new PrintStream(err, true, StandardCharsets.UTF_8));
    return new Result(
        status, taken.toString(StandardCharsets.UTF_8), err.toString(StandardCharsets.UTF_8));
  }

  @Test
  void outputThatCannotBeWrittenIsTold() {
    String full = "No space left on device";
    for (String[] command :
        new String[][] {
          {"--help"},
          {"generate", "--help"},
          {"generate", "--max-tokens", "5", "x"},
          {"generate", "--max-tokens", "5", "--json", "x"},
          {"generate", "--max-tokens", "5", "--raw", "x"},
          {"chat", "--max-tokens", "5", "x"},
          {"chat", "--max-tokens", "5"},
          {"tokenize", "x"},
          {"logits", "2"},
          {"inspect", model()}
        }) {
      Result result = limited(0, full, new ByteArrayInputStream(new byte[] {'x', '\n'}), command);
      assertThat(result.status()).as(String.join(" ", command)).isEqualTo(1);
      assertThat(result.err().lines())
          .containsExactly("gemma: cannot write to standard output: " + full);
    }
  }

  @Test
  void aCommandThatNobodyReadsStops() {
    String line = "{\"prompt\": \"x\", \"maxTokens\": 2, \"ignoreEos\": true}\n";
    InputStream in = new ByteArrayInputStream(line.repeat(1000).getBytes(StandardCharsets.UTF_8));
    Result lines = limited(2, "Broken pipe", in, "generate", "--jsonl", "--model", model());
    assertThat(in).as("the rest of the requests").isNotEmpty();
    assertThat(lines.out()).hasLineCount(2);
    assertThat(lines.err()).isEmpty();
    assertThat(lines.status()).isEqualTo(141);
    Result text =
        limited(
            3,
            "Broken pipe",
            InputStream.nullInputStream(),
            "generate",
            "--model",
            model(),
            "--ignore-eos",
            "--max-tokens",
            "8000",
            "x");
    assertThat(text.err()).isEmpty();
    assertThat(text.status()).isEqualTo(141);
    assertThat(text.out()).startsWith("x");
  }

  @Test
  void aTextThatBeginsWithAnAtSignIsNoFile(@TempDir Path directory) throws IOException {
    Path file = Files.writeString(directory.resolve("file"), "secret words");
    String text = "@" + file;
    assertThat(run("", "tokenize", "--json", "--model", model(), text).json().get("decoded"))
        .isEqualTo(JSON.valueToTree(text));
  }

  @Test
  void aTokenizersFileIsEnoughForTokens() throws IOException {
    Path file = resource(MODEL).resolve("tokenizer.model");
    JsonNode alone = run("", "tokenize", "--json", "--model", file.toString(), "a king").json();
    assertThat(alone).isEqualTo(run("", "tokenize", "--json", "--model", model(), "a king").json());
    assertBad(run("", "tokenize", "--model", "/no/such/x.model", "a"), 1, "/no/such/x.model");
    assertBad(run("", "detokenize", "--model", model(), "512"), 1, "512");
  }

  @Test
  void constraintsShapeTheText(@TempDir Path directory) throws IOException {
    assertThat(run("", "generate", "--raw", "--choice", "ja", "--choice", "nein", "Well,").out())
        .isIn("ja", "nein");
    Result date =
        run("", "generate", "--json", "--regex", "\\d{4}-\\d\\d", "--seed", "1", "It was in");
    assertThat(date.json().get("text").textValue()).matches("\\d{4}-\\d\\d");
    assertThat(date.json().get("finishReason").textValue()).isEqualTo("eos");
    Path schema = directory.resolve("schema.json");
    Files.writeString(
        schema, "{\"type\": \"array\", \"items\": {\"enum\": [1, \"a\"]}, \"maxItems\": 9}");
    Result list = run("", "generate", "--raw", "--json-schema", schema.toString(), "A list:");
    assertThat(JSON.readTree(list.out()).isArray()).isTrue();

    String requests =
        object("prompt", "x", "jsonSchema", object("type", "boolean"))
            + "\n"
            + object("prompt", "x", "choice", List.of("a", "b"), "typical", 0.5)
            + "\n"
            + object("prompt", "x")
            + "\n";
    Result lines = run(requests, "generate", "--jsonl", "--regex", "[0-9]{3}");
    assertThat(lines.err()).isEmpty();
    List<JsonNode> answers = new ArrayList<>();
    for (String line : lines.out().lines().toList()) {
      answers.add(JSON.readTree(line));
    }
    assertThat(answers.get(0).get("text").textValue()).isIn("true", "false");
    assertThat(answers.get(1).get("text").textValue()).isIn("a", "b");
    assertThat(answers.get(2).get("text").textValue()).matches("[0-9]{3}");
    String none = object("prompt", "x", "choice", List.of()) + "\n";
    assertBad(run(none, "generate", "--jsonl"), 1, "line 1: choice: found [], expected");
  }

  /** Gives the same bytes for ever. */
  private static InputStream endless(String line) {
    byte[] bytes = line.getBytes(StandardCharsets.UTF_8);
    return new InputStream() {
      private int position;

      @Override
      public int read() {
        return bytes[position++ % bytes.length] & 0xff;
      }

      @Override
      public int read(byte[] into, int from, int length) {
        for (int i = 0; i < length; i++) {
          into[from + i] = (byte) read();
        }
        return length;
      }
    };
  }

  private static String errorOf(InputStream in, String... args) {
    Result result = limited(Integer.MAX_VALUE, "", in, args);
    assertThat(result.status()).isEqualTo(1);
    return result.err().strip();
  }

  @Test
  void inputMustEnd() {
    assertThat(errorOf(endless("a"), "tokenize"))
        .isEqualTo("gemma: standard input: more than 67108864 bytes");
    assertThat(errorOf(endless("a"), "tokenize", "--jsonl"))
        .isEqualTo("gemma: line 1: longer than 16777216 characters");
    assertThat(errorOf(endless("\u2581"), "chat"))
        .isEqualTo("gemma: longer than 16777216 characters");
  }

  @Test
  @EnabledOnOs(OS.LINUX)
  void aSchemaMustEndAndIsReadOnce(@TempDir Path directory) throws Exception {
    assertBad(
        run("", "generate", "--json-schema", "/dev/zero", "x"),
        2,
        "json-schema: /dev/zero: more than 16777216 bytes");
    Path pipe = directory.resolve("pipe");
    assertThat(new ProcessBuilder("mkfifo", pipe.toString()).start().waitFor()).isZero();
    for (String command : new String[] {"generate", "chat"}) {
      Thread writer =
          Thread.ofVirtual()
              .start(
                  () -> {
                    try {
                      Files.writeString(pipe, "{\"enum\": [true]}");
                    } catch (IOException e) {
                      throw new java.io.UncheckedIOException(e);
                    }
                  });
      assertThat(run("", command, "--raw", "--json-schema", pipe.toString(), "x").out())
          .isEqualTo("true");
      writer.join();
    }
  }

  @Test
  void aLineMayBeginWithAByteOrderMarkAndEndAsOnWindows() throws IOException {
    Result result = run("\ufeff{\"text\":\"a\"}\r\n\r\n{\"text\":\"a\"}", "tokenize", "--jsonl");
    assertThat(result.err()).isEmpty();
    assertThat(result.out().lines().distinct()).hasSize(1);
    assertThat(result.out().lines()).hasSize(2);
    assertBad(run("{\"text\":\"a\"}\n\ufeff{}", "tokenize", "--jsonl"), 1, "line 2: no valid JSON");
  }

  @Test
  void whatAFileSaysDoesNotReachTheTerminal(@TempDir Path directory) throws IOException {
    for (String file : List.of("config.json", "tokenizer.model", "model.safetensors")) {
      Files.copy(resource(MODEL).resolve(file), directory.resolve(file));
    }
    Files.writeString(directory.resolve("chat_template.jinja"), "a\u001b[2Jb\u009b\nc");
    String report = run("", "inspect", directory.toString()).out();
    assertThat(report).contains("chatTemplate a\\u001b[2Jb\\u009b\\nc");
    JsonNode json = run("", "inspect", "--json", directory.toString()).json();
    assertThat(json.get("chatTemplate").textValue()).isEqualTo("a\u001b[2Jb\u009b\nc");
  }

  @Test
  void whatARequestOrAnArgumentSaysDoesNotReachTheTerminalEither() {
    assertBad(
        run("{\"\\u001b[2J\\r\": 1}", "tokenize", "--jsonl"),
        1,
        "line 1: unknown key \\u001b[2J\\u000d,");
    assertBad(run("", "tokenize", "--\u001b[2J"), 2, "--\\u001b[2J");
  }

  private static int java(Path directory, String... command) throws Exception {
    List<String> all =
        new ArrayList<>(
            List.of("sh", "-c", "exec 3>\"$0/own\"; exec \"$@\"", directory.toString()));
    all.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    all.addAll(List.of("-cp", System.getProperty("java.class.path")));
    all.addAll(List.of(command));
    return new ProcessBuilder(all)
        .redirectOutput(ProcessBuilder.Redirect.DISCARD)
        .redirectError(directory.resolve("filtered").toFile())
        .start()
        .waitFor();
  }

  /** What passes the launcher's filter of the JVM's warning may come after the command's end. */
  @Test
  @EnabledOnOs(OS.LINUX)
  void errorsDoNotPassTheLaunchersFilter(@TempDir Path directory) throws Exception {
    int status =
        java(
            directory,
            "--add-opens=java.base/java.io=ALL-UNNAMED",
            "-Dgemma.stderr=3",
            Main.class.getName(),
            "fly");
    assertThat(status).isEqualTo(2);
    assertThat(directory.resolve("own")).content().contains("fly");
    assertThat(directory.resolve("filtered")).isEmptyFile();
  }

  /** Loads the demo model in a process that ends meanwhile. */
  static final class Ended {
    private Ended() {}

    public static void main(String[] args) throws IOException {
      DemoModel.load(LoadOptions.defaults().withProgress((stage, done, total) -> System.exit(130)));
    }
  }

  @Test
  @EnabledOnOs(OS.LINUX)
  void aLoadThatIsEndedLeavesNoFiles(@TempDir Path directory) throws Exception {
    Path temporary = Files.createDirectory(directory.resolve("tmp"));
    assertThat(java(directory, "-Djava.io.tmpdir=" + temporary, Ended.class.getName()))
        .as("%s", Files.readString(directory.resolve("filtered")))
        .isEqualTo(130);
    assertThat(temporary).isEmptyDirectory();
  }

  @Test
  void whereTheDemoModelCannotBeWrittenIsTold(@TempDir Path directory) throws IOException {
    Path there = Files.createFile(directory.resolve("config.json"));
    assertThatThrownBy(() -> DemoModel.extract(directory))
        .isInstanceOf(IOException.class)
        .hasMessage(there + ": cannot be written: it exists already");
  }

  @Test
  void aDraftRunsAsTheModelDoes() throws IOException {
    ModelOptions options = new ModelOptions();
    options.threads = 1;
    options.kernels = "scalar";
    try (Gemma draft = options.loadDraft(resource(MODEL))) {
      assertThat(draft.threads()).isEqualTo(1);
      assertThat(draft.kernels()).isEqualTo("scalar");
    }
  }

  @Test
  void badConstraintsAreWrongUsage() {
    for (String[] wrong :
        new String[][] {
          {"--regex", "(?<=a)", "not supported"},
          {"--json-schema", "nowhere.json", "cannot read nowhere.json"},
          {"--typical", "0", "typical must be in (0, 1]"}
        }) {
      Result result = run("", "generate", wrong[0], wrong[1], "x");
      assertThat(result.status()).isEqualTo(2);
      assertThat(result.err()).contains(wrong[2]);
    }
    Result both = run("", "generate", "--regex", "a", "--choice", "b", "x");
    assertThat(both.err()).contains("expected one of choice, regex and json-schema");
  }

  @Test
  void scoresTextsLongerThanTheContextInWindows() throws IOException {
    String[] ids = {"2", "7", "9", "11", "13", "17", "19"};
    List<Double> expected = new ArrayList<>();
    // Of four ids each: from, to, and the first that no earlier window scored.
    for (int[] window : new int[][] {{0, 4, 1}, {2, 6, 4}, {4, 7, 6}}) {
      String part = String.join(",", Arrays.copyOfRange(ids, window[0], window[1]));
      JsonNode logprobs =
          run("", "score", "--json", "--model", model(), "--ids", part).json().get("logprobs");
      for (int i = window[2] - window[0] - 1; i < logprobs.size(); i++) {
        expected.add(logprobs.get(i).doubleValue());
      }
    }
    String all = String.join(",", ids);
    JsonNode found =
        run("", "score", "--json", "--model", model(), "--context", "4", "--ids", all)
            .json()
            .get("logprobs");
    assertThat(found.size()).isEqualTo(expected.size()).isEqualTo(6);
    for (int i = 0; i < found.size(); i++) {
      assertThat(found.get(i).doubleValue()).isCloseTo(expected.get(i), within(1e-4));
    }
  }

  @Test
  void weightsMayBeCopied() throws IOException {
    String[] mapped = {"score", "--json", "--model", model(), "--ids", "2,7,9,11"};
    String[] copied = Arrays.copyOf(mapped, mapped.length + 2);
    copied[mapped.length] = "--memory";
    copied[mapped.length + 1] = "copied";
    assertThat(run("", copied).json().get("perplexity").doubleValue())
        .isCloseTo(run("", mapped).json().get("perplexity").doubleValue(), withinPercentage(0.01));
    copied[mapped.length + 1] = "paper";
    assertThat(run("", copied).err())
        .contains("--memory: found paper, expected one of [MAPPED, COPIED]");
  }

  @Test
  void penaltiesAreApplied() throws IOException {
    String[] args = {"generate", "--json", "--temperature", "0", "--max-tokens", "40", "The"};
    List<String> punished = new ArrayList<>(List.of(args));
    punished.addAll(1, List.of("--frequency-penalty", "1e6"));
    JsonNode ids = run("", punished.toArray(String[]::new)).json().get("ids");
    List<Integer> list = new ArrayList<>();
    ids.forEach(id -> list.add(id.intValue()));
    assertThat(list).doesNotHaveDuplicates().hasSizeGreaterThan(5);
    assertThat(run("", args).json().get("ids")).isNotEqualTo(ids);
    punished.set(1, "--presence-penalty");
    ids = run("", punished.toArray(String[]::new)).json().get("ids");
    list.clear();
    ids.forEach(id -> list.add(id.intValue()));
    assertThat(list).doesNotHaveDuplicates().hasSizeGreaterThan(5);
  }
}
