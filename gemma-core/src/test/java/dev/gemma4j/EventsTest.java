package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class EventsTest {
  @Test
  void aRecordingShowsLoadPrefillPassesAndGeneration(@TempDir Path directory) throws IOException {
    Path file = directory.resolve("recording.jfr");
    try (Recording recording = new Recording()) {
      recording.start();
      try (Gemma gemma = Goldens.load("gemma-mqa-f32");
          Session a = gemma.newSession();
          Session b = gemma.newSession()) {
        gemma.generate(
            Prompt.ofIds(new int[300]),
            GenerationOptions.builder().maxTokens(4).ignoreEos(true).build());
        gemma.decode(List.of(a, b), 3, 4);
      }
      recording.stop();
      recording.dump(file);
    }
    List<RecordedEvent> events = RecordingFile.readAllEvents(file);
    assertThat(of(events, "Load").getFirst().getString("weights")).isEqualTo("F32");
    assertThat(of(events, "Prefill").getFirst().getInt("tokens")).isEqualTo(300);
    RecordedEvent generation = of(events, "Generation").getFirst();
    assertThat(generation.getInt("generatedTokens")).isEqualTo(4);
    assertThat(generation.getString("finishReason")).isEqualTo("LENGTH");
    // Two chunks of the prompt, three tokens after the first, one step of two sequences.
    List<RecordedEvent> passes = of(events, "Pass");
    assertThat(passes).extracting(e -> e.getInt("rows")).containsExactly(256, 44, 1, 1, 1, 2);
    assertThat(passes.getLast().getInt("sequences")).isEqualTo(2);
  }

  /** A process that generates, then records while it generates, as its argument says. */
  static final class Child {
    private Child() {}

    public static void main(String... args) throws IOException {
      GenerationOptions options = GenerationOptions.builder().maxTokens(4).ignoreEos(true).build();
      try (Gemma gemma = Goldens.load("gemma-mqa-f32");
          TokenStream underWay = gemma.stream(Prompt.ofIds(1, 2), options)) {
        underWay.next();
        System.out.println("generated");
        if (args.length > 0) {
          try (Recording recording = new Recording()) {
            recording.start();
            underWay.forEachRemaining(token -> {});
            gemma.generate(Prompt.ofIds(1, 2, 3), options);
            recording.stop();
            recording.dump(Path.of(args[0]));
          }
        }
      }
    }
  }

  private static List<String> run(List<String> jvm, String... args)
      throws IOException, InterruptedException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(jvm);
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), Child.class.getName()));
    command.addAll(List.of(args));
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    List<String> lines = process.inputReader().lines().toList();
    assertThat(process.waitFor()).as(String.join("\n", lines)).isZero();
    return lines;
  }

  @Test
  void aRecordingMayStartInTheMiddle(@TempDir Path directory) throws Exception {
    Path file = directory.resolve("recording.jfr");
    List<String> lines = run(List.of("-Xlog:class+load:stdout"), file.toString());
    int generated = lines.indexOf("generated");
    assertThat(lines.subList(0, generated))
        .as("loaded before something records")
        .anyMatch(line -> line.contains("dev.gemma4j.TokenStream"))
        .noneMatch(line -> line.contains("dev.gemma4j.Events$"))
        .noneMatch(line -> line.contains("dev.gemma4j.model.PassEvent"));
    List<RecordedEvent> events = RecordingFile.readAllEvents(file);
    assertThat(of(events, "Load")).isEmpty();
    assertThat(of(events, "Prefill")).extracting(e -> e.getInt("tokens")).containsExactly(3);
    assertThat(of(events, "Pass")).extracting(e -> e.getInt("rows")).contains(3, 1);
    assertThat(of(events, "Generation"))
        .extracting(e -> e.getInt("promptTokens"))
        .containsExactly(2, 3);
  }

  @Test
  void aRecordingMayStartWithTheProcess(@TempDir Path directory) throws Exception {
    Path file = directory.resolve("recording.jfr");
    run(List.of("-XX:StartFlightRecording:filename=" + file));
    List<RecordedEvent> events = RecordingFile.readAllEvents(file);
    assertThat(of(events, "Load")).hasSize(1);
    assertThat(of(events, "Prefill")).extracting(e -> e.getInt("tokens")).containsExactly(2);
    assertThat(of(events, "Pass")).isNotEmpty();
    assertThat(of(events, "Generation")).hasSize(1);
  }

  private static List<RecordedEvent> of(List<RecordedEvent> events, String name) {
    return events.stream()
        .filter(e -> e.getEventType().getName().equals("dev.gemma4j." + name))
        .sorted(java.util.Comparator.comparing(RecordedEvent::getStartTime))
        .toList();
  }

  @Test
  void everythingThatRunsAPromptIsRecorded(@TempDir Path directory) throws IOException {
    Path file = directory.resolve("recording.jfr");
    Prompt prompt = Prompt.ofIds(new int[40]);
    GenerationOptions options = GenerationOptions.builder().maxTokens(4).ignoreEos(true).build();
    try (Recording recording = new Recording();
        Gemma gemma = Goldens.load("gemma-mqa-f32")) {
      recording.start();
      Search.samples(gemma, prompt, options, 2);
      assertThat(Search.beams(gemma, prompt, options, 2, 1)).hasSize(2);
      gemma.score(prompt, new int[] {1, 2}, 0);
      gemma.embedIds(List.of(new int[10], new int[20]), Pooling.MEAN, true, null);
      recording.stop();
      recording.dump(file);
    }
    List<RecordedEvent> events = RecordingFile.readAllEvents(file);
    assertThat(of(events, "Prefill"))
        .extracting(e -> e.getInt("tokens"))
        .containsExactly(40, 40, 42, 30);
    List<RecordedEvent> texts = of(events, "Generation");
    assertThat(texts).extracting(e -> e.getInt("promptTokens")).containsExactly(40, 40, 40);
    assertThat(texts).extracting(e -> e.getInt("generatedTokens")).containsExactly(4, 4, 8);
    assertThat(texts).extracting(e -> e.getString("finishReason")).containsOnly("LENGTH");
    assertThat(texts).extracting(e -> e.getDuration("prefill")).allMatch(d -> d.isPositive());
  }

  @Test
  void failuresAreNotCancellations(@TempDir Path directory) throws IOException {
    Path file = directory.resolve("recording.jfr");
    try (Recording recording = new Recording();
        Gemma gemma = Goldens.load("gemma-mqa-f32", LoadOptions.defaults().withContextLength(64))) {
      recording.start();
      GenerationOptions options = GenerationOptions.builder().maxTokens(4).build();
      Prompt tooLong = Prompt.ofIds(new int[65]);
      assertThatThrownBy(() -> gemma.generate(tooLong, options))
          .isInstanceOf(ContextLengthException.class);
      assertThatThrownBy(() -> Search.beams(gemma, tooLong, options, 2, 1))
          .isInstanceOf(ContextLengthException.class);
      try (TokenStream stream = gemma.stream(Prompt.ofIds(1, 2), options)) {
        stream.next();
      }
      recording.stop();
      recording.dump(file);
    }
    assertThat(of(RecordingFile.readAllEvents(file), "Generation"))
        .extracting(e -> e.getString("finishReason"))
        .containsExactly("ERROR", "ERROR", "CANCELLED");
  }
}
