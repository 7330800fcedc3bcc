package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
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

  private static List<RecordedEvent> of(List<RecordedEvent> events, String name) {
    return events.stream()
        .filter(e -> e.getEventType().getName().equals("dev.gemma4j." + name))
        .sorted(java.util.Comparator.comparing(RecordedEvent::getStartTime))
        .toList();
  }
}
