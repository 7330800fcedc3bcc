package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.PieceType;
import dev.gemma4j.tokenizer.Tokenizer;
import dev.gemma4j.tokenizer.Vocabulary;
import dev.gemma4j.tokenizer.Vocabulary.Piece;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
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
    Vocabulary old = model.vocabulary();
    List<Piece> pieces = new ArrayList<>(old.pieces());
    boolean changed = false;
    BitSet normalized = new BitSet();
    for (Token token : tokens) {
      int id = token.id();
      boolean escaped = old.normalization().escapeWhitespaces();
      String text = escaped ? escape(token.content()) : token.content();
      if (id >= 0 && id < n) {
        Piece piece = pieces.get(id);
        boolean same = text.equals(piece.text()) || token.content().equals(piece.text());
        boolean defined = piece.type() == PieceType.USER_DEFINED;
        if (!same && !defined) {
          throw wrong(token, "\"" + piece.text() + "\", piece " + id + " of tokenizer.model");
        }
        boolean ordinary = piece.type() == PieceType.NORMAL || piece.type() == PieceType.UNUSED;
        boolean marker = token.special() || model.isMarker(id);
        boolean news = defined && token.special() && !model.isMarker(id);
        if (same && !ordinary && !news) {
          continue;
        }
        pieces.set(id, defined(same ? piece.text() : text, piece.score(), marker));
      } else if (id == pieces.size()) {
        pieces.add(defined(text, SCORE, token.special()));
      } else {
        throw wrong(token, "id " + pieces.size());
      }
      normalized.set(id, token.normalized());
      changed = true;
      requirePlain(token);
    }
    if (!changed) {
      return model;
    }
    return Tokenizer.of(
        new Vocabulary(
            inTurns(pieces, normalized),
            old.algorithm(),
            old.normalization(),
            old.bosId(),
            old.eosId(),
            old.padId(),
            old.addBos()),
        file);
  }

  private static Piece defined(String text, float score, boolean marker) {
    return new Piece(text, score, PieceType.USER_DEFINED, marker, 0);
  }

  /** Whether a token is looked for only in what the others left: unless said, if not special. */
  static boolean isNormalized(Values token, boolean special) throws MalformedFileException {
    return token.flag("normalized", !special);
  }

  /**
   * The pieces with the turns in which Hugging Face's tokenizers look for user-defined ones (<a
   * href="https://github.com/huggingface/tokenizers/blob/main/tokenizers/src/tokenizer/added_vocabulary.rs">how</a>):
   * first for tokens that are not normalized, Gemma's own among them, then for the others, and last
   * for runs of spaces, which are merged there. All at once, as in SentencePiece, where no token
   * makes a difference.
   */
  static List<Piece> inTurns(List<Piece> pieces, BitSet normalized) {
    List<Piece> result = new ArrayList<>(pieces);
    boolean matters = !normalized.isEmpty();
    for (int id = 0; id < pieces.size(); id++) {
      Piece p = pieces.get(id);
      if (p.type() == PieceType.USER_DEFINED) {
        boolean spaces = p.text().replace("\u2581", "").isEmpty();
        int turn = normalized.get(id) ? 1 : spaces ? 2 : 0;
        result.set(id, new Piece(p.text(), p.score(), p.type(), p.marker(), turn));
        matters |= turn == 0 && p.text().indexOf('\u2581') >= 0;
      }
    }
    return matters ? result : pieces;
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
