package dev.gemma4j.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.Prompt;
import dev.gemma4j.Session;
import dev.gemma4j.sampling.Logits;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The example programs run, the README's code is one of them, the demo model is its trainer's. */
class ExamplesTest {
  @FunctionalInterface
  private interface Program {
    void run() throws IOException;
  }

  private static String output(Program program) throws IOException {
    PrintStream before = System.out;
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
    try {
      program.run();
    } finally {
      System.setOut(before);
    }
    return out.toString(StandardCharsets.UTF_8);
  }

  @Test
  void theReadmesExampleIsTheProgram(@TempDir Path directory) throws IOException {
    DemoModel.extract(directory);
    String text = output(() -> QuickStart.main(new String[] {directory.toString()}));
    assertThat(text).hasSizeGreaterThan(100).containsAnyOf("(STOP)", "(LENGTH)", "(EOS)");
    assertReadmeShows("QuickStart");
  }

  private static void assertReadmeShows(String program) throws IOException {
    String source =
        Files.readString(Path.of("src/main/java/dev/gemma4j/examples/" + program + ".java"));
    String region =
        source.substring(
            source.indexOf("// README begins\n") + 17, source.lastIndexOf("// README ends"));
    assertThat(Files.readString(Path.of("../README.md")))
        .contains(region.stripTrailing().stripIndent());
  }

  @Test
  void structuredOutputIsJsonOfItsSchema() throws IOException {
    String text = output(() -> StructuredOutput.main(new String[0]));
    assertThat(text).endsWith(" (EOS)\n");
    JsonNode person = new ObjectMapper().readTree(text.substring(0, text.lastIndexOf(" (")));
    assertThat(person.get("name").textValue()).hasSizeLessThanOrEqualTo(20);
    assertThat(person.get("good").isBoolean()).isTrue();
    assertReadmeShows("StructuredOutput");
  }

  @Test
  void theCustomSamplerTellsAStory() throws IOException {
    assertThat(output(() -> CustomSampler.main(new String[0]))).hasSizeGreaterThan(80);
  }

  @Test
  void theDecodingLoopTellsTwoEndings() throws IOException {
    String text = output(() -> DecodingLoop.main(new String[0]));
    assertThat(text).contains("saw a wolf").contains("saw a prince").hasSizeGreaterThan(150);
  }

  @Test
  void theChatAnswersTwice() throws IOException {
    String text = output(() -> ChatExample.main(new String[0]));
    assertThat(text)
        .contains("> Who lives in the forest?\n", "> And why?\n")
        .hasSizeGreaterThan(60);
  }

  @Test
  void theDemoModelIsWhatItsTrainerComputed() throws IOException {
    JsonNode goldens;
    try (InputStream in = ExamplesTest.class.getResourceAsStream("demo-goldens.json")) {
      goldens = new ObjectMapper().readTree(in);
    }
    try (Gemma gemma = DemoModel.load(LoadOptions.defaults());
        Session session = gemma.newSession()) {
      int[] ids = new int[goldens.get("ids").size()];
      for (int i = 0; i < ids.length; i++) {
        ids[i] = goldens.get("ids").get(i).intValue();
      }
      Logits logits = session.append(ids);
      for (int i = 0; i < 5; i++) {
        int id = goldens.get("last_logits_top5_ids").get(i).intValue();
        assertThat((double) logits.get(id))
            .isCloseTo(goldens.get("last_logits_top5").get(i).doubleValue(), within(1e-2));
      }
      GenerationOptions greedy =
          GenerationOptions.builder().temperature(0).maxTokens(64).ignoreEos(true).build();
      assertThat(gemma.generate(Prompt.of(goldens.get("prompt").textValue()), greedy).tokens())
          .extracting(Integer::intValue)
          .isEqualTo(
              new ObjectMapper()
                  .convertValue(
                      goldens.get("greedy"),
                      new com.fasterxml.jackson.core.type.TypeReference<
                          java.util.List<Integer>>() {}));
    }
  }
}
