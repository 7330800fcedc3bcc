package dev.gemma4j;

import static dev.gemma4j.ForwardGoldenTest.assertClose;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.gemma4j.loader.Checkpoint;
import dev.gemma4j.loader.TensorType;
import dev.gemma4j.model.Adapter;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.ref.WeakReference;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Adapters, switched and merged. The goldens are what PEFT 0.21.0 computes in float32 with the
 * adapters beside them; made by lora/make_adapters.py.
 */
class LoraTest {
  private static final String MODEL = "gemma-mqa-f32";

  @TempDir private Path directory = Path.of("");

  private static Path path(String adapter) {
    return Goldens.resource("lora/" + adapter);
  }

  private static JsonNode goldens(String adapter) throws IOException {
    return new ObjectMapper().readTree(path(adapter).resolve("goldens.json").toFile());
  }

  private static GenerationOptions greedy(@Nullable LoraAdapter adapter, int tokens) {
    GenerationOptions.Builder options =
        GenerationOptions.builder().temperature(0).maxTokens(tokens).ignoreEos(true);
    return (adapter == null ? options : options.adapter(adapter)).build();
  }

  private static List<Integer> list(JsonNode ids) {
    return Arrays.stream(Goldens.ids(ids)).boxed().toList();
  }

  private static JsonNode longest(JsonNode goldens) {
    return goldens.get("prompts").get(4);
  }

  static Stream<Arguments> runs() {
    List<Arguments> runs = new ArrayList<>();
    for (String adapter : List.of("every", "other", "patterns", "grouped")) {
      for (KernelType kernels : Goldens.kernels()) {
        runs.add(Arguments.of(adapter, kernels, 1));
        runs.add(Arguments.of(adapter, kernels, 3));
      }
    }
    return runs.stream();
  }

  @ParameterizedTest
  @MethodSource("runs")
  void switchedOnItGivesTheReferencesLogits(String name, KernelType kernels, int threads)
      throws IOException {
    JsonNode goldens = goldens(name);
    LoadOptions options = LoadOptions.defaults().withKernels(kernels).withThreads(threads);
    try (Gemma gemma = Goldens.load(goldens.get("model").textValue(), options)) {
      LoraAdapter adapter = gemma.loadAdapter(path(name));
      check(gemma, adapter, goldens);
    }
  }

  @ParameterizedTest
  @MethodSource("runs")
  void mergedItGivesTheReferencesLogits(String name, KernelType kernels, int threads)
      throws IOException {
    JsonNode goldens = goldens(name);
    LoadOptions options = LoadOptions.defaults().withKernels(kernels).withThreads(threads);
    options = options.withMergedAdapter(path(name));
    try (Gemma gemma = Goldens.load(goldens.get("model").textValue(), options)) {
      check(gemma, null, goldens);
    }
  }

  /** Reads an adapter in a JVM of its own. */
  static final class Child {
    private Child() {}

    public static void main(String... args) throws IOException {
      try (Checkpoint model = Checkpoint.open(Path.of(args[0]))) {
        System.out.println(Adapter.read(Path.of(args[1]), model.config()).id());
      }
    }
  }

  @Test
  void theLimitOfDirectBuffersIsNotItsMemorys() throws Exception {
    List<String> command =
        List.of(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-XX:MaxDirectMemorySize=256k", // it takes 310
            "-cp",
            System.getProperty("java.class.path"),
            Child.class.getName(),
            Goldens.model(MODEL).toString(),
            path("other").toString());
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    List<String> lines = process.inputReader().lines().toList();
    assertThat(process.waitFor()).as(String.join("\n", lines)).isZero();
    try (Gemma gemma = Goldens.load(MODEL)) {
      assertThat(lines).containsExactly(Adapter.read(path("other"), gemma.config()).id());
    }
  }

  @Test
  void itsMemoryIsFreedWhenNothingRefersToIt() throws Exception {
    try (Gemma gemma = Goldens.load(MODEL)) {
      MemorySegment.Scope scope = read(gemma);
      for (int i = 0; i < 200 && scope.isAlive(); i++) {
        System.gc();
        Thread.sleep(10);
      }
      assertThat(scope.isAlive()).isFalse();
    }
  }

  private static MemorySegment.Scope read(Gemma gemma) throws IOException {
    Adapter adapter = Adapter.read(path("every"), gemma.config());
    Adapter.LowRank update =
        Objects.requireNonNull(adapter.of("model.layers.0.self_attn.q_proj"), "q_proj");
    return update.a().data().scope();
  }

  @Test
  void itFitsAnyFormatOfTheModel() throws IOException {
    for (String model : List.of("gguf/gemma-mqa.F32.gguf", "gemma-mqa-ckpt")) {
      LoadOptions merged =
          LoadOptions.defaults().withMemory(Memory.COPIED).withMergedAdapter(path("every"));
      try (Gemma gemma = Goldens.load(model);
          Gemma other = Goldens.load(model, merged)) {
        check(gemma, gemma.loadAdapter(path("every")), goldens("every"));
        check(other, null, goldens("every"));
      }
    }
  }

  private static void check(Gemma gemma, @Nullable LoraAdapter adapter, JsonNode goldens) {
    for (JsonNode prompt : goldens.get("prompts")) {
      int[] ids = Goldens.ids(prompt.get("ids"));
      float[] expected = Goldens.floats(prompt.get("last_logits"));
      try (Session whole = gemma.newSession(adapter);
          Session steps = gemma.newSession(adapter)) {
        assertClose(whole.append(ids).toArray(), expected, ids.length + " ids");
        float[] last = {};
        for (int from = 0; from < ids.length; from += 7) {
          last =
              steps.append(Arrays.copyOfRange(ids, from, Math.min(from + 7, ids.length))).toArray();
        }
        assertClose(last, expected, ids.length + " ids in parts");
      }
      assertGreedy(gemma, adapter, prompt);
    }
    JsonNode sequence = goldens.get("sequence");
    int[] ids = Goldens.ids(sequence.get("ids"));
    Score score =
        gemma.score(Prompt.ofIds(ids[0]), Arrays.copyOfRange(ids, 1, ids.length), 0, adapter);
    for (int i = 1; i < ids.length; i++) {
      assertThat((double) score.tokens().get(i - 1).chosen().value())
          .isCloseTo(sequence.get("logprobs").get(i - 1).doubleValue(), within(2e-3));
    }
    assertClose(
        gemma.embedIds(List.of(ids), Pooling.MEAN, false, adapter).getFirst(),
        Goldens.floats(sequence.get("mean_state")),
        "mean state");
  }

  /** The golden text ends where the two best tokens are too near each other. */
  private static void assertGreedy(Gemma gemma, @Nullable LoraAdapter adapter, JsonNode prompt) {
    List<Integer> expected = list(prompt.get("greedy"));
    Prompt ids = Prompt.ofIds(Goldens.ids(prompt.get("ids")));
    assertThat(gemma.generate(ids, greedy(adapter, expected.size())).tokens()).isEqualTo(expected);
  }

  /** How far logits are from the golden ones, as a share of the largest. */
  private static double distance(Gemma gemma, JsonNode prompt) {
    float[] expected = Goldens.floats(prompt.get("last_logits"));
    try (Session session = gemma.newSession()) {
      float[] found = session.append(Goldens.ids(prompt.get("ids"))).toArray();
      double worst = 0;
      double largest = 0;
      for (int i = 0; i < found.length; i++) {
        worst = Math.max(worst, Math.abs(found[i] - expected[i]));
        largest = Math.max(largest, Math.abs(expected[i]));
      }
      return worst / largest;
    }
  }

  @Test
  void mergedWeightsKeepTheirType() throws IOException {
    JsonNode prompt = longest(goldens("every"));
    LoadOptions merged = LoadOptions.defaults().withMergedAdapter(path("every"));
    for (String type : List.of("BF16", "F16", "Q8_0", "Q4_0")) {
      String file = "gguf/gemma-mqa." + type + ".gguf";
      LoadOptions converted = merged.withWeights(WeightType.valueOf(type));
      try (Gemma stored = Goldens.load(file, merged);
          Gemma rounded = Goldens.load(MODEL, converted);
          Gemma plain = Goldens.load(file)) {
        assertThat(stored.weights()).isEqualTo(type);
        assertThat(rounded.weights()).isEqualTo(type);
        double far = distance(plain, prompt);
        double limit = type.equals("Q4_0") ? far : far / 5;
        assertThat(distance(stored, prompt)).as(type).isLessThan(limit);
        assertThat(distance(rounded, prompt)).as(type).isLessThan(limit);
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"Q5_0, 6, Q8_0", "Q4_K, 12, F16", "Q2_K, 10, F16"})
  void typesThatRowsCannotBeStoredInMergeIntoOthers(TensorType type, int number, String held)
      throws IOException {
    Path file = directory.resolve("typed.gguf");
    TinyGguf.write(type, number, file, directory.resolve("floats.gguf"));
    gateAdapter();
    int[] ids = new Random(3).ints(20, 0, TinyGguf.VOCAB).toArray();
    LoadOptions options = LoadOptions.defaults().withMergedAdapter(directory);
    try (Gemma switched = Gemma.load(file);
        Gemma merged = Gemma.load(file, options);
        Session plain = switched.newSession();
        Session one = switched.newSession(switched.loadAdapter(directory));
        Session other = merged.newSession()) {
      assertThat(merged.weights()).isEqualTo(held);
      float[] expected = one.append(ids).toArray();
      float[] found = other.append(ids).toArray();
      float[] without = plain.append(ids).toArray();
      double change = 0;
      double error = 0;
      for (int i = 0; i < expected.length; i++) {
        change = Math.max(change, Math.abs(without[i] - expected[i]));
        error = Math.max(error, Math.abs(found[i] - expected[i]));
      }
      assertThat(error).isLessThan(change / (held.equals("F16") ? 100 : 10));
    }
  }

  /** An adapter of rank 1 for the gate of TinyGguf's first layer, as PEFT saves it. */
  private void gateAdapter() throws IOException {
    Files.writeString(
        directory.resolve("adapter_config.json"),
        """
        {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["gate_proj"],
         "layers_to_transform": 0}\
        """);
    String name = "base_model.model.model.layers.0.mlp.gate_proj.lora_";
    byte[] header =
        """
        {"%sA.weight": {"dtype": "F32", "shape": [1, 256], "data_offsets": [0, 1024]},
         "%sB.weight": {"dtype": "F32", "shape": [512, 1], "data_offsets": [1024, 3072]}}\
        """
            .formatted(name, name)
            .getBytes(StandardCharsets.UTF_8);
    ByteBuffer bytes = ByteBuffer.allocate(8 + header.length + 3072).order(ByteOrder.LITTLE_ENDIAN);
    bytes.putLong(header.length).put(header);
    Random random = new Random(5);
    while (bytes.hasRemaining()) {
      bytes.putFloat((float) random.nextGaussian() / 4);
    }
    Files.write(directory.resolve("adapter_model.safetensors"), bytes.array());
  }

  @Test
  void severalAdaptersShareAPass() throws IOException {
    for (KernelType kernels : Goldens.kernels()) {
      LoadOptions options = LoadOptions.defaults().withKernels(kernels).withThreads(2);
      try (Gemma gemma = Goldens.load(MODEL, options)) {
        LoraAdapter every = gemma.loadAdapter(path("every"));
        LoraAdapter other = gemma.loadAdapter(path("other"));
        LoraAdapter patterns = gemma.loadAdapter(path("patterns"));
        // The rows of one adapter do not stand together.
        List<@Nullable LoraAdapter> adapters =
            Arrays.asList(every, null, other, every, patterns, null, other, every);
        List<Session> together = new ArrayList<>();
        List<float[]> alone = new ArrayList<>();
        int[] next = new int[adapters.size()];
        for (int i = 0; i < adapters.size(); i++) {
          int[] ids = {2, 40 + i, 50, 60 + i};
          next[i] = 100 + i;
          Session session = gemma.newSession(adapters.get(i));
          session.append(ids);
          together.add(session.fork());
          alone.add(session.append(next[i]).toArray());
          session.close();
        }
        List<Logits> found = gemma.decode(together, next);
        for (int i = 0; i < adapters.size(); i++) {
          assertClose(found.get(i).toArray(), alone.get(i), kernels + " session " + i);
        }
        together.forEach(Session::close);
      }
    }
  }

  @Test
  void callersWithDifferentAdaptersGetTheirOwnTexts() throws Exception {
    List<String> names = List.of("every", "other", "patterns");
    try (Gemma gemma = Goldens.load(MODEL);
        ExecutorService callers = Executors.newFixedThreadPool(9)) {
      List<Future<?>> running = new ArrayList<>();
      for (String name : names) {
        LoraAdapter adapter = gemma.loadAdapter(path(name));
        for (JsonNode prompt : goldens(name).get("prompts")) {
          running.add(callers.submit(() -> assertGreedy(gemma, adapter, prompt)));
        }
      }
      for (JsonNode prompt : Goldens.of(MODEL).get("prompts")) {
        running.add(callers.submit(() -> assertGreedy(gemma, null, prompt)));
      }
      for (Future<?> each : running) {
        each.get();
      }
    }
  }

  @Test
  void itChangesTheTextHoweverItIsDecoded() throws IOException {
    JsonNode prompt = longest(goldens("every"));
    Prompt ids = Prompt.ofIds(Goldens.ids(prompt.get("ids")));
    List<Integer> expected = list(prompt.get("greedy"));
    int count = expected.size();
    try (Gemma gemma = Goldens.load(MODEL)) {
      LoraAdapter adapter = gemma.loadAdapter(path("every"));
      Generation plain = gemma.generate(ids, greedy(null, count));
      Generation adapted = gemma.generate(ids, greedy(adapter, count));
      assertThat(adapted.tokens()).isEqualTo(expected).isNotEqualTo(plain.tokens());
      assertThat(adapted.text()).isNotEqualTo(plain.text());

      GenerationOptions options = greedy(adapter, count);
      assertThat(Search.samples(gemma, ids, options, 2))
          .allSatisfy(sample -> assertThat(sample.tokens()).isEqualTo(expected));
      assertThat(Search.beams(gemma, ids, options, 1, 1).getFirst().tokens()).isEqualTo(expected);
      GenerationOptions guessing =
          GenerationOptions.builder()
              .temperature(0)
              .maxTokens(count)
              .ignoreEos(true)
              .adapter(adapter)
              .speculation(Speculation.draftModel(gemma, 3))
              .build();
      assertThat(gemma.generate(ids, guessing).tokens()).isEqualTo(expected);
      try (Chat with = gemma.chat("", greedy(adapter, 12));
          Chat without = gemma.chat("", greedy(null, 12))) {
        assertThat(with.send("Who are you?")).isNotEqualTo(without.send("Who are you?"));
      }
    }
  }

  @Test
  void keysAndValuesOfOneAdapterAreNotReusedWithAnother() throws IOException {
    try (Gemma gemma = Goldens.load(MODEL)) {
      LoraAdapter every = gemma.loadAdapter(path("every"));
      LoraAdapter other = gemma.loadAdapter(path("other"));
      LoraAdapter again = gemma.loadAdapter(path("every")); // of the same content
      JsonNode prompt = longest(goldens("every"));
      int[] ids = Goldens.ids(prompt.get("ids"));
      List<Integer> expected = list(prompt.get("greedy"));
      assertThat(reused(gemma, null, ids)).isZero();
      assertThat(reused(gemma, every, ids)).isZero();
      assertThat(reused(gemma, other, ids)).isZero();
      for (LoraAdapter adapter : Arrays.asList(every, again, other, null)) {
        assertThat(reused(gemma, adapter, ids)).isEqualTo(96);
      }
      GenerationOptions options = greedy(again, expected.size());
      assertThat(gemma.generate(Prompt.ofIds(ids), options).tokens()).isEqualTo(expected);
    }
  }

  private static int reused(Gemma gemma, @Nullable LoraAdapter adapter, int... ids) {
    return gemma.generate(Prompt.ofIds(ids), greedy(adapter, 4)).usage().reusedPromptTokens();
  }

  @Test
  void aForkAndARestoredSessionGoOnWithIt() throws IOException {
    Path file = directory.resolve("session");
    int[] ids = {2, 30, 40, 50};
    try (Gemma gemma = Goldens.load(MODEL);
        Gemma merged =
            Goldens.load(MODEL, LoadOptions.defaults().withMergedAdapter(path("every")))) {
      LoraAdapter every = gemma.loadAdapter(path("every"));
      LoraAdapter other = gemma.loadAdapter(path("other"));
      float[] expected;
      try (Session session = gemma.newSession(every)) {
        session.append(ids);
        session.save(file);
        try (Session fork = session.fork()) {
          expected = fork.append(7).toArray();
        }
        session.truncate(2);
        session.append(40, 50);
        assertClose(session.append(7).toArray(), expected, "truncated");
      }
      try (Session session = gemma.restore(file, gemma.loadAdapter(path("every")))) {
        assertClose(session.append(7).toArray(), expected, "restored");
      }
      try (Session session = merged.newSession()) {
        session.append(ids);
        assertClose(session.append(7).toArray(), expected, "merged");
      }
      refuses(() -> gemma.restore(file));
      refuses(() -> gemma.restore(file, other));
      refuses(() -> merged.restore(file));
      try (Session session = merged.newSession()) {
        session.append(ids);
        session.save(file);
      }
      refuses(() -> gemma.restore(file));
      refuses(() -> gemma.restore(file, every));
    }
  }

  private static void refuses(org.assertj.core.api.ThrowableAssert.ThrowingCallable restore) {
    assertThatThrownBy(restore)
        .isInstanceOf(MalformedFileException.class)
        .hasMessageContaining("fingerprint")
        .hasMessageContaining("adapter");
  }

  @Test
  void itBelongsToOneModelAndEndsWithIt() throws IOException {
    Path copy = Files.createDirectory(directory.resolve("adapter"));
    for (String name : List.of("adapter_config.json", "adapter_model.safetensors")) {
      Files.copy(path("every").resolve(name), copy.resolve(name));
    }
    Gemma gemma = Goldens.load(MODEL);
    LoraAdapter adapter = gemma.loadAdapter(copy);
    Files.delete(copy.resolve("adapter_model.safetensors")); // not needed any more
    assertThat(adapter).hasToString(copy.toString());
    Session session = gemma.newSession(adapter);
    session.append(2, 3);
    try (Gemma other = Goldens.load(MODEL)) {
      assertThatThrownBy(() -> other.newSession(adapter))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("another Gemma");
      assertThatThrownBy(() -> other.generate(Prompt.ofIds(2), greedy(adapter, 1)))
          .isInstanceOf(IllegalArgumentException.class);
    }
    gemma.close();
    assertThatThrownBy(() -> session.append(4)).hasMessage("model is closed");
    assertThatThrownBy(() -> gemma.newSession(adapter)).hasMessage("model is closed");
    assertThatThrownBy(() -> gemma.loadAdapter(path("every"))).hasMessage("model is closed");
    session.close();
  }

  @Test
  void anAdapterOfAnotherShapeIsRefused() {
    try (Gemma gemma = Goldens.load(MODEL)) {
      assertThatThrownBy(() -> gemma.loadAdapter(path("grouped")))
          .isInstanceOf(MalformedFileException.class)
          .hasMessageContaining("lora_B.weight: found shape [64, 8], expected shape [128, 8]");
    }
    LoadOptions merged = LoadOptions.defaults().withMergedAdapter(path("grouped"));
    assertThatThrownBy(() -> Gemma.load(Goldens.model(MODEL), merged))
        .isInstanceOf(MalformedFileException.class)
        .hasMessageContaining("lora_B.weight");
  }

  @Test
  void whatIsNoLongerUsedIsFreed() throws Exception {
    try (Gemma gemma = Goldens.load(MODEL)) {
      WeakReference<?> adapter = used(gemma);
      for (int i = 0; i < 50 && adapter.get() != null; i++) {
        System.gc();
        Thread.sleep(20);
      }
      assertThat(adapter.get()).isNull();
    }
  }

  private static WeakReference<?> used(Gemma gemma) throws IOException {
    LoraAdapter lora = gemma.loadAdapter(path("every"));
    gemma.generate(Prompt.ofIds(2, 20, 30), greedy(lora, 4));
    return new WeakReference<>(lora.of(gemma));
  }
}
