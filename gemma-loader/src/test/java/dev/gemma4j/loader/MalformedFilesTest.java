package dev.gemma4j.loader;

import static dev.gemma4j.loader.TestFiles.copy;
import static dev.gemma4j.loader.TestFiles.resource;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The corrupt files of shared/reference/malformed, made by its malformed.py. */
class MalformedFilesTest {
  @TempDir Path dir;

  static List<JsonNode> entries() throws IOException {
    List<JsonNode> entries = new ArrayList<>();
    for (JsonNode e : new ObjectMapper().readTree(resource("malformed/manifest.json").toFile())) {
      if (!e.get("kind").asText().equals("tokenizer")) {
        entries.add(e);
      }
    }
    assertThat(entries).hasSize(39);
    return entries;
  }

  @ParameterizedTest
  @MethodSource("entries")
  void doesAsTheManifestExpects(JsonNode entry) throws IOException {
    Path path = prepare(entry.get("kind").asText(), entry.get("path").asText());
    String message = "";
    try (Checkpoint checkpoint = Checkpoint.open(path)) {
      assertThat(checkpoint.tensors()).hasSize(11);
    } catch (IOException e) {
      message = String.valueOf(e.getMessage());
      assertThat(message).hasLineCount(1).contains(dir.toString(), ": found ", ", expected ");
    }
    switch (entry.get("expect").asText()) {
      case "ok" -> assertThat(message).isEmpty();
      case "error" -> assertThat(message).isNotEmpty();
      default -> {}
    }
  }

  /** A fragment is put where everything else is in order, so that it alone can be to blame. */
  private Path prepare(String kind, String name) throws IOException {
    Path source = resource("malformed/" + name);
    if (Files.isDirectory(source)) {
      return copy("malformed/" + name, dir);
    }
    copy("malformed/model_dir-01", dir);
    Path target = dir.resolve(kind.equals("config") ? "config.json" : name);
    Files.write(target, Files.readAllBytes(source));
    return kind.equals("config") ? dir : target;
  }
}
