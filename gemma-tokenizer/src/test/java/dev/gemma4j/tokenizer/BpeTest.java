package dev.gemma4j.tokenizer;

import static dev.gemma4j.tokenizer.TokenizerGoldenTest.tokenizer;
import static org.assertj.core.api.Assertions.assertThat;

import dev.gemma4j.tokenizer.Vocabulary.Piece;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The fast encoding equals the plain one. */
class BpeTest {
  /** A vocabulary of the given pieces after an unknown one and the 256 bytes. */
  private static Tokenizer vocabulary(Map<String, PieceType> pieces, float[] scores)
      throws MalformedFileException {
    List<Piece> all = new ArrayList<>(List.of(new Piece("<unk>", 0, PieceType.UNKNOWN)));
    for (int b = 0; b < 256; b++) {
      all.add(new Piece(String.format("<0x%02X>", b), 0, PieceType.BYTE));
    }
    pieces.forEach((text, type) -> all.add(new Piece(text, scores[all.size() - 257], type)));
    return Tokenizer.of(
        new Vocabulary(
            all, Vocabulary.Algorithm.BPE, Vocabulary.Normalization.GEMMA, -1, -1, -1, true),
        "test");
  }

  private static void check(Tokenizer tokenizer, ReferenceBpe reference, String text) {
    int[] expected = reference.encode(text);
    assertThat(tokenizer.encode(text)).as("'%s'", text).isEqualTo(expected);
    assertThat(tokenizer.encode(text)).as("again '%s'", text).isEqualTo(expected);
    assertThat(tokenizer.encodeWithOffsets(text).ids()).as("'%s'", text).isEqualTo(expected);
  }

  private static String random(Random random, String alphabet, int length) {
    int[] letters = alphabet.codePoints().toArray();
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < length; i++) {
      text.appendCodePoint(letters[random.nextInt(letters.length)]);
    }
    return text.toString();
  }

  /** Ties, unreachable pieces, characters that are no piece alone, unused and user-defined ones. */
  @Test
  void onRandomVocabularies() throws MalformedFileException {
    Random random = new Random(5);
    for (int round = 0; round < 120; round++) {
      boolean withUnused = random.nextInt(4) == 0;
      Map<String, PieceType> pieces = new LinkedHashMap<>();
      for (int i = 10 + random.nextInt(60); i > 0; i--) {
        PieceType type =
            random.nextInt(15) == 0
                ? PieceType.USER_DEFINED
                : withUnused && random.nextInt(3) == 0 ? PieceType.UNUSED : PieceType.NORMAL;
        pieces.put(random(random, "aab\u00e9\u2581\u65e5", 1 + random.nextInt(5)), type);
      }
      float[] scores = new float[pieces.size()];
      int levels = 1 + random.nextInt(40);
      for (int i = 0; i < scores.length; i++) {
        scores[i] = -random.nextInt(levels);
      }
      Tokenizer tokenizer = vocabulary(pieces, scores);
      ReferenceBpe reference = new ReferenceBpe(tokenizer);
      for (int i = 0; i < 20; i++) {
        check(
            tokenizer,
            reference,
            random(random, "aaab\u00e9 \u65e5z\ud83d\ude00", random.nextInt(40)));
      }
      check(tokenizer, reference, random(random, "aab", 9000));
    }
  }

  /** Which neighbours merge is decided at the far end of the text, beyond any window's margin. */
  @Test
  void whereTheEndDecidesOnTheBeginning() throws MalformedFileException {
    Map<String, PieceType> pieces = new LinkedHashMap<>();
    StringBuilder text = new StringBuilder();
    int length = 5000;
    float[] scores = new float[length];
    for (int i = 0; i < length; i++) {
      String letter = Character.toString(0x4e00 + i);
      text.append(letter);
      pieces.put(letter + Character.toString(0x4e00 + i + 1), PieceType.NORMAL);
      scores[i] = i;
    }
    Tokenizer tokenizer = vocabulary(pieces, scores);
    ReferenceBpe reference = new ReferenceBpe(tokenizer);
    for (int n = length - 3; n <= length; n++) {
      check(tokenizer, reference, text.substring(0, n));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"gemma1", "gemma3"})
  void onRandomTexts(String model) throws IOException {
    Tokenizer tokenizer = tokenizer(model + "/tokenizer.model.gz");
    Random random = new Random(9);
    List<String> texts = new ArrayList<>();
    for (int round = 0; round < 25; round++) {
      texts.add(random(random, "etaoinshrdlu  ,.\n", 200));
      texts.add(
          random(
              random, "\u0430\u0431\u0432\u4e00\u4eba\u65e5\u306e\u2581 \u0301\ud83d\ude00", 100));
      StringBuilder text = new StringBuilder();
      for (int i = 0; i < 60; i++) {
        text.append(tokenizer.piece(random.nextInt(tokenizer.vocabSize())).replace('\u2581', ' '));
      }
      texts.add(text.toString());
      texts.add(text.toString().replace(" ", ""));
    }
    for (String part : List.of("a", "ab", " ", "<", "<start_of_tur", "=-", "\u0640")) {
      texts.add(part.repeat(8_000 / part.length()));
    }
    texts.add(random(random, "abcdefghijklmnopqrstuvwxyz", 12_000));
    ReferenceBpe reference = new ReferenceBpe(tokenizer);
    texts.forEach(text -> check(tokenizer, reference, text));
  }

  @Test
  void literalTextMergesToNoMarker() throws MalformedFileException {
    Map<String, PieceType> pieces = new LinkedHashMap<>();
    for (String piece : List.of("<", "m", "a", "s", "k", ">", "ma", "sk", "mask", "mask>")) {
      pieces.put(piece, PieceType.NORMAL);
    }
    pieces.put("<mask>", PieceType.USER_DEFINED);
    Tokenizer tokenizer = vocabulary(pieces, new float[pieces.size()]);
    int marker = tokenizer.idOf("<mask>");
    assertThat(tokenizer.encode("<mask>")).containsExactly(marker);
    assertThat(tokenizer.encodeLiteral("<mask>"))
        .containsExactly(tokenizer.idOf("<"), tokenizer.idOf("mask>"));
  }

  /** As of the texts with which llama.cpp's converter fills a vocabulary: as if they were not. */
  @Test
  void unusedPiecesThatNoMergeMakesCostNothing() throws MalformedFileException {
    Map<String, PieceType> pieces = new LinkedHashMap<>();
    for (String piece : List.of("a", "b", "ab", "[", "P", "A", "D", "]", "PAD", "[P")) {
      pieces.put(piece, PieceType.NORMAL);
    }
    Tokenizer plain = vocabulary(pieces, new float[pieces.size()]);
    pieces.put("[PAD]", PieceType.UNUSED);
    Tokenizer filled = vocabulary(pieces, new float[pieces.size()]);
    pieces.put("[PAD", PieceType.NORMAL); // makes it a possible union
    Tokenizer made = vocabulary(pieces, new float[pieces.size()]);
    String text = "[PAD]abaabb[PAD".repeat(2000);
    check(filled, new ReferenceBpe(filled), text);
    check(made, new ReferenceBpe(made), text);
    assertThat(filled.encode(text)).isEqualTo(plain.encode(text));
    assertThat(cutsTexts(plain)).isTrue();
    assertThat(cutsTexts(filled)).isTrue();
    assertThat(cutsTexts(made)).isFalse();
  }

  private static boolean cutsTexts(Tokenizer tokenizer) {
    boolean[] usable = new boolean[tokenizer.vocabSize()];
    float[] scores = new float[usable.length];
    PieceType[] types = new PieceType[usable.length];
    PieceTable table = new PieceTable(usable.length);
    for (int id = 0; id < usable.length; id++) {
      table.add(Utf8.encode(tokenizer.piece(id)));
      usable[id] = id > 256;
      scores[id] = tokenizer.score(id);
      types[id] = tokenizer.type(id);
    }
    return new Bpe(table, scores, types, usable, new CharPairs()).cutsTexts();
  }
}
