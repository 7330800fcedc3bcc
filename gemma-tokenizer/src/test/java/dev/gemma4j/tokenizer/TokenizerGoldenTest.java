package dev.gemma4j.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Ids and texts equal those of sentencepiece 0.2.2 on every golden case. */
class TokenizerGoldenTest {
  static byte[] resource(String name) throws IOException {
    try (InputStream in =
        Objects.requireNonNull(TokenizerGoldenTest.class.getResourceAsStream(name), name)) {
      return (name.endsWith(".gz") ? new GZIPInputStream(in) : in).readAllBytes();
    }
  }

  static List<JsonNode> lines(String name) throws IOException {
    List<JsonNode> result = new ArrayList<>();
    new ObjectMapper()
        .readerFor(JsonNode.class)
        .<JsonNode>readValues(resource(name))
        .forEachRemaining(result::add);
    assertThat(result).as(name).isNotEmpty();
    return result;
  }

  static Tokenizer tokenizer(String name) throws IOException {
    return Tokenizer.parse(resource(name), name);
  }

  static int[] ids(JsonNode node) {
    int[] ids = new int[node.size()];
    for (int i = 0; i < ids.length; i++) {
      ids[i] = node.get(i).asInt();
    }
    return ids;
  }

  @ParameterizedTest
  @ValueSource(strings = {"gemma1", "gemma3"})
  void encodesAndDecodesAsSentencePiece(String model) throws IOException {
    Tokenizer tokenizer = tokenizer(model + "/tokenizer.model.gz");
    for (JsonNode c : lines(model + "/cases.jsonl.gz")) {
      String text = c.get("text").asText();
      assertThat(tokenizer.encode(text)).as("'%s'", text).isEqualTo(ids(c.get("ids")));
      assertThat(tokenizer.decode(ids(c.get("ids")))).isEqualTo(c.get("decoded").asText());
    }
    for (JsonNode c : lines(model + "/decode_cases.jsonl.gz")) {
      assertThat(tokenizer.decode(ids(c.get("ids")))).isEqualTo(c.get("decoded").asText());
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"bpe_512", "unigram_512", "unigram_identity_512"})
  void smallModelsAsSentencePiece(String model) throws IOException {
    Tokenizer tokenizer = tokenizer("small/" + model + ".model");
    for (JsonNode c : lines("small/" + model + ".cases.jsonl")) {
      String text = c.get("text").asText();
      assertThat(tokenizer.encode(text)).as("'%s'", text).isEqualTo(ids(c.get("ids")));
      assertThat(tokenizer.decode(ids(c.get("ids")))).isEqualTo(c.get("decoded").asText());
    }
  }
}
