package dev.gemma4j.loader;

import static dev.gemma4j.loader.TestFiles.copy;
import static dev.gemma4j.loader.TestFiles.resource;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.PieceType;
import dev.gemma4j.tokenizer.Tokenizer;
import dev.gemma4j.tokenizer.Vocabulary;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class AddedTokensTest {
  private static final String CHAT_ML =
      """
      [{"id":%d,"content":"<|im_end|>","special":false},
       {"id":%d,"content":"<|im_start|>","special":true,"lstrip":false},
       {"id":0,"content":"<pad>","special":true}]
      """;

  @TempDir Path dir;

  private Tokenizer read(Tokenizer model) throws IOException {
    return AddedTokens.addTo(model, dir);
  }

  private static Tokenizer small() throws IOException {
    return Tokenizer.load(resource("forward/gemma-mqa-f32/tokenizer.model"));
  }

  private void write(String file, String json) throws IOException {
    Files.writeString(dir.resolve(file), json);
  }

  private void tokenizerJson(String tokens) throws IOException {
    // What stands behind the tokens is not read.
    write("tokenizer.json", "{\"version\":\"1.0\",\"x\":[{}],\"added_tokens\":" + tokens + ",!");
  }

  @ParameterizedTest
  @CsvSource({"tokenizer.json", "tokenizer_config.json", "added_tokens.json"})
  void followThePieces(String file) throws IOException {
    switch (file) {
      case "tokenizer.json" -> {
        tokenizerJson(CHAT_ML.formatted(513, 512));
        write("tokenizer_config.json", "not read then");
      }
      case "tokenizer_config.json" -> {
        write("tokenizer.json", "{\"model\":{}}");
        write(
            file,
            """
            {"added_tokens_decoder":{"513":{"content":"<|im_end|>"},"0":{"content":"<pad>"},
             "512":{"content":"<|im_start|>","special":true}}}
            """);
      }
      default -> write(file, "{\"<|im_end|>\":513,\"<|im_start|>\":512}");
    }
    Tokenizer tokenizer = read(small());
    String text = "<|im_start|>user\na king<|im_end|>";
    int[] ids = tokenizer.encode(text);
    assertThat(ids).startsWith(512).endsWith(513).doesNotContain(tokenizer.unkId());
    assertThat(tokenizer.decode(ids)).isEqualTo(text);
    assertThat(tokenizer.encodeLiteral("<|im_start|>")).doesNotContain(512);
    assertThat(tokenizer.isMarker(512)).isTrue();
    assertThat(tokenizer.isMarker(513)).isEqualTo(file.equals("added_tokens.json"));
    assertThat(tokenizer.encode("a king")).isEqualTo(small().encode("a king"));
    assertThat(tokenizer.type(0)).isEqualTo(PieceType.CONTROL);

    Map<String, Object> metadata =
        GgufWriter.metadata(
            "x", GemmaConfig.GEMMA_2B, TensorType.Q4_0, tokenizer.vocabulary(), List.of(513), null);
    // As of trl's ChatML models, whose texts begin and end with added tokens.
    metadata.put("tokenizer.ggml.bos_token_id", 512L);
    Values values = new Values("x.gguf", metadata);
    assertThat(GgufTokenizer.eosIds(values)).containsExactly(513);
    Tokenizer stored = GgufTokenizer.read(values);
    assertThat(stored.encode(text)).isEqualTo(ids);
    assertThat(stored.isMarker(512)).isTrue();
    assertThat(stored.encode("<eos>")).isEqualTo(tokenizer.encode("<eos>")).doesNotContain(1);
  }

  @ParameterizedTest
  @CsvSource({"1,1,5,-1", "513,513,513,-1", "1;513,1,513,-1", "513;1;5,1,513,5", "'',1,5,-1"})
  void ggufHasAKeyForEachOfThreeEnds(String ids, int eos, int eot, int eom) throws IOException {
    List<Integer> ends =
        ids.isEmpty() ? List.of() : Arrays.stream(ids.split(";")).map(Integer::valueOf).toList();
    Map<String, Object> metadata =
        GgufWriter.metadata(
            "x", GemmaConfig.GEMMA_2B, TensorType.Q4_0, small().vocabulary(), ends, null);
    assertThat(metadata)
        .containsEntry("tokenizer.ggml.eos_token_id", (long) eos)
        .containsEntry("tokenizer.ggml.eot_token_id", (long) eot);
    assertThat(metadata.getOrDefault("tokenizer.ggml.eom_token_id", -1L)).isEqualTo((long) eom);
    List<Integer> read = GgufTokenizer.eosIds(new Values("x.gguf", metadata));
    assertThat(read).containsAll(ends).hasSizeLessThanOrEqualTo(Math.max(2, ends.size()));
  }

  @Test
  void ggufHasNoFormForFourEnds() throws IOException {
    Vocabulary vocabulary = small().vocabulary();
    List<Integer> ends = List.of(1, 2, 3, 4);
    assertThatThrownBy(
            () ->
                GgufWriter.metadata(
                    "x", GemmaConfig.GEMMA_2B, TensorType.Q4_0, vocabulary, ends, null))
        .hasMessageContaining("eos_token_id: found [1, 2, 3, 4], expected at most 3");
  }

  @Test
  void mayBePiecesThatTheModelHas() throws IOException {
    Tokenizer model = small();
    int king = model.encode("er")[0];
    assertThat(model.type(king)).isEqualTo(PieceType.NORMAL);
    int[] literal = model.encode("the mother");
    assertThat(literal).doesNotContain(king); // it is within a longer one
    tokenizerJson(
        "[{\"id\":%d,\"content\":\"er\",\"special\":true},{\"id\":3,\"content\":\"<unk>\",\"special\":true}]"
            .formatted(king));
    Tokenizer tokenizer = read(model);
    assertThat(tokenizer.encode("the mother")).endsWith(king);
    assertThat(tokenizer.isMarker(king)).isTrue();
    assertThat(tokenizer.encodeLiteral("er")).doesNotContain(king);
    assertThat(tokenizer.type(3)).isEqualTo(PieceType.UNKNOWN);

    // What the model calls user-defined, the file may call special.
    tokenizerJson("[{\"id\":512,\"content\":\"<x>\"},{\"id\":513,\"content\":\"<y>\"}]");
    Tokenizer defined = read(model);
    assertThat(defined.isMarker(512)).isFalse();
    tokenizerJson("[{\"id\":512,\"content\":\"<x>\",\"special\":true}]");
    Tokenizer special = read(defined);
    assertThat(special.isMarker(512)).isTrue();
    assertThat(special.isMarker(513)).isFalse();
    assertThat(special.encode("a<x>")).isEqualTo(defined.encode("a<x>"));
  }

  @Test
  void aSpaceInOneIsFound() throws IOException {
    tokenizerJson("[{\"id\":512,\"content\":\"<a  king>\"}]");
    Tokenizer tokenizer = read(small());
    assertThat(tokenizer.encode("x<a  king>")).endsWith(512).hasSizeLessThan(4);
    assertThat(tokenizer.decode(512)).isEqualTo("<a  king>");
  }

  /** The ids are those of Hugging Face's tokenizers 0.23.2. */
  @ParameterizedTest
  @CsvSource(
      quoteCharacter = '`',
      value = {
        "q<x>y, 485 513 442", // the special one comes first
        "q<xy, 517 442",
        "`a  kq`, 428 425 514", // runs of spaces come last
        "`   kq<x>`, 7 514 513",
        "`a  <y>`, 428 425 516",
        "`ab|`, 428 443 6", // and Gemma's own, as the line's end, before others
        "<end_of_turn>q<x, 5 517",
      })
  void overlapsAreHuggingFaces(String text, String ids) throws IOException {
    String token = "{\"id\":%d,\"content\":\"%s\",\"special\":%b,\"normalized\":%b}";
    String tokens =
        String.join(
            ",",
            token.formatted(512, "q<x>y", false, true),
            token.formatted(513, "<x>", true, false),
            token.formatted(514, " kq", false, true),
            token.formatted(515, "ab\\n", false, true),
            token.formatted(516, " <y>", true, false),
            token.formatted(517, "q<x", false, true));
    tokenizerJson("[" + tokens + "]");
    Tokenizer tokenizer = read(small());
    String input = text.replace('|', '\n');
    int[] expected = Arrays.stream(ids.split(" ")).mapToInt(Integer::parseInt).toArray();
    assertThat(tokenizer.encode(input)).isEqualTo(expected);
    assertThat(tokenizer.encodeWithOffsets(input).ids()).isEqualTo(expected);
    assertThat(tokenizer.encodeLiteral(input)).doesNotContain(5, 513, 516);
    // A tokenizer.json of its own says the same.
    Path json = dir.resolve("tokenizer.json");
    Files.writeString(
        json,
        Files.readString(resource("fuzz/tokenizer_json/bpe"))
            .replaceFirst("\"added_tokens\": ?\\[", "$0" + tokens.replace("\\n", "\\\\n") + ","));
    assertThat(TokenizerJson.read(json).encode(input)).isEqualTo(expected);
  }

  @Test
  void gemmasOwnAreTheModels() throws IOException {
    Path file = dir.resolve("tokenizer.json");
    try (InputStream in = Files.newInputStream(resource("tokenizer/gemma1/tokenizer.json.gz"))) {
      Files.copy(new GZIPInputStream(in), file);
    }
    Tokenizer gemma = TokenizerJson.read(file); // as of its tokenizer.model
    assertThat(read(gemma)).isSameAs(gemma);
    // CodeGemma gives names to some that are unused.
    tokenizerJson("[{\"id\":67,\"content\":\"<|fim_prefix|>\",\"special\":false}]");
    assertThat(gemma.piece(67)).isEqualTo("<unused60>");
    Tokenizer code = read(gemma);
    assertThat(code.encode("<|fim_prefix|>a")).startsWith(67).hasSize(2);
    assertThat(code.encode("<unused60>")).doesNotContain(67);
    assertThat(code.encodeLiteral("<|fim_prefix|>")).doesNotContain(67);
    assertThat(code.encode("<start_of_turn>a")).isEqualTo(gemma.encode("<start_of_turn>a"));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "[{\"id\":513,\"content\":\"<x>\"}] | id 513 of \"<x>\", expected id 512",
        "[{\"id\":512,\"content\":\"<x>\"},{\"id\":512,\"content\":\"<y>\"}] |"
            + " id 512 of \"<y>\", expected id 513",
        "[{\"id\":-1,\"content\":\"<x>\"}] | id -1 of \"<x>\", expected id 512",
        "[{\"id\":0,\"content\":\"<x>\"}] | id 0 of \"<x>\", expected \"<pad>\", piece 0 of",
        "[{\"id\":512,\"content\":\"<pad>\"}] | '<pad>', which is also piece 0",
        "[{\"id\":512,\"content\":\"\"}] | an empty text",
        "[{\"id\":512,\"content\":\"<x>\",\"rstrip\":true}] | added_tokens.<x>.rstrip: found true",
        "[{\"id\":512}] | content: found nothing",
        "[1] | added_tokens: found 1, expected an object",
        "{} | added_tokens: found an object, expected a list",
      })
  void refuses(String tokens, String message) throws IOException {
    tokenizerJson(tokens);
    Tokenizer model = small();
    assertThatThrownBy(() -> read(model))
        .isInstanceOf(MalformedFileException.class)
        .hasMessageStartingWith(dir.resolve("tokenizer.json") + ": ")
        .hasMessageContaining(message);
  }

  @Test
  void refusesOtherFiles() throws IOException {
    Tokenizer model = small();
    write("tokenizer_config.json", "{\"added_tokens_decoder\":{\"a\":{\"content\":\"b\"}}}");
    assertThatThrownBy(() -> read(model))
        .hasMessageContaining("added_tokens_decoder: found \"a\", expected a token id");
    write("tokenizer.json", "[]");
    assertThatThrownBy(() -> read(model)).hasMessageContaining("JSON: found START_ARRAY");
  }

  @Test
  void belongToACheckpoint() throws IOException {
    copy("forward/gemma-mqa-bf16", dir);
    tokenizerJson("[{\"id\":512,\"content\":\"<x>\"}]");
    assertThatThrownBy(() -> Checkpoint.open(dir))
        .hasMessage(
            dir
                + ": tokenizer: found \"<x>\" with id 512,"
                + " expected only ids of the 512 rows of the embedding");
  }
}
