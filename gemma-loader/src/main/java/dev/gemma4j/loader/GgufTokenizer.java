package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.PieceType;
import dev.gemma4j.tokenizer.Tokenizer;
import dev.gemma4j.tokenizer.Vocabulary;
import dev.gemma4j.tokenizer.Vocabulary.Piece;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Rebuilds the SentencePiece model that llama.cpp's converter took apart into metadata
 * (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer).
 */
final class GgufTokenizer {
  private static final String PREFIX = "tokenizer.ggml.";
  private static final String EOS = PREFIX + "eos_token_id";
  private static final String EOT = PREFIX + "eot_token_id";
  private static final String EOM = PREFIX + "eom_token_id";
  private static final String MODEL = PREFIX + "model";
  private static final String TOKENS = PREFIX + "tokens";
  private static final String SCORES = PREFIX + "scores";
  private static final String TYPES = PREFIX + "token_type";

  /**
   * What is user-defined in Gemma's own tokenizer.model, all before the first ordinary piece. The
   * first published GGUF files call it normal.
   */
  private static final Pattern USER_DEFINED =
      Pattern.compile(
          "<(mask|2mass|start_of_turn|end_of_turn|unused([0-9]|[1-8][0-9]|9[0-8]))>|\\[@BOS@]"
              + "|\n{1,31}|[ \u2581]{2,31}"
              + "|</?(table|caption|thead|tbody|tfoot|tr|th|td|h[1-6]|blockquote"
              + "|strong|em|b|i|u|s|sub|sup|code)>");

  private static final int FIRST_ORDINARY = 217;

  private final Values metadata;
  private final List<?> tokens;
  private final int bosId;
  private final int eosId;
  private final int padId;
  private final Set<Integer> controls;
  private final boolean[] markers;

  private GgufTokenizer(Values metadata) throws MalformedFileException {
    this.metadata = metadata;
    this.tokens = metadata.list(TOKENS);
    this.bosId = checkedId(PREFIX + "bos_token_id", "<bos>");
    this.eosId = checkedId(EOS, "<eos>");
    this.padId = checkedId(PREFIX + "padding_token_id", "<pad>");
    this.controls =
        Set.copyOf(List.of(named("<bos>", bosId), named("<eos>", eosId), named("<pad>", padId)));
    this.markers = new boolean[tokens.size()];
  }

  /**
   * The token of Gemma's name, else the one that the metadata name: a fine-tune may begin or end
   * its texts with tokens of its own, which are found in texts as other markers are.
   */
  private int named(String token, int id) {
    int named = tokens.indexOf(token);
    return named >= 0 ? named : id;
  }

  /** The tokenizer, or null when the file has none. */
  static @Nullable Tokenizer read(Values metadata) throws MalformedFileException {
    if (!metadata.has(MODEL) && !metadata.has(TOKENS)) {
      return null;
    }
    String model = metadata.string(MODEL);
    if (!model.equals("llama")) {
      throw metadata.wrong(MODEL, model, "\"llama\" (SentencePiece)");
    }
    return Tokenizer.of(new GgufTokenizer(metadata).vocabulary(), metadata.file());
  }

  /**
   * The tokens that end a text: eos, the end of a turn and that of a message. The first published
   * files do not name the second.
   */
  static List<Integer> eosIds(Values metadata) throws MalformedFileException {
    int eos = id(metadata, EOS, "<eos>");
    int eot = id(metadata, EOT, "<end_of_turn>");
    int eom = metadata.integer(EOM, -1);
    return IntStream.of(eos, eot, eom).filter(id -> id != -1).distinct().boxed().toList();
  }

  /** What the key says, else the token that Gemma calls so, else -1. */
  private static int id(Values metadata, String key, String token) throws MalformedFileException {
    if (metadata.has(key)) {
      return metadata.integer(key);
    }
    return metadata.has(TOKENS) ? metadata.list(TOKENS).indexOf(token) : -1;
  }

  private int checkedId(String key, String token) throws MalformedFileException {
    int id = id(metadata, key, token);
    if (metadata.has(key) && (id < 0 || id >= tokens.size())) {
      throw metadata.wrong(key, id, "the id of one of the " + tokens.size() + " tokens");
    }
    return id;
  }

  private Vocabulary vocabulary() throws MalformedFileException {
    PieceType[] types = types();
    List<String> texts = texts(types);
    float[] scores = scores();
    List<Piece> pieces = new ArrayList<>(types.length);
    for (int id = 0; id < types.length; id++) { // the format says nothing of turns
      pieces.add(new Piece(texts.get(id), scores[id], types[id], markers[id], 0));
    }
    Vocabulary.Normalization normalization =
        new Vocabulary.Normalization(
            // llama.cpp's default is true, but no Gemma was trained so, and its first files lack
            // the key.
            metadata.flag(PREFIX + "add_space_prefix", false),
            metadata.flag(PREFIX + "remove_extra_whitespaces", false),
            true,
            new byte[0]);
    return new Vocabulary(
        pieces,
        Vocabulary.Algorithm.BPE,
        normalization,
        bosId,
        eosId,
        padId,
        metadata.flag(PREFIX + "add_bos_token", true));
  }

  private List<String> texts(PieceType[] types) throws MalformedFileException {
    List<String> texts = new ArrayList<>(tokens.size());
    List<Integer> spaced = new ArrayList<>();
    for (Object token : tokens) {
      if (!(token instanceof String piece)) {
        throw metadata.wrong(TOKENS, token, "texts");
      }
      if (types[texts.size()] == PieceType.USER_DEFINED && piece.indexOf(' ') >= 0) {
        spaced.add(texts.size());
      }
      texts.add(piece);
    }
    escape(texts, spaced);
    return texts;
  }

  /**
   * The converter turns U+2581 of user-defined pieces into spaces; SentencePiece matches them after
   * spaces have become U+2581. Where that is a piece, too, they are meant as they are.
   */
  private static void escape(List<String> pieces, List<Integer> spaced) {
    Set<String> escaped = new HashSet<>();
    spaced.forEach(id -> escaped.add(escape(pieces.get(id))));
    Set<String> taken = pieces.stream().filter(escaped::contains).collect(Collectors.toSet());
    for (int id : spaced) {
      String piece = escape(pieces.get(id));
      if (!taken.contains(piece)) {
        pieces.set(id, piece);
      }
    }
  }

  private static String escape(String piece) {
    return piece.replace(' ', '\u2581');
  }

  private float[] scores() throws MalformedFileException {
    List<?> list = sameLength(SCORES);
    float[] scores = new float[list.size()];
    for (int i = 0; i < scores.length; i++) {
      if (!(list.get(i) instanceof Float score) || score.isNaN()) {
        throw metadata.wrong(SCORES + "[" + i + "]", list.get(i), "a number");
      }
      scores[i] = score;
    }
    return scores;
  }

  private PieceType[] types() throws MalformedFileException {
    List<?> list = sameLength(TYPES);
    PieceType[] types = new PieceType[list.size()];
    for (int i = 0; i < types.length; i++) {
      if (!(list.get(i) instanceof Long type) || type < 1 || type > PieceType.values().length) {
        throw metadata.wrong(TYPES + "[" + i + "]", list.get(i), "1 to 6");
      }
      types[i] = PieceType.values()[(int) (type - 1)];
      if (types[i] == PieceType.CONTROL && !controls.contains(i)) {
        // The converter calls all special tokens control ones. In Gemma's own tokenizer.model the
        // turn markers and unused tokens are user-defined, and only bos, eos and pad are control.
        types[i] = PieceType.USER_DEFINED;
        markers[i] = true;
      }
      if (types[i] == PieceType.NORMAL
          && i < FIRST_ORDINARY
          && tokens.get(i) instanceof String piece
          && USER_DEFINED.matcher(piece).matches()) {
        types[i] = PieceType.USER_DEFINED;
      }
    }
    return types;
  }

  private List<?> sameLength(String key) throws MalformedFileException {
    List<?> list = metadata.list(key);
    if (list.size() != tokens.size()) {
      throw metadata.wrong(key, list, "one entry for each of the " + tokens.size() + " tokens");
    }
    return list;
  }
}
