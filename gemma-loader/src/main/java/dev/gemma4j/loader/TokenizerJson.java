package dev.gemma4j.loader;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.PieceType;
import dev.gemma4j.tokenizer.Tokenizer;
import dev.gemma4j.tokenizer.Vocabulary;
import dev.gemma4j.tokenizer.Vocabulary.Piece;
import java.io.CharConversionException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Rebuilds the SentencePiece model that was converted into a tokenizer.json (<a
 * href="https://github.com/huggingface/transformers/blob/main/src/transformers/convert_slow_tokenizer.py">how</a>).
 *
 * <p>The converter lists all pairs of pieces whose union is a piece, ordered by the union's score:
 * scores are their order of appearance. A list that is not complete, or in which another union
 * stands between two pairs of one, has other rules than SentencePiece, and is refused.
 */
final class TokenizerJson {
  /** Twice Gemma 3's. */
  static final long MAX_BYTES = 64 << 20;

  /** Several times the longest; the check of merges is quadratic in it. */
  private static final int MAX_PIECE = 128;

  /** Eight times the vocabulary of any Gemma. */
  private static final int MAX_PIECES = 1 << 21;

  /** The rank of what no merge makes: behind all others, and exact as a float. */
  private static final int NO_RANK = 1 << 24;

  private static final String VOCAB = "model.vocab";
  private static final String MERGES = "model.merges";
  private static final String SPACE = "\u2581";
  private static final List<String> CONTROLS = List.of("<pad>", "<eos>", "<bos>");

  private final String file;
  private final Map<String, Object> tokenizer = new HashMap<>();
  private final Map<String, Object> model = new HashMap<>();
  private final Map<String, Integer> vocab = new HashMap<>();
  private final Map<String, Integer> ranks = new HashMap<>(); // of unions
  private final BitSet pairs = new BitSet(); // by rank and length of the left part: see pair()
  private int merges;
  private final Json json;

  private TokenizerJson(String file) {
    this.file = file;
    this.json = new Json(file);
  }

  static Tokenizer read(Path path) throws IOException {
    TokenizerJson json = new TokenizerJson(path.toString());
    try (JsonParser parser = Json.parser(InputFile.read(path, MAX_BYTES))) {
      json.parse(parser);
    } catch (JsonProcessingException | CharConversionException e) {
      throw Json.malformed(json.file, e);
    }
    json.refuseOthers();
    return Tokenizer.of(json.vocabulary(), json.file);
  }

  private void parse(JsonParser parser) throws IOException {
    parser.nextToken();
    expect(parser, JsonToken.START_OBJECT, "JSON");
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      String key = parser.currentName();
      parser.nextToken();
      switch (key) {
        case "model" -> model(parser);
        case "added_tokens", "normalizer", "pre_tokenizer", "decoder" ->
            tokenizer.put(key, json.value(parser));
        // Templates, truncation and padding are the business of who encodes.
        default -> parser.skipChildren();
      }
    }
    if (parser.nextToken() != null) {
      throw new MalformedFileException(file, "JSON", "more after the object", "its end");
    }
  }

  private void model(JsonParser parser) throws IOException {
    expect(parser, JsonToken.START_OBJECT, "model");
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      String key = parser.currentName();
      parser.nextToken();
      switch (key) {
        case "vocab" -> vocab(parser);
        case "merges" -> merges(parser);
        default -> model.put(key, json.value(parser));
      }
    }
  }

  private void vocab(JsonParser parser) throws IOException {
    if (parser.currentToken() == JsonToken.START_ARRAY) {
      parser.skipChildren(); // as of unigram models: their type is the better thing to complain of
      return;
    }
    expect(parser, JsonToken.START_OBJECT, VOCAB);
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      String piece = parser.currentName();
      parser.nextToken();
      expect(parser, JsonToken.VALUE_NUMBER_INT, VOCAB + "." + piece);
      if (piece.length() > MAX_PIECE) {
        throw new MalformedFileException(
            file, VOCAB + "." + piece, piece.length() + " characters", "at most " + MAX_PIECE);
      }
      if (vocab.size() == MAX_PIECES) {
        throw new MalformedFileException(
            file, VOCAB, "more than " + MAX_PIECES + " pieces", "at most as many");
      }
      vocab.put(piece, parser.getIntValue());
    }
  }

  /** Pairs as "a b", or as ["a", "b"] since tokenizers 0.20. */
  private void merges(JsonParser parser) throws IOException {
    expect(parser, JsonToken.START_ARRAY, MERGES);
    while (parser.nextToken() != JsonToken.END_ARRAY) {
      String left;
      String right;
      if (parser.currentToken() == JsonToken.START_ARRAY) {
        left = text(parser);
        right = text(parser);
        parser.nextToken();
        expect(parser, JsonToken.END_ARRAY, MERGES);
      } else {
        expect(parser, JsonToken.VALUE_STRING, MERGES);
        String pair = parser.getText();
        int space = pair.indexOf(' ');
        left = pair.substring(0, Math.max(0, space));
        right = pair.substring(space + 1);
      }
      merge(left, right);
    }
  }

  private void merge(String left, String right) throws MalformedFileException {
    String union = left + right;
    String pair = "\"" + left + "\", \"" + right + "\"";
    if (left.isEmpty() || right.isEmpty() || union.length() > MAX_PIECE) {
      throw new MalformedFileException(
          file, MERGES, pair, "two texts of at most " + MAX_PIECE + " characters together");
    }
    Integer known = ranks.putIfAbsent(union, ranks.size());
    int last = ranks.size() - 1;
    if (known != null && known != last) {
      throw new MalformedFileException(
          file, MERGES, pair + " apart from others of its union", "them side by side: one score");
    }
    if (last == MAX_PIECES) {
      throw new MalformedFileException(
          file, MERGES, "more than " + MAX_PIECES + " texts", "at most as many");
    }
    if (pairs.get(pair(last, left.length()))) {
      throw new MalformedFileException(file, MERGES, pair + " again", "each pair once");
    }
    pairs.set(pair(last, left.length()));
    merges++;
  }

  private static int pair(int rank, int leftLength) {
    return rank * MAX_PIECE + leftLength;
  }

  private String text(JsonParser parser) throws IOException {
    parser.nextToken();
    expect(parser, JsonToken.VALUE_STRING, MERGES);
    return parser.getText();
  }

  private void expect(JsonParser parser, JsonToken expected, String field) throws IOException {
    if (parser.currentToken() != expected) {
      throw new MalformedFileException(
          file, field, String.valueOf(parser.getText()), expected.name());
    }
  }

  /** Refuses by name what would give other ids than the SentencePiece model that is built. */
  private void refuseOthers() throws MalformedFileException {
    Values values = new Values(file, model);
    String type = values.string("type");
    if (!type.equals("BPE")) {
      throw values.wrong("model.type", type, "\"BPE\"");
    }
    for (String key : List.of("dropout", "continuing_subword_prefix", "end_of_word_suffix")) {
      if (values.has(key) && !"".equals(model.get(key))) {
        throw values.wrong("model." + key, value(model, key), "null");
      }
    }
    if (values.has("ignore_merges") && values.flag("ignore_merges", false)) {
      throw values.wrong("model.ignore_merges", true, "false");
    }
    if (!type("normalizer", tokenizer).equals("Replace")
        || !replaces(object("normalizer"), " ", SPACE)) {
      throw other("normalizer", "Replace of spaces by U+2581");
    }
    // Gemma's own cuts at spaces, of which the normalizer leaves none.
    if (!type("pre_tokenizer", tokenizer).isEmpty()
        && !(type("pre_tokenizer", tokenizer).equals("Split")
            && " ".equals(pattern(object("pre_tokenizer"))))) {
      throw other("pre_tokenizer", "none, or Split at spaces");
    }
    if (!type("decoder", tokenizer).equals("Sequence")) {
      throw other("decoder", "Sequence of Replace, ByteFallback and Fuse");
    }
    for (Object step : object("decoder").list("decoders")) {
      Values decoder = new Values(file, tokenizer).object("decoder.decoders", step);
      String name = decoder.string("type");
      boolean known = name.equals("ByteFallback") || name.equals("Fuse");
      if (!known && !(name.equals("Replace") && replaces(decoder, SPACE, " "))) {
        throw decoder.wrong("decoder.decoders", name, "Replace of U+2581, ByteFallback and Fuse");
      }
    }
  }

  private MalformedFileException other(String key, String expected) throws MalformedFileException {
    String type = type(key, tokenizer);
    return new MalformedFileException(file, key, type.isEmpty() ? "nothing" : type, expected);
  }

  private static Object value(Map<String, Object> map, String key) {
    return map.getOrDefault(key, Values.NULL);
  }

  private Values object(String key) throws MalformedFileException {
    return new Values(file, tokenizer).object(key);
  }

  /** The type of a step, or nothing where it is null or left out. */
  private String type(String key, Map<String, Object> map) throws MalformedFileException {
    Values values = new Values(file, map);
    return values.has(key) ? values.object(key).string("type") : "";
  }

  private static String pattern(Values step) throws MalformedFileException {
    Values pattern = step.object("pattern");
    return pattern.has("String") ? pattern.string("String") : "";
  }

  private static boolean replaces(Values step, String from, String to)
      throws MalformedFileException {
    return pattern(step).equals(from) && step.string("content").equals(to);
  }

  private Vocabulary vocabulary() throws MalformedFileException {
    checkMerges();
    List<String> texts = texts();
    PieceType[] types = new PieceType[vocab.size()];
    Arrays.fill(types, PieceType.NORMAL);
    BitSet special = new BitSet();
    BitSet normalized = new BitSet();
    addedTokens(texts, types, special, normalized);
    int n = types.length;
    types = Arrays.copyOf(types, texts.size());
    Arrays.fill(types, n, types.length, PieceType.USER_DEFINED);
    Values values = new Values(file, model);
    int unknown = vocab.getOrDefault(values.string("unk_token"), -1);
    if (unknown < 0) {
      throw values.wrong("model.unk_token", value(model, "unk_token"), "a piece");
    }
    types[unknown] = PieceType.UNKNOWN;
    List<Piece> pieces = new ArrayList<>(types.length);
    for (int id = 0; id < types.length; id++) {
      String text = texts.get(id);
      int rank = ranks.getOrDefault(text, NO_RANK);
      pieces.add(new Piece(text, -rank, types[id], special.get(id), 0));
    }
    if (values.flag("byte_fallback", false)) {
      bytes(pieces);
    }
    return new Vocabulary(
        AddedTokens.inTurns(pieces, normalized),
        Vocabulary.Algorithm.BPE,
        Vocabulary.Normalization.GEMMA,
        control("<bos>", types),
        control("<eos>", types),
        control("<pad>", types),
        true);
  }

  private int control(String piece, PieceType[] types) {
    int id = vocab.getOrDefault(piece, -1);
    return id >= 0 && types[id] == PieceType.CONTROL ? id : -1;
  }

  private void checkMerges() throws MalformedFileException {
    int possible = 0;
    int listed = 0;
    for (String piece : vocab.keySet()) {
      int rank = ranks.getOrDefault(piece, -1);
      for (int i = 1; i < piece.length(); i++) {
        if (vocab.containsKey(piece.substring(0, i)) && vocab.containsKey(piece.substring(i))) {
          possible++;
          listed += rank >= 0 && pairs.get(pair(rank, i)) ? 1 : 0;
        }
      }
    }
    if (merges != possible || listed != possible) {
      throw new MalformedFileException(
          file,
          MERGES,
          merges + ", of " + ranks.size() + " texts",
          "the " + possible + " pairs of pieces whose union is a piece, as SentencePiece has it");
    }
  }

  private List<String> texts() throws MalformedFileException {
    String[] pieces = new String[vocab.size()];
    for (Map.Entry<String, Integer> entry : vocab.entrySet()) {
      int id = entry.getValue();
      if (id < 0 || id >= pieces.length || pieces[id] != null) {
        throw new MalformedFileException(
            file,
            VOCAB + "." + entry.getKey(),
            String.valueOf(id),
            "an id below " + pieces.length + " that no other piece has");
      }
      pieces[id] = entry.getKey();
    }
    return new ArrayList<>(List.of(pieces));
  }

  /**
   * Gives the added tokens their types, appends those that the model's vocabulary lacks, and notes
   * which are special and which normalized.
   */
  private void addedTokens(List<String> texts, PieceType[] types, BitSet special, BitSet normalized)
      throws MalformedFileException {
    Values values = new Values(file, tokenizer);
    if (!values.has("added_tokens")) {
      return;
    }
    for (Object token : values.list("added_tokens")) {
      Values added = values.object("added_tokens", token);
      String content = added.string("content");
      int id = added.integer("id");
      AddedTokens.requirePlain(added, content);
      if (vocab.getOrDefault(content, texts.size()) != id) {
        throw added.wrong(
            "added_tokens." + content + ".id",
            id,
            String.valueOf(vocab.getOrDefault(content, texts.size())));
      }
      if (id == texts.size()) {
        vocab.put(content, id);
        texts.add(AddedTokens.escape(content));
      } else if (id < types.length) {
        // Others that are called special too are user-defined in Gemma's own tokenizer.model.
        types[id] = CONTROLS.contains(content) ? PieceType.CONTROL : PieceType.USER_DEFINED;
      }
      special.set(id, added.flag("special", false));
      normalized.set(id, AddedTokens.isNormalized(added, special.get(id)));
    }
  }

  /** Gemma 1's file spells one of them, the tab, as the character that it stands for. */
  private void bytes(List<Piece> pieces) throws MalformedFileException {
    int first = vocab.getOrDefault("<0x00>", -1);
    if (first < 0) {
      throw new MalformedFileException(file, VOCAB, "no piece <0x00>", "one for each byte");
    }
    for (int b = 0; b < 256; b++) {
      String name = String.format("<0x%02X>", b);
      int id = vocab.getOrDefault(name, first + b);
      if (id >= pieces.size()) {
        continue;
      }
      Piece piece = pieces.get(id);
      if (piece.text().equals(name) || piece.text().equals(String.valueOf((char) b))) {
        pieces.set(id, new Piece(name, piece.score(), PieceType.BYTE));
      }
    }
  }
}
