package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.PieceType;
import dev.gemma4j.tokenizer.Tokenizer;
import dev.gemma4j.tokenizer.Vocabulary;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Comparator;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The tokens that Hugging Face's tokenizers add to those of a tokenizer.model. They stand in files
 * beside it: the model stays as it was when a fine-tune adds markers of its own.
 */
final class AddedTokens {
  /** As of llama.cpp's converter; what is matched before any merge needs none. */
  private static final float SCORE = -1000;

  private final List<Token> tokens = new ArrayList<>();
  private final String file;
  private final String key;

  private record Token(
      int id, String content, boolean special, boolean normalized, @Nullable Values flags) {}

  private AddedTokens(String file, String key) {
    this.file = file;
    this.key = key;
  }

  /**
   * The model with the tokens that the directory's files add: those from the number of its pieces
   * on. One with the id of a user-defined piece gives that its text, as CodeGemma's do to unused
   * ones. One with the id and the text of an ordinary piece makes it user-defined, so that it is
   * found before any merge. All other pieces stay as they are.
   *
   * @throws MalformedFileException when a token has another text than the piece of its id, or an id
   *     that leaves a gap
   */
  static Tokenizer addTo(Tokenizer model, Path directory) throws IOException {
    AddedTokens added = find(directory);
    return added == null ? model : added.addTo(model);
  }

  /** Those of the first file that names some; the newest format comes first. */
  private static @Nullable AddedTokens find(Path directory) throws IOException {
    Path json = directory.resolve("tokenizer.json");
    String key = "added_tokens";
    if (Files.exists(json)) {
      // A list before the vocabulary, which takes longer to read than the model.
      Values values = Json.read(json, key, TokenizerJson.MAX_BYTES);
      if (values.has(key)) {
        AddedTokens added = new AddedTokens(values.file(), key);
        for (Object token : values.list(key)) {
          Values entry = values.object(key, token);
          added.add(entry.integer("id"), entry);
        }
        return added;
      }
    }
    Path config = directory.resolve("tokenizer_config.json");
    key = "added_tokens_decoder";
    if (Files.exists(config)) {
      Values values = Json.read(config);
      if (values.has(key)) {
        Values byId = values.object(key);
        AddedTokens added = new AddedTokens(values.file(), key);
        for (String id : byId.map().keySet()) {
          added.add(added.id(id), byId.object(id));
        }
        return added;
      }
    }
    Path oldest = directory.resolve("added_tokens.json");
    if (Files.exists(oldest)) {
      Values values = Json.read(oldest);
      AddedTokens added = new AddedTokens(values.file(), "added_tokens");
      for (String content : values.map().keySet()) {
        // It does not say which are special. No text can do harm by spelling one that is.
        added.tokens.add(new Token(values.integer(content), content, true, false, null));
      }
      return added;
    }
    return null;
  }

  private void add(int id, Values entry) throws MalformedFileException {
    boolean special = entry.flag("special", false);
    tokens.add(
        new Token(id, entry.string("content"), special, isNormalized(entry, special), entry));
  }

  private int id(String text) throws MalformedFileException {
    try {
      return Integer.parseInt(text);
    } catch (NumberFormatException e) {
      throw new MalformedFileException(file, key, "\"" + text + "\"", "a token id", e);
    }
  }

  private Tokenizer addTo(Tokenizer model) throws MalformedFileException {
    tokens.sort(Comparator.comparingInt(Token::id));
    int n = model.vocabSize();
    int total = n + (int) tokens.stream().filter(token -> token.id() >= n).count();
    Vocabulary old = model.vocabulary();
    List<String> pieces = new ArrayList<>(old.pieces());
    PieceType[] types = Arrays.copyOf(old.types(), total);
    Arrays.fill(types, n, total, PieceType.USER_DEFINED);
    boolean[] markers = Arrays.copyOf(old.markers(), total);
    boolean changed = total > n;
    BitSet normalized = new BitSet();
    for (Token token : tokens) {
      int id = token.id();
      String piece = old.escapeWhitespaces() ? escape(token.content()) : token.content();
      if (id >= 0 && id < n) {
        boolean same = piece.equals(model.piece(id)) || token.content().equals(model.piece(id));
        boolean defined = types[id] == PieceType.USER_DEFINED;
        if (!same && !defined) {
          throw wrong(token, "\"" + model.piece(id) + "\", piece " + id + " of tokenizer.model");
        }
        boolean ordinary = types[id] == PieceType.NORMAL || types[id] == PieceType.UNUSED;
        boolean news = defined && token.special() && !model.isMarker(id);
        if (same && !ordinary && !news) {
          continue;
        }
        pieces.set(id, same ? model.piece(id) : piece);
        types[id] = PieceType.USER_DEFINED;
        markers[id] = token.special() || model.isMarker(id);
        normalized.set(id, token.normalized());
        changed = true;
      } else if (id == pieces.size()) {
        pieces.add(piece);
        markers[id] = token.special();
        normalized.set(id, token.normalized());
      } else {
        throw wrong(token, "id " + pieces.size());
      }
      requirePlain(token);
    }
    if (!changed) {
      return model;
    }
    float[] scores = Arrays.copyOf(old.scores(), total);
    Arrays.fill(scores, n, total, SCORE);
    return Tokenizer.of(
        new Vocabulary(
            pieces,
            scores,
            types,
            old.algorithm(),
            old.bosId(),
            old.eosId(),
            old.padId(),
            old.addDummyPrefix(),
            old.removeExtraWhitespaces(),
            old.escapeWhitespaces(),
            old.byteFallback(),
            old.charsMap(),
            markers,
            turns(pieces, types, normalized)),
        file);
  }

  /** Whether a token is looked for only in what the others left: unless said, if not special. */
  static boolean isNormalized(Values token, boolean special) throws MalformedFileException {
    return token.flag("normalized", !special);
  }

  /**
   * When Hugging Face's tokenizers look for the user-defined pieces (<a
   * href="https://github.com/huggingface/tokenizers/blob/main/tokenizers/src/tokenizer/added_vocabulary.rs">how</a>):
   * first for tokens that are not normalized, Gemma's own among them, then for the others, and last
   * for runs of spaces, which are merged there. All at once, as in SentencePiece, where no token
   * makes a difference.
   */
  static byte[] turns(List<String> pieces, PieceType[] types, BitSet normalized) {
    byte[] turns = new byte[types.length];
    boolean matters = !normalized.isEmpty();
    for (int id = 0; id < turns.length; id++) {
      if (types[id] == PieceType.USER_DEFINED) {
        String piece = pieces.get(id);
        boolean spaces = piece.replace("\u2581", "").isEmpty();
        turns[id] = (byte) (normalized.get(id) ? 1 : spaces ? 2 : 0);
        matters |= turns[id] == 0 && piece.indexOf('\u2581') >= 0;
      }
    }
    return matters ? turns : new byte[types.length];
  }

  /** The text as pieces spell it: they are matched after spaces have become U+2581. */
  static String escape(String content) {
    return content.replace(' ', '\u2581');
  }

  private MalformedFileException wrong(Token token, String expected) {
    return new MalformedFileException(
        file, key, "id " + token.id() + " of \"" + token.content() + "\"", expected);
  }

  private static void requirePlain(Token token) throws MalformedFileException {
    if (token.flags() != null) {
      requirePlain(token.flags(), token.content());
    }
  }

  /** Refuses what SentencePiece's pieces cannot do. */
  static void requirePlain(Values token, String content) throws MalformedFileException {
    for (String flag : List.of("single_word", "lstrip", "rstrip")) {
      if (token.flag(flag, false)) {
        throw token.wrong("added_tokens." + content + "." + flag, true, "false");
      }
    }
  }
}
