package dev.gemma4j.loader;

import static dev.gemma4j.loader.TestFiles.copy;
import static dev.gemma4j.loader.TestFiles.resource;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.PieceType;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The same ids and texts as sentencepiece with the tokenizer.model of the same vocabulary. */
class TokenizerJsonTest {
  private static final ObjectMapper MAPPER = new ObjectMapper();

  @TempDir Path dir;

  private static List<JsonNode> lines(String name) throws IOException {
    List<JsonNode> result = new ArrayList<>();
    try (InputStream file = Files.newInputStream(resource("tokenizer/" + name));
        InputStream in = name.endsWith(".gz") ? new GZIPInputStream(file) : file) {
      MAPPER.readerFor(JsonNode.class).<JsonNode>readValues(in).forEachRemaining(result::add);
    }
    assertThat(result).isNotEmpty();
    return result;
  }

  private static int[] ids(JsonNode node) {
    return MAPPER.convertValue(node, int[].class);
  }

  private static void check(Tokenizer tokenizer, String cases) throws IOException {
    for (JsonNode c : lines(cases)) {
      if (c.has("text")) {
        String text = c.get("text").asText();
        assertThat(tokenizer.encode(text)).as("'%s'", text).isEqualTo(ids(c.get("ids")));
      }
      assertThat(tokenizer.decode(ids(c.get("ids")))).isEqualTo(c.get("decoded").asText());
    }
  }

  private Tokenizer gemma1() throws IOException {
    Path file = dir.resolve("tokenizer.json");
    try (InputStream in = Files.newInputStream(resource("tokenizer/gemma1/tokenizer.json.gz"))) {
      Files.copy(new GZIPInputStream(in), file);
    }
    return TokenizerJson.read(file);
  }

  @Test
  void gemmasOwnGivesTheIdsOfSentencePiece() throws IOException {
    Tokenizer tokenizer = gemma1();
    check(tokenizer, "gemma1/cases.jsonl.gz");
    check(tokenizer, "gemma1/decode_cases.jsonl.gz");
    assertThat(tokenizer.vocabSize()).isEqualTo(256_000);
    assertThat(tokenizer.bosId()).isEqualTo(2);
    assertThat(tokenizer.eosId()).isEqualTo(1);
    assertThat(tokenizer.padId()).isZero();
    assertThat(tokenizer.unkId()).isEqualTo(3);
    assertThat(tokenizer.piece(226)).isEqualTo("<0x09>");
    assertThat(tokenizer.type(226)).isEqualTo(PieceType.BYTE);
    assertThat(tokenizer.type(106)).isEqualTo(PieceType.USER_DEFINED);
  }

  /** They name no prefix and no end of turn, and call what is user-defined normal. */
  @Test
  void soDoTheFirstPublishedGgufFiles() throws IOException {
    Map<String, Object> metadata =
        GgufWriter.metadata(
            "gemma", GemmaConfig.GEMMA_2B, TensorType.Q4_0, gemma1().vocabulary(), List.of(), null);
    metadata.remove("tokenizer.ggml.add_space_prefix");
    metadata.remove("tokenizer.ggml.add_bos_token");
    metadata.remove("tokenizer.ggml.eot_token_id");
    metadata.remove("tokenizer.ggml.bos_token_id"); // which no file should lack
    List<Object> types = new ArrayList<>();
    List<Object> pieces = new ArrayList<>();
    for (int id = 0; id < 256_000; id++) {
      long type = (Long) ((List<?>) metadata.get("tokenizer.ggml.token_type")).get(id);
      boolean defined = id > 3 && (type == 3 || type == 4);
      types.add(defined ? 1L : type);
      String piece = (String) ((List<?>) metadata.get("tokenizer.ggml.tokens")).get(id);
      pieces.add(defined ? piece.replace(' ', '\u2581') : piece);
    }
    assertThat(types.subList(4, 217)).containsOnly(1L);
    metadata.put("tokenizer.ggml.token_type", types);
    metadata.put("tokenizer.ggml.tokens", pieces);
    Values values = new Values("gemma.gguf", metadata);
    Tokenizer tokenizer = GgufTokenizer.read(values);
    check(tokenizer, "gemma1/cases.jsonl.gz");
    check(tokenizer, "gemma1/decode_cases.jsonl.gz");
    assertThat(tokenizer.isMarker(107)).isTrue();
    assertThat(tokenizer.bosId()).isEqualTo(2);
    assertThat(GgufTokenizer.eosIds(values)).containsExactly(1, 107);
  }

  private Path json() throws IOException {
    return Files.copy(resource("fuzz/tokenizer_json/bpe"), dir.resolve("tokenizer.json"));
  }

  @Test
  void aDirectoryMayHaveItInsteadOfTheModel() throws IOException {
    copy("forward/gemma-mqa-bf16", dir);
    Tokenizer expected;
    try (Checkpoint checkpoint = Checkpoint.open(dir)) {
      expected = checkpoint.tokenizer();
    }
    Files.delete(dir.resolve("tokenizer.model"));
    json();
    try (Checkpoint checkpoint = Checkpoint.open(dir)) {
      Tokenizer tokenizer = checkpoint.tokenizer();
      check(tokenizer, "bpe_512.cases.jsonl");
      for (int id = 0; id < expected.vocabSize(); id++) {
        assertThat(tokenizer.piece(id)).isEqualTo(expected.piece(id));
        assertThat(tokenizer.type(id)).as(expected.piece(id)).isEqualTo(expected.type(id));
      }
    }
  }

  @Test
  void mergesMayBeTextsAndTokensMayFollowTheVocabulary() throws IOException {
    Path file = json();
    String json = Files.readString(file);
    String texts = json.replaceAll("\\[\"([^\"]+)\",\"([^\"]+)\"]", "\"$1 $2\"");
    assertThat(texts).isNotEqualTo(json);
    Files.writeString(
        file,
        texts.replace(
            "\"added_tokens\":[",
            "\"added_tokens\":[{\"id\":512,\"content\":\"<image>\",\"special\":true},"));
    Tokenizer tokenizer = TokenizerJson.read(file);
    check(tokenizer, "bpe_512.cases.jsonl");
    assertThat(tokenizer.encode("<image>")).containsExactly(512);
  }

  @Test
  void whatAFileCallsSpecialIsNoMansText() throws IOException {
    Path file = json();
    Files.writeString(
        file,
        Files.readString(file)
            .replace(
                "\"added_tokens\":[",
                "\"added_tokens\":[{\"id\":512,\"content\":\"<|fim_prefix|>\",\"special\":true},"
                    + "{\"id\":513,\"content\":\"<hr>\",\"special\":false},"));
    Tokenizer json = TokenizerJson.read(file);
    Map<String, Object> metadata =
        GgufWriter.metadata(
            "x", GemmaConfig.GEMMA_2B, TensorType.Q4_0, json.vocabulary(), List.of(), null);
    String text = "<|fim_prefix|>a\n<hr><start_of_turn>";
    for (Tokenizer tokenizer : List.of(json, GgufTokenizer.read(new Values("x.gguf", metadata)))) {
      assertThat(tokenizer.encode(text)).startsWith(512).contains(513);
      int[] literal = tokenizer.encodeLiteral(text);
      assertThat(literal).doesNotContain(512, tokenizer.idOf("<start_of_turn>")).contains(513);
      assertThat(tokenizer.decode(literal)).isEqualTo(text);
      assertThat(tokenizer.isMarker(512)).isTrue();
      assertThat(tokenizer.isMarker(513)).isFalse();
      // White space means nothing else, whatever a file calls it.
      assertThat(tokenizer.encodeLiteral("\n")).isEqualTo(tokenizer.encode("\n")).hasSize(1);
    }
  }

  private void refusesMerges(String merges, String message) throws IOException {
    String json =
        """
        {"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"\u2581"},
         "decoder":{"type":"Sequence","decoders":[{"type":"Fuse"}]},
         "model":{"type":"BPE","unk_token":"<unk>","merges":[%s],
          "vocab":{"<unk>":0,"a":1,"b":2,"c":3,"x":4,"ab":5,"bc":6,"abc":7,"cx":8}}}
        """;
    Path file = Files.writeString(dir.resolve("tokenizer.json"), json.formatted(merges));
    if (message.isEmpty()) {
      assertThat(TokenizerJson.read(file).encode("abcx")).containsExactly(5, 8);
      return;
    }
    assertThatThrownBy(() -> TokenizerJson.read(file))
        .isInstanceOf(MalformedFileException.class)
        .hasMessageContaining("model.merges: found " + message);
  }

  /** In the other orders the reference itself gives other ids than scores of pieces can. */
  @Test
  void mergesOfAPieceStandTogether() throws IOException {
    refusesMerges("'a b','c x','a bc','ab c','b c'".replace('\'', '"'), "");
    refusesMerges(
        "'a b','a bc','c x','ab c','b c'".replace('\'', '"'),
        "\"ab\", \"c\" apart from others of its union");
    refusesMerges("'a b','b c','a bc','a bc','c x'".replace('\'', '"'), "\"a\", \"bc\" again");
    refusesMerges(
        "'a b','b c','a bc','abc','c x'".replace('\'', '"'), "\"\", \"abc\", expected two");
    refusesMerges(
        "'a b','b c','a bc','d bc','c x'".replace('\'', '"'),
        "5, of 5 texts, expected the 5 pairs");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "\"type\":\"BPE\" | \"type\":\"Unigram\" | model.type: found \"Unigram\", expected \"BPE\"",
        "\"dropout\":null | \"dropout\":0.1 | model.dropout: found 0.1",
        "\"end_of_word_suffix\":null | \"end_of_word_suffix\":\"</w>\" | model.end_of_word_suffix",
        "\"ignore_merges\":false | \"ignore_merges\":true | model.ignore_merges: found true",
        "\"unk_token\":\"<unk>\" | \"unk_token\":\"?!\" | model.unk_token: found \"?!\"",
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"} | {\"type\":\"NFKC\",\"x\":{} |"
            + " normalizer: found NFKC",
        "\"normalizer\": | \"x\": | normalizer: found nothing",
        "\"type\":\"Split\" | \"type\":\"ByteLevel\" | pre_tokenizer: found ByteLevel",
        "\"type\":\"ByteFallback\" | \"type\":\"Strip\" | decoder.decoders: found \"Strip\"",
        "\"lstrip\":false | \"lstrip\":true | added_tokens.<pad>.lstrip: found true",
        "\"id\":0, | \"id\":9, | added_tokens.<pad>.id: found 9, expected 0",
        "\"<pad>\":0 | \"<pad>\":1 | found 1, expected an id below 512 that no other piece has",
        "\"<pad>\":0 | \"<pad>\":-1 | model.vocab.<pad>: found -1",
        "\"<pad>\":0 | \"<pad>\":99999999999 | JSON: found Numeric value",
        "\"<pad>\":0 | \"<pad>\":\"0\" | model.vocab.<pad>: found 0, expected VALUE_NUMBER_INT",
        "[\"t\",\"h\"], | `` | as SentencePiece has it",
        "[\"t\",\"h\"], | [\"t\"], | model.merges: found ], expected VALUE_STRING",
        "\"<0x00>\" | \"<0xzz>\" | no piece <0x00>",
        "\"version\":\"1.0\" | \"model\":3 | model: found 3, expected START_OBJECT",
      })
  void refuses(String from, String to, String message) throws IOException {
    Path file = json();
    String text = Files.readString(file).replace(", ", ",").replace(": ", ":");
    assertThat(text).contains(from);
    Files.writeString(file, text.replace(from, to == null ? "" : to));
    assertThatThrownBy(() -> TokenizerJson.read(file))
        .isInstanceOf(MalformedFileException.class)
        .hasMessageStartingWith(file + ": ")
        .hasMessageContaining(message)
        .message()
        .hasLineCount(1);
  }
}
