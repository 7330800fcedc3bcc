package dev.gemma4j.tokenizer;

import static dev.gemma4j.tokenizer.TokenizerGoldenTest.ids;
import static dev.gemma4j.tokenizer.TokenizerGoldenTest.lines;
import static dev.gemma4j.tokenizer.TokenizerGoldenTest.resource;
import static dev.gemma4j.tokenizer.TokenizerGoldenTest.tokenizer;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.time.Duration;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TokenizerTest {
  @ParameterizedTest
  @ValueSource(strings = {"gemma1", "gemma3"})
  void whereTheReferencesDifferSentencePieceIsRight(String model) throws IOException {
    Tokenizer tokenizer = tokenizer(model + "/tokenizer.model.gz");
    for (JsonNode c : lines(model + "/disagreements.jsonl.gz")) {
      assertThat(tokenizer.encode(c.get("text").asText()))
          .as("'%s'", c.get("text").asText())
          .isEqualTo(ids(c.get("sentencepiece_ids")));
    }
    for (JsonNode c : lines(model + "/decode_disagreements.jsonl.gz")) {
      assertThat(tokenizer.decode(ids(c.get("ids")))).isEqualTo(c.get("sentencepiece").asText());
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"bpe_512", "unigram_512", "unigram_identity_512"})
  void streamingGivesTheDecodedTextAndNeverHalfACharacter(String model) throws IOException {
    Tokenizer tokenizer = tokenizer("small/" + model + ".model");
    Random random = new Random(7);
    for (int round = 0; round < 300; round++) {
      int[] ids = random.ints(20, 0, tokenizer.vocabSize()).toArray();
      StreamingDecoder decoder = tokenizer.newStreamingDecoder();
      StringBuilder text = new StringBuilder();
      for (int id : ids) {
        String part = decoder.push(id);
        assertThat(part).satisfies(TokenizerTest::hasNoHalfPair);
        text.append(part);
      }
      assertThat(text.append(decoder.flush()).toString()).isEqualTo(tokenizer.decode(ids));
    }
  }

  private static void hasNoHalfPair(String text) {
    assertThat(text.codePoints().noneMatch(c -> c >= 0xd800 && c < 0xe000)).isTrue();
  }

  @Test
  void anyTextComesBackAndItsOffsetsCoverIt() throws IOException {
    Tokenizer tokenizer = tokenizer("small/bpe_512.model");
    Random random = new Random(11);
    for (int round = 0; round < 500; round++) {
      String text =
          random
              .ints(1 + random.nextInt(40), 0, 0x2ffff)
              .map(c -> round(c, random))
              .filter(c -> c != 0x2581)
              .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
              .toString();
      assertThat(tokenizer.decode(tokenizer.encode(text))).isEqualTo(text);
      Encoding encoding = tokenizer.encodeWithOffsets(text);
      assertThat(encoding.ids()).isEqualTo(tokenizer.encode(text));
      int end = 0;
      for (int i = 0; i < encoding.ids().length; i++) {
        assertThat(encoding.starts()[i]).isLessThanOrEqualTo(end);
        end = encoding.ends()[i];
      }
      assertThat(end).isEqualTo(text.length());
    }
  }

  private static int round(int c, Random random) {
    return random.nextInt(3) > 0 ? ' ' + c % 95 : c >= 0xd800 && c < 0xe000 ? 'x' : c;
  }

  @Test
  void literalEncodingNeverGivesMarkers() throws IOException {
    Tokenizer tokenizer = tokenizer("gemma1/tokenizer.model.gz");
    String text = "<start_of_turn>user\n\n<h1>hi<end_of_turn><unused7><mask>";
    assertThat(tokenizer.encode(text)).contains(106, 107);
    int[] literal = tokenizer.encodeLiteral(text);
    assertThat(literal).doesNotContain(4, 106, 107, tokenizer.idOf("<unused7>"));
    assertThat(literal).contains(tokenizer.idOf("\n\n"), tokenizer.idOf("<h1>"));
    assertThat(tokenizer.decode(literal)).isEqualTo(text);
    assertThat(tokenizer.encodeLiteral("plain text")).isEqualTo(tokenizer.encode("plain text"));
  }

  @Test
  void unpairedSurrogatesBecomeTheReplacementCharacter() throws IOException {
    Tokenizer tokenizer = tokenizer("small/bpe_512.model");
    assertThat(tokenizer.decode(tokenizer.encode("a\ud800b"))).isEqualTo("a\ufffdb");
  }

  @Test
  void oneLongWordTakesNoQuadraticTime() throws IOException {
    Tokenizer tokenizer = tokenizer("gemma1/tokenizer.model.gz");
    for (String part : new String[] {"a", "ab", "\u0640", "<"}) {
      String text = part.repeat(400_000 / part.length());
      // A hang, not a speed, is what this finds: quadratic merging would take hours.
      int[] ids =
          Assertions.assertTimeoutPreemptively(Duration.ofMinutes(2), () -> tokenizer.encode(text));
      assertThat(tokenizer.decode(ids)).isEqualTo(text);
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 3, 4, 5, 6, 7})
  void malformedModelsAreRefusedByName(int number) throws IOException {
    String name = "tokenizer-0" + number + ".model";
    byte[] model = resource("malformed/" + name);
    assertThatThrownBy(() -> Tokenizer.parse(model, name))
        .isInstanceOf(MalformedFileException.class)
        .hasMessageStartingWith(name + ": ");
  }

  @Test
  void mutatedModelsAreRefusedOrWork() throws IOException {
    Random random = new Random(3);
    int refused = 0;
    for (String name : new String[] {"bpe_512", "unigram_512"}) {
      byte[] model = resource("small/" + name + ".model");
      for (int round = 0; round < 1500; round++) {
        byte[] mutant =
            Arrays.copyOf(
                model, random.nextInt(4) > 0 ? model.length : random.nextInt(model.length));
        for (int i = random.nextInt(6); i >= 0 && mutant.length > 0; i--) {
          mutant[random.nextInt(mutant.length)] = (byte) random.nextInt();
        }
        try {
          Tokenizer tokenizer = Tokenizer.parse(mutant, name);
          int[] ids = tokenizer.encode("Hello, w\u00f6rld \u2603 123");
          tokenizer.decode(ids);
        } catch (MalformedFileException e) {
          refused++;
        }
      }
    }
    assertThat(refused).isGreaterThan(100);
  }

  @Test
  void idsOutsideTheVocabularyAreRefused() throws IOException {
    Tokenizer tokenizer = tokenizer("small/bpe_512.model");
    IntStream.of(-1, 512)
        .forEach(
            id ->
                assertThatThrownBy(() -> tokenizer.decode(id))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("[0, 512)"));
  }
}
