package dev.gemma4j.tokenizer;

import static dev.gemma4j.tokenizer.TokenizerGoldenTest.ids;
import static dev.gemma4j.tokenizer.TokenizerGoldenTest.lines;
import static dev.gemma4j.tokenizer.TokenizerGoldenTest.resource;
import static dev.gemma4j.tokenizer.TokenizerGoldenTest.tokenizer;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import dev.gemma4j.tokenizer.Vocabulary.Piece;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
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

  /** Fields of a ModelProto as bytes. */
  private static byte[] field(int number, byte[] value) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    out.write(number << 3 & 0x7f | 2 | (number > 15 ? 0x80 : 0));
    if (number > 15) {
      out.write(number >> 4);
    }
    out.write(value.length); // below 128
    out.writeBytes(value);
    return out.toByteArray();
  }

  private static byte[] piece(String text, byte... rest) {
    return field(1, concat(field(1, text.getBytes(StandardCharsets.UTF_8)), rest));
  }

  private static byte[] concat(byte[]... parts) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    for (byte[] part : parts) {
      out.writeBytes(part);
    }
    return out.toByteArray();
  }

  private static final byte[] UNKNOWN = piece("<unk>", (byte) 0x18, (byte) 2);

  private static void refuses(byte[] model, String message) {
    assertThatThrownBy(() -> Tokenizer.parse(model, "x"))
        .isInstanceOf(MalformedFileException.class)
        .hasMessageStartingWith("x: " + message)
        .message()
        .hasLineCount(1)
        .hasSizeLessThan(600);
  }

  @Test
  void whatWouldGiveAnotherTextIsRefusedByName() throws IOException {
    byte[] suffix = {(byte) 0xc0, 1, 1};
    byte[] nan = {0x15, 0, 0, (byte) 0xc0, 0x7f};
    refuses(
        concat(UNKNOWN, field(2, suffix)),
        "trainer_spec.treat_whitespace_as_suffix: found true, expected false");
    refuses(
        concat(UNKNOWN, field(2, field(44, new byte[] {'?'}))),
        "trainer_spec.unk_surface: found '?', expected ' \u2047 '");
    refuses(
        concat(UNKNOWN, field(5, field(2, new byte[4]))),
        "denormalizer_spec.precompiled_charsmap: found 4 bytes, expected none");
    refuses(concat(UNKNOWN, piece("a", nan)), "score of piece 1: found NaN");
    byte[] byteFallback = field(2, new byte[] {(byte) 0x98, 2, 1});
    refuses(
        concat(UNKNOWN, byteFallback),
        "trainer_spec.byte_fallback: found true, expected false, as there are no pieces for bytes");
    refuses(
        concat(UNKNOWN, piece("<0x00>", (byte) 0x18, (byte) 6)),
        "trainer_spec.byte_fallback: found false, expected true, as there are pieces for bytes");
    byte[] unknown = " \u2047 ".getBytes(StandardCharsets.UTF_8);
    byte[] usual = concat(UNKNOWN, field(2, field(44, unknown)), field(5, field(2, new byte[0])));
    assertThat(Tokenizer.parse(usual, "x").vocabSize()).isEqualTo(1);
  }

  @Test
  void textMustBeUtf8() throws IOException {
    byte[][] wrong = {
      {(byte) 0xff},
      {(byte) 0xc3},
      {(byte) 0xc0, (byte) 0x80},
      {(byte) 0xed, (byte) 0xa0, (byte) 0x80}
    };
    for (byte[] text : wrong) {
      String message = "found bytes that are no UTF-8, expected UTF-8";
      refuses(concat(UNKNOWN, field(1, field(1, text))), "text after 1 pieces: " + message);
      refuses(concat(UNKNOWN, field(2, field(44, text))), "text after 1 pieces: " + message);
    }
    assertThat(Tokenizer.parse(concat(UNKNOWN, piece("\ufffd")), "x").piece(1)).isEqualTo("\ufffd");
  }

  @Test
  void errorsAreOneShortLine() {
    refuses(concat(UNKNOWN, piece("a\nb"), piece("a\nb")), "piece 2: found 'a\\u000ab', which");
    String text = "\n".repeat(100);
    refuses(concat(UNKNOWN, piece(text), piece(text)), "piece 2: found '\\u000a");
  }

  @Test
  void piecesAreRefusedBeforeTheyFillTheHeap() {
    // While it is read: else the field that breaks off would be the trouble.
    refuses(concat(UNKNOWN, piece(""), new byte[] {0x0a}), "piece 1: found an empty text");
    byte[] piece = piece("a");
    ByteArrayOutputStream many = new ByteArrayOutputStream();
    for (int i = 0; i <= 1 << 21; i++) {
      many.writeBytes(piece);
    }
    refuses(many.toByteArray(), "pieces: found more than 2097152");
  }

  @Test
  void piecesThatWereMadeToCollideAreRefused() {
    int n = 4000;
    PieceTable table = new PieceTable(n + 1);
    ByteArrayOutputStream model = new ByteArrayOutputStream();
    model.writeBytes(UNKNOWN);
    int slot = table.slot(PieceTable.hash("0".getBytes(StandardCharsets.UTF_8), 0, 1));
    for (int i = 0, made = 0; made < n; i++) {
      byte[] text = Integer.toString(i, 36).getBytes(StandardCharsets.UTF_8);
      if (table.slot(PieceTable.hash(text, 0, text.length)) >> 4 == slot >> 4 || made > 400) {
        model.writeBytes(field(1, field(1, text)));
        made++;
      }
    }
    assertThatThrownBy(() -> Tokenizer.parse(model.toByteArray(), "x"))
        .isInstanceOf(MalformedFileException.class)
        .hasMessageContaining("a hash that 256 pieces before it crowd");
  }

  @Test
  void onlyARegularFileIsRead(@TempDir Path dir) throws IOException {
    assertThatThrownBy(() -> Tokenizer.load(dir))
        .isInstanceOf(MalformedFileException.class)
        .hasMessage(dir + ": file: found something else, expected a regular file");
    assertThatThrownBy(() -> Tokenizer.load(dir.resolve("gone")))
        .isInstanceOf(NoSuchFileException.class);
    Path empty = Files.createFile(dir.resolve("empty"));
    assertThatThrownBy(() -> Tokenizer.load(empty))
        .isInstanceOf(MalformedFileException.class)
        .hasMessage(empty + ": size: found 0 bytes, expected some");
  }

  @Test
  void aFileThatCannotBeReadIsNamed() {
    // What the system says; a test that runs as root is denied nothing.
    Path file = Path.of("x.model");
    assertThat(Tokenizer.unreadable(file, new AccessDeniedException("x.model")))
        .hasMessage("x.model: cannot be read: access denied");
    assertThat(Tokenizer.unreadable(file, new IOException("Input/output error")))
        .hasMessage("x.model: cannot be read: Input/output error");
  }

  @Test
  void onlyTheSpaceThatEncodingPutsInFrontIsDropped() throws IOException {
    byte[] keepSpaces = field(3, new byte[] {0x20, 0}); // remove_extra_whitespaces: false
    byte[] model = concat(UNKNOWN, piece(" a"), piece("\u2581a"), keepSpaces);
    Tokenizer tokenizer = Tokenizer.parse(model, "x");
    assertThat(tokenizer.dropsLeadingSpace()).isTrue();
    assertThat(tokenizer.decode(2, 1)).isEqualTo("a a");
    assertThat(tokenizer.decode(1, 2)).isEqualTo(" a a");
  }

  @Test
  @EnabledOnOs(OS.LINUX)
  void aDeviceIsNotReadForever() {
    assertThatThrownBy(() -> Tokenizer.load(Path.of("/dev/zero")))
        .hasMessage("/dev/zero: file: found something else, expected a regular file");
  }

  /** As SentencePiece 0.2.2 has it. */
  @Test
  void unigramPrefersUserDefinedPiecesToNegativeScores() throws IOException {
    Tokenizer tokenizer = unigram(-2, -1, -3);
    assertThat(tokenizer.encode("aaaaa")).containsExactly(2, 4);
    assertThat(tokenizer.encode("baaab")).containsExactly(3, 4, 3);
    assertThat(tokenizer.encode("aaaaaaaa")).containsExactly(2, 4, 4);
    assertThat(unigram(1, 0, 1).encode("aaa")).containsExactly(1, 1, 1);
  }

  /** Of a, aa, b, and the user-defined aaa. */
  private static Tokenizer unigram(float... scores) throws IOException {
    List<Piece> pieces =
        List.of(
            new Piece("<unk>", 0, PieceType.UNKNOWN),
            new Piece("a", scores[0], PieceType.NORMAL),
            new Piece("aa", scores[1], PieceType.NORMAL),
            new Piece("b", scores[2], PieceType.NORMAL),
            new Piece("aaa", 0, PieceType.USER_DEFINED));
    return of(pieces, Vocabulary.Algorithm.UNIGRAM, new byte[0]);
  }

  private static Tokenizer of(List<Piece> pieces, Vocabulary.Algorithm algorithm, byte[] charsMap)
      throws IOException {
    Vocabulary.Normalization rules = new Vocabulary.Normalization(false, false, true, charsMap);
    return Tokenizer.of(new Vocabulary(pieces, algorithm, rules, -1, -1, -1, true), "test");
  }

  /** A text would be searched for it from each of its places. */
  @Test
  void aVeryLongPieceIsRefused() throws IOException {
    assertThat(ofOne("a".repeat(1024), new byte[0]).encode("a".repeat(1025))).containsExactly(1, 0);
    assertThatThrownBy(() -> ofOne("a".repeat(1025), new byte[0]))
        .hasMessage("test: piece 1: found 1025 bytes, expected at most 1024");
  }

  @Test
  void aTrieThatGoesRoundInCirclesEnds() throws IOException {
    ByteBuffer map = ByteBuffer.allocate(4 + 4 * 0x62 + 1).order(ByteOrder.LITTLE_ENDIAN);
    map.putInt(0, 4 * 0x62);
    map.putInt(4 + 4 * 'a', 'a' << 10 | 'a'); // after an a it is where it was
    Tokenizer tokenizer = ofOne("b", map.array());
    String text = "a".repeat(300_000) + "b";
    Assertions.assertTimeoutPreemptively(
        Duration.ofSeconds(20), () -> assertThat(tokenizer.encode(text)).containsExactly(0, 1));
  }

  private static Tokenizer ofOne(String piece, byte[] charsMap) throws IOException {
    List<Piece> pieces =
        List.of(
            new Piece("<unk>", 0, PieceType.UNKNOWN), new Piece(piece, 0, PieceType.USER_DEFINED));
    return of(pieces, Vocabulary.Algorithm.BPE, charsMap);
  }

  @Test
  void idsOutsideTheVocabularyAreRefused() throws IOException {
    Tokenizer tokenizer = tokenizer("small/bpe_512.model");
    IntStream.of(-1, 512)
        .forEach(
            id ->
                assertThatThrownBy(() -> tokenizer.piece(id))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("[0, 512)"));
    assertThatThrownBy(() -> tokenizer.decode(-1)).isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  void idsBeyondTheVocabularyPrintNothing() throws IOException {
    Tokenizer tokenizer = tokenizer("small/bpe_512.model");
    int[] ids = tokenizer.encode("a \u2603");
    assertThat(tokenizer.decode(ids)).isEqualTo("a \u2603");
    int[] more =
        IntStream.concat(IntStream.of(ids), IntStream.of(512, Integer.MAX_VALUE)).toArray();
    assertThat(tokenizer.decode(more)).isEqualTo("a \u2603");
    assertThat(tokenizer.bytes(512)).isEmpty();
  }
}
