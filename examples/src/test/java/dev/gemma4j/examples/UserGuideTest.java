package dev.gemma4j.examples;

import static org.assertj.core.api.Assertions.assertThat;

import dev.gemma4j.Chat;
import dev.gemma4j.ChatMessage;
import dev.gemma4j.ContextLengthException;
import dev.gemma4j.FinishReason;
import dev.gemma4j.Gemma;
import dev.gemma4j.Generation;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.KvMemoryException;
import dev.gemma4j.KvType;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.LogProbability;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Memory;
import dev.gemma4j.Pooling;
import dev.gemma4j.Prompt;
import dev.gemma4j.Quantizer;
import dev.gemma4j.Role;
import dev.gemma4j.Score;
import dev.gemma4j.Search;
import dev.gemma4j.Session;
import dev.gemma4j.Speculation;
import dev.gemma4j.Token;
import dev.gemma4j.TokenLogProbabilities;
import dev.gemma4j.TokenStream;
import dev.gemma4j.Usage;
import dev.gemma4j.WeightType;
import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.constraint.Constraints;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.sampling.LogitsProcessor;
import dev.gemma4j.sampling.LogitsProcessors;
import dev.gemma4j.sampling.Sampler;
import dev.gemma4j.sampling.Samplers;
import dev.gemma4j.tokenizer.Encoding;
import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.StreamingDecoder;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.random.RandomGenerator;
import java.util.stream.IntStream;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The code of docs/user-guide.md, which {@link DocumentationTest} compares: what stands between
 * "guide" and "end" is one block there.
 */
class UserGuideTest {
  @TempDir static Path directory;
  private static Path path;
  private static Gemma gemma;

  private final PrintStream console = System.out;
  private final ByteArrayOutputStream printed = new ByteArrayOutputStream();

  @BeforeAll
  static void load() throws IOException {
    path = Files.createDirectory(directory.resolve("demo"));
    DemoModel.extract(path);
    gemma = Gemma.load(path);
  }

  @AfterAll
  static void close() {
    gemma.close();
  }

  @BeforeEach
  void listen() {
    System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
  }

  @AfterEach
  void restore() {
    System.setOut(console);
  }

  private String printed() {
    return printed.toString(StandardCharsets.UTF_8);
  }

  @Test
  void loading() throws IOException {
    // guide
    try (Gemma gemma = Gemma.load(path)) {
      System.out.println(gemma.generate("Once upon a time"));
    }
    // end
    assertThat(printed()).hasSizeGreaterThan(20);
  }

  @Test
  void loadingWithOptions() throws IOException {
    // guide
    LoadOptions options =
        LoadOptions.defaults()
            .withWeights(WeightType.Q8_0) // whatever the file has
            .withMemory(Memory.COPIED) // the file may be replaced while the model runs
            .withThreads(2)
            .withContextLength(256) // of at most 512 here, 8192 for Google's
            .withKv(KvType.F16) // half the memory for keys and values
            .withKvMemory(256L << 20) // bytes for those of all callers together
            .withProgress((stage, done, total) -> System.out.println(stage + " " + done));
    try (Gemma gemma = Gemma.load(path, options)) {
      System.out.println(gemma.weights() + ", " + gemma.kernels() + " kernels");
    }
    // end
    assertThat(printed()).contains("weights 0\n").contains("Q8_0, ");
  }

  @Test
  void generating() {
    // guide
    GenerationOptions options =
        GenerationOptions.builder()
            .maxTokens(40)
            .temperature(0.7f) // 0 always takes the most probable token
            .topP(0.9f)
            .seed(7) // the same seed, the same text
            .stop("\n\n")
            .build();
    Generation generation = gemma.generate(Prompt.of("There was a king"), options);
    String text = generation.text(); // without the prompt
    FinishReason reason = generation.finishReason(); // EOS, STOP, LENGTH or CANCELLED
    Usage usage = generation.usage(); // token counts and times
    // end
    assertThat(text).isNotBlank();
    assertThat(reason).isNotEqualTo(FinishReason.CANCELLED);
    assertThat(usage.generatedTokens()).isEqualTo(generation.tokens().size());
  }

  @Test
  void streaming() {
    GenerationOptions options = GenerationOptions.builder().maxTokens(20).seed(1).build();
    // guide
    try (TokenStream stream = gemma.stream(Prompt.of("The wolf said"), options)) {
      for (Token token : stream) {
        System.out.print(token.text()); // may be empty while a character is incomplete
      }
      System.out.println(" (" + stream.result().finishReason() + ")");
    }
    // end
    assertThat(printed()).matches("(?s).+ \\((LENGTH|EOS)\\)\n");
  }

  @Test
  void cancelling() throws InterruptedException {
    // guide
    GenerationOptions endless =
        GenerationOptions.builder().maxTokens(Integer.MAX_VALUE).ignoreEos(true).build();
    try (TokenStream stream = gemma.stream(Prompt.of("And then"), endless)) {
      Thread timer = Thread.startVirtualThread(stream::cancel); // from any thread
      stream.forEachRemaining(token -> System.out.print(token.text()));
      Generation soFar = stream.result(); // what there was until then
      System.out.println(" (" + soFar.finishReason() + ")");
      timer.join();
    }
    // end
    assertThat(printed()).containsAnyOf("(CANCELLED)", "(LENGTH)"); // the context may end first
  }

  @Test
  void chatting() {
    GenerationOptions options = GenerationOptions.builder().maxTokens(12).seed(1).build();
    // guide
    try (Chat chat = gemma.chat("You are terse.", options)) {
      System.out.println(chat.send("Who lives in the forest?"));
      System.out.println(chat.send("And why?")); // costs only its own tokens
      List<ChatMessage> turns = chat.messages();
      System.out.println(turns.size() + " turns");
    }
    // end
    assertThat(printed()).endsWith("5 turns\n"); // with the system's
  }

  @Test
  void chattingWithoutState() {
    GenerationOptions options = GenerationOptions.builder().maxTokens(8).seed(1).build();
    // guide
    List<ChatMessage> turns =
        List.of(
            new ChatMessage(Role.USER, "Who lives in the forest?"),
            new ChatMessage(Role.MODEL, "A wolf."),
            new ChatMessage(Role.USER, "And why?"));
    String answer = gemma.generate(Prompt.chat(turns), options).text();
    // end
    assertThat(answer).isNotEmpty();
  }

  @Test
  void tokenizing() {
    // guide
    Tokenizer tokenizer = gemma.tokenizer();
    int[] ids = tokenizer.encode("2 + 2 ="); // no beginning-of-text token: see bosId()
    String same = tokenizer.decode(ids);
    Encoding encoding = tokenizer.encodeWithOffsets("2 + 2 ="); // and where each stands
    // end
    assertThat(same).isEqualTo("2 + 2 =");
    assertThat(encoding.ids()).isEqualTo(ids);
  }

  @Test
  void decodingLoop() {
    // guide
    Tokenizer tokenizer = gemma.tokenizer();
    Sampler sampler = Samplers.topP(0.9f, 0.7f);
    RandomGenerator random = new SplittableRandom(7);
    StringBuilder text = new StringBuilder();
    try (Session session = gemma.newSession()) {
      session.append(tokenizer.bosId());
      Logits logits = session.append(tokenizer.encode("Once upon a time"));
      StreamingDecoder decoder = tokenizer.newStreamingDecoder(); // a character may take tokens
      while (session.position() < 40) {
        int id = sampler.sample(logits, random);
        if (id == tokenizer.eosId()) {
          break;
        }
        text.append(decoder.push(id));
        logits = session.append(id);
      }
      text.append(decoder.flush());
    }
    // end
    assertThat(text).isNotEmpty();
  }

  @Test
  void textOnASession() {
    Tokenizer tokenizer = gemma.tokenizer();
    GenerationOptions options = GenerationOptions.builder().maxTokens(12).seed(1).build();
    // guide
    int[] question = tokenizer.encode("Once upon a time");
    try (Session session = gemma.newSession()) {
      session.append(tokenizer.bosId());
      Generation story;
      try (TokenStream stream = gemma.stream(session, question, options)) {
        stream.forEachRemaining(token -> System.out.print(token.text()));
        story = stream.result();
      }
      // A text's last token has not been run, unless the model ended it.
      IntStream rest = IntStream.of(story.ids()).skip(session.position() - 1 - question.length);
      IntStream more = IntStream.of(tokenizer.encode(" Then"));
      session.append(IntStream.concat(rest, more).toArray());
    }
    // end
    assertThat(printed()).isEqualTo(gemma.generate(Prompt.of("Once upon a time"), options).text());
  }

  @Test
  void readmesLoop() {
    try (Session session = gemma.newSession()) {
      // guide
      Logits logits = session.append(gemma.tokenizer().encode("2 + 2 ="));
      int id = logits.argmax();
      logits = session.append(id);
      // end
      assertThat(logits.size()).isEqualTo(4096);
    }
  }

  @Test
  void forking() {
    int[] question = gemma.tokenizer().encode("The door opened and");
    int[] wolf = gemma.tokenizer().encode(" a wolf");
    int[] prince = gemma.tokenizer().encode(" a prince");
    // guide
    try (Session session = gemma.newSession()) {
      session.append(question); // computed once
      try (Session branch = session.fork()) { // shares its keys and values
        branch.append(wolf);
      }
      session.append(prince);
      session.truncate(question.length); // forgets the prince
    }
    // end
  }

  @Test
  void saving() throws IOException {
    int[] ids = gemma.tokenizer().encode("A long text that took its time");
    Path file = directory.resolve("session");
    // guide
    try (Session session = gemma.newSession()) {
      session.append(ids);
      session.save(file);
    }
    try (Session session = gemma.restore(file)) { // of the same model, or it is refused
      Logits logits = session.append(gemma.tokenizer().encode(" and"));
      System.out.println(session.position() + " tokens, next " + logits.argmax());
    }
    // end
    assertThat(printed()).startsWith(ids.length + 1 + " tokens, next ");
  }

  @Test
  void sampling() {
    // guide
    GenerationOptions options =
        GenerationOptions.builder()
            .temperature(0.9f)
            .topK(40)
            .minP(0.05f)
            .repetitionPenalty(1.1f)
            .processor(LogitsProcessors.badWords(List.of(gemma.tokenizer().encode(" wolf"))))
            .maxTokens(20)
            .build();
    // end
    assertThat(gemma.generate(Prompt.of("In the forest lived a"), options).text())
        .doesNotContain(" wolf");
  }

  @Test
  void readmesSampler() {
    // guide
    Sampler greedy = (logits, random) -> logits.argmax();
    LogitsProcessor noEcho =
        (logits, history) -> logits.set(history.get(history.size() - 1), Float.NEGATIVE_INFINITY);
    GenerationOptions options =
        GenerationOptions.builder().sampler(greedy).processor(noEcho).maxTokens(20).build();
    // end
    List<Integer> tokens = gemma.generate(Prompt.of("Once"), options).tokens();
    for (int i = 1; i < tokens.size(); i++) {
      assertThat(tokens.get(i)).isNotEqualTo(tokens.get(i - 1));
    }
  }

  @Test
  void readmesAdapter() throws IOException {
    Path lora = Path.of("../gemma-core/src/test/resources/dev/gemma4j/lora/every");
    Path base = Path.of("src/test/resources/dev/gemma4j/examples/gemma-mqa-f32");
    try (Gemma gemma = Gemma.load(base)) {
      // guide
      LoraAdapter adapter = gemma.loadAdapter(lora); // a directory
      GenerationOptions options = GenerationOptions.builder().adapter(adapter).build();
      String text = gemma.generate(Prompt.of("Once upon a time"), options).text();
      // end
      assertThat(text).isNotEmpty();
    }
  }

  @Test
  void constraints() {
    // guide
    Constraint person =
        Constraints.jsonSchema(
            """
            {"type": "object", "required": ["name", "good"], "properties": {
              "name": {"type": "string", "maxLength": 20}, "good": {"type": "boolean"}}}
            """);
    Constraint date = Constraints.regex("\\d{4}-\\d{2}-\\d{2}");
    Constraint mood = Constraints.choice("glad", "sad", "angry");
    GenerationOptions options = GenerationOptions.builder().constraint(mood).build();
    String answer = gemma.generate(Prompt.of("When the king heard it he was "), options).text();
    // end
    assertThat(answer).isIn("glad", "sad", "angry");
    GenerationOptions dated = GenerationOptions.builder().constraint(date).build();
    assertThat(gemma.generate(Prompt.of("On"), dated).text()).matches("\\d{4}-\\d{2}-\\d{2}");
    GenerationOptions json = GenerationOptions.builder().constraint(person).build();
    assertThat(gemma.generate(Prompt.of("Who was she?"), json).text()).startsWith("{\"name\"");
  }

  @Test
  void ownConstraint() {
    // guide
    record Letters(int left) implements Constraint.State { // at most so many lower-case letters
      @Override
      public Letters next(int b) {
        return left > 0 && b >= 'a' && b <= 'z' ? new Letters(left - 1) : null;
      }

      @Override
      public boolean isAccepting() {
        return true;
      }
    }
    Constraint word = () -> new Letters(8);
    // end
    GenerationOptions options = GenerationOptions.builder().constraint(word).build();
    assertThat(gemma.generate(Prompt.of("The "), options).text()).matches("[a-z]{0,8}");
  }

  @Test
  void logProbabilities() {
    // guide
    GenerationOptions options =
        GenerationOptions.builder().logProbabilities(3).maxTokens(5).temperature(0).build();
    Generation generation = gemma.generate(Prompt.of("Once upon a"), options);
    for (TokenLogProbabilities token : generation.logProbabilities()) {
      System.out.print(gemma.tokenizer().piece(token.chosen().id()) + " instead of");
      for (LogProbability other : token.best()) { // the three most probable
        System.out.printf(" %s %.2f", gemma.tokenizer().piece(other.id()), other.value());
      }
      System.out.println();
    }
    // end
    assertThat(printed().lines()).hasSize(5).allMatch(line -> line.contains(" instead of "));
  }

  @Test
  void scoring() {
    // guide
    Prompt prompt = Prompt.of("Once upon a time there was a");
    Score king = gemma.score(prompt, " king");
    Score modem = gemma.score(prompt, " modem");
    boolean likelier = king.logProbability() > modem.logProbability();
    double perplexity = king.perplexity(); // per token, so that lengths can be compared
    // end
    assertThat(likelier).isTrue();
    assertThat(perplexity).isGreaterThan(1);
  }

  @Test
  void embedding() {
    // guide
    List<float[]> vectors =
        gemma.embed(List.of("The king was old.", "The queen was old."), Pooling.MEAN, true);
    double cosine = 0; // the vectors' length is 1
    for (int i = 0; i < vectors.get(0).length; i++) {
      cosine += vectors.get(0)[i] * vectors.get(1)[i];
    }
    // end
    assertThat(cosine).isBetween(0.5, 1.0001);
  }

  @Test
  void speculating() throws IOException {
    Path smaller = path;
    // guide
    GenerationOptions quoting =
        GenerationOptions.builder().speculation(Speculation.promptLookup(8)).maxTokens(30).build();
    Usage usage = gemma.generate(Prompt.of("one two three one two"), quoting).usage();
    System.out.println(usage.acceptedTokens() + " of " + usage.draftedTokens() + " guesses");

    try (Gemma draft = Gemma.load(smaller)) {
      GenerationOptions drafted =
          GenerationOptions.builder().speculation(Speculation.draftModel(draft, 4)).build();
      System.out.println(gemma.generate(Prompt.of("There was"), drafted).text());
    }
    // end
    assertThat(printed()).contains(" guesses\n");
  }

  @Test
  void searching() {
    // guide
    Prompt prompt = Prompt.of("The old woman said:");
    GenerationOptions options = GenerationOptions.builder().maxTokens(12).seed(1).build();
    List<Generation> three = Search.samples(gemma, prompt, options, 3);
    List<Generation> best = Search.beams(gemma, prompt, options, 4, 1);
    // end
    assertThat(three).hasSize(3);
    assertThat(best).hasSizeBetween(1, 4);
  }

  @Test
  void manyCallers() throws Exception {
    List<String> questions = List.of("The king", "The queen", "The wolf");
    GenerationOptions options = GenerationOptions.builder().maxTokens(10).seed(1).build();
    // guide
    List<String> answers = new ArrayList<>();
    try (ExecutorService callers = Executors.newFixedThreadPool(8)) {
      List<Future<Generation>> running = new ArrayList<>();
      for (String question : questions) {
        running.add(callers.submit(() -> gemma.generate(Prompt.of(question), options)));
      }
      for (Future<Generation> answer : running) {
        answers.add(answer.get().text());
      }
    }
    // end
    assertThat(answers).hasSize(3).doesNotContain("");
  }

  @Test
  void decodingTogether() {
    int[] first = gemma.tokenizer().encode("The king");
    int[] second = gemma.tokenizer().encode("The wolf");
    // guide
    try (Session a = gemma.newSession();
        Session b = gemma.newSession()) {
      int nextOfA = a.append(first).argmax();
      int nextOfB = b.append(second).argmax();
      List<Logits> logits = gemma.decode(List.of(a, b), nextOfA, nextOfB); // one pass for both
      System.out.println(logits.get(0).argmax() + " " + logits.get(1).argmax());
    }
    // end
    assertThat(printed()).matches("\\d+ \\d+\n");
  }

  @Test
  void errors() throws IOException {
    String text = "word ".repeat(1000);
    GenerationOptions options = GenerationOptions.builder().maxTokens(5).build();
    // guide
    try (Gemma gemma = Gemma.load(path)) {
      System.out.println(gemma.generate(Prompt.of(text), options).text());
    } catch (MalformedFileException e) {
      System.out.println("not a model that can be read: " + e.getMessage());
    } catch (ContextLengthException e) {
      System.out.println("the prompt is too long: " + e.getMessage());
    } catch (KvMemoryException e) {
      System.out.println("too much at once, " + e.available() + " bytes are left");
    }
    // end
    assertThat(printed()).startsWith("the prompt is too long: ");
  }

  @Test
  void quantizing() throws IOException {
    Path in = path;
    Path out = directory.resolve("demo.gguf");
    // guide
    Quantizer.quantize(in, out, WeightType.Q8_0, 2, (stage, done, total) -> {});
    // end
    try (Gemma quantized = Gemma.load(out)) {
      assertThat(quantized.weights()).isEqualTo("Q8_0");
    }
  }

  @Test
  void recording() throws IOException {
    Path file = directory.resolve("gemma.jfr");
    // guide
    try (Recording recording = new Recording()) {
      recording.enable("dev.gemma4j.Generation");
      recording.start();
      gemma.generate("Once upon a time");
      recording.dump(file);
    }
    for (RecordedEvent event : RecordingFile.readAllEvents(file)) {
      if (event.getEventType().getName().equals("dev.gemma4j.Generation")) {
        System.out.println(event.getInt("generatedTokens") + " " + event.getDuration("decode"));
      }
    }
    // end
    assertThat(printed()).matches("\\d+ PT.*\n");
  }
}
