package dev.gemma4j.tokenizer;

import dev.gemma4j.tokenizer.Vocabulary.Piece;
import java.io.IOException;
import java.io.InputStream;
import java.nio.channels.ClosedByInterruptException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A SentencePiece tokenizer: same ids and same text as the reference on every input. Immutable and
 * safe for any number of threads.
 */
public final class Tokenizer {
  /**
   * User-defined pieces that steer the model, as against those that are ordinary text. Gemma's
   * tokenizer.model does not tell one from the other.
   */
  private static final Pattern MARKER =
      Pattern.compile(
          "<(start_of_turn|end_of_turn|start_of_image|end_of_image|mask|2mass|unused\\d+|pad|bos|eos)>"
              + "|\\[@BOS@]|\\[multimodal]");

  /** What an unknown token prints. */
  static final String UNKNOWN_TEXT = " \u2047 ";

  private static final Pattern BYTE = Pattern.compile("<0x[0-9A-F]{2}>");
  private static final int MAX_FILE = 1 << 28;

  /**
   * Bytes; Gemma's longest has 93. A text is searched for as long a one from each of its places.
   */
  private static final int MAX_PIECE = 1 << 10;

  private final Vocabulary vocabulary;
  private final int[] byteValues; // by id, -1 for no byte piece
  private final int[] byteIds; // by byte, -1 for none
  private final boolean byteFallback; // whether what has no piece becomes bytes
  private final boolean[] markers; // by id
  private final int unkId;
  private final Literals userDefined;
  private final Literals userDefinedText; // without the markers
  private final Normalizer normalizer;
  private final PieceTable table;
  private final Algorithm algorithm;
  private final Algorithm literalAlgorithm; // gives no marker

  /** Adds the segments of a part of a normalised text. */
  private interface Algorithm {
    void encode(byte[] text, int from, int to, ByteTrie userDefined, Segments out);
  }

  private Tokenizer(Vocabulary vocabulary, String source) throws MalformedFileException {
    this.vocabulary = vocabulary;
    int n = vocabulary.pieces().size();
    table = new PieceTable(n);
    byteValues = new int[n];
    byteIds = new int[256];
    Arrays.fill(byteValues, -1);
    Arrays.fill(byteIds, -1);
    markers = new boolean[n];
    userDefined = new Literals(vocabulary.pieces());
    userDefinedText = new Literals(vocabulary.pieces());
    byte[][] texts = new byte[n][];
    float[] scores = new float[n];
    PieceType[] types = new PieceType[n];
    boolean[] included = new boolean[n];
    int unknown = -1;
    for (int id = 0; id < n; id++) {
      Piece piece = vocabulary.pieces().get(id);
      String text = piece.text();
      scores[id] = piece.score();
      types[id] = piece.type();
      if (text.isEmpty()) {
        throw new MalformedFileException(source, "piece " + id, "an empty text", "some text");
      }
      texts[id] = Utf8.encode(text);
      if (texts[id].length > MAX_PIECE) {
        throw new MalformedFileException(
            source, "piece " + id, texts[id].length + " bytes", "at most " + MAX_PIECE);
      }
      if (piece.turn() < 0 || piece.turn() > Literals.MAX_TURN) {
        throw new MalformedFileException(
            source,
            "turn of piece " + id,
            String.valueOf(piece.turn()),
            "0 to " + Literals.MAX_TURN);
      }
      if (Float.isNaN(piece.score())) {
        throw new MalformedFileException(source, "score of piece " + id, "NaN", "a number");
      }
      int twin = table.add(texts[id]);
      if (twin >= 0) {
        throw new MalformedFileException(
            source, "piece " + id, "'" + text + "', which is also piece " + twin, "a new text");
      }
      if (table.isFlooded()) {
        throw new MalformedFileException(
            source,
            "piece " + id,
            "a hash that " + PieceTable.MAX_DISTANCE + " pieces before it crowd",
            "pieces that were not made to share one");
      }
      switch (piece.type()) {
        case NORMAL, UNUSED -> included[id] = true;
        case USER_DEFINED -> {
          included[id] = true;
          userDefined.add(texts[id], id);
          markers[id] =
              MARKER.matcher(text).matches()
                  || piece.marker() && !text.replace('\u2581', ' ').isBlank();
          if (!markers[id]) {
            userDefinedText.add(texts[id], id);
          }
        }
        case UNKNOWN -> {
          if (unknown >= 0) {
            throw new MalformedFileException(
                source, "piece " + id, "a second UNKNOWN piece after " + unknown, "one");
          }
          unknown = id;
        }
        case BYTE -> {
          if (!BYTE.matcher(text).matches()) {
            throw new MalformedFileException(
                source, "BYTE piece " + id, "'" + text + "'", "<0x00> to <0xFF>");
          }
          byteValues[id] = Integer.parseInt(text, 3, 5, 16);
          byteIds[byteValues[id]] = id;
        }
        case CONTROL -> {}
      }
    }
    if (unknown < 0) {
      throw new MalformedFileException(
          source, "pieces", n + " pieces, none of type UNKNOWN", "one of type UNKNOWN");
    }
    byteFallback = Arrays.stream(byteIds).anyMatch(id -> id >= 0);
    for (int b = 0; byteFallback && b < 256; b++) {
      if (byteIds[b] < 0) {
        throw new MalformedFileException(
            source, "pieces", String.format("no piece <0x%02X>", b), "one for each byte");
      }
    }
    unkId = unknown;
    normalizer = new Normalizer(vocabulary.normalization(), source);
    if (vocabulary.algorithm() == Vocabulary.Algorithm.BPE) {
      CharPairs pairs = new CharPairs();
      for (int id = 0; id < n; id++) {
        if (included[id]) {
          pairs.addAll(texts[id]);
        }
      }
      Bpe bpe = new Bpe(table, scores, types, included, pairs);
      algorithm = bpe::encode;
      literalAlgorithm = bpe.without(markers)::encode;
    } else {
      Unigram unigram = new Unigram(texts, included, scores, types);
      boolean[] none = new boolean[n];
      algorithm = (text, from, to, defined, out) -> unigram.encode(text, from, to, none, out);
      literalAlgorithm =
          (text, from, to, defined, out) -> unigram.encode(text, from, to, markers, out);
    }
  }

  /**
   * Reads a SentencePiece model, usually named tokenizer.model.
   *
   * @throws MalformedFileException when it is none, no regular file or larger than 256 MiB
   * @throws IOException when it is missing or cannot be read
   */
  public static Tokenizer load(Path model) throws IOException {
    // A pipe would block, and a device never end.
    if (Files.exists(model) && !Files.isRegularFile(model)) {
      throw new MalformedFileException(
          model.toString(), "file", "something else", "a regular file");
    }
    // As of those of /proc that block for ever.
    if (Files.exists(model) && Files.size(model) == 0) {
      throw new MalformedFileException(model.toString(), "size", "0 bytes", "some");
    }
    byte[] bytes;
    try (InputStream in = Files.newInputStream(model)) {
      bytes = in.readNBytes(MAX_FILE + 1);
    } catch (NoSuchFileException | ClosedByInterruptException e) {
      throw e;
    } catch (IOException e) {
      throw unreadable(model, e);
    }
    if (bytes.length > MAX_FILE) {
      throw new MalformedFileException(
          model.toString(), "size", "more than " + MAX_FILE + " bytes", "at most as many");
    }
    return parse(bytes, model.toString());
  }

  /** The same error with the file and the reason, which not all of them name. */
  static IOException unreadable(Path file, IOException e) {
    String reason = e instanceof FileSystemException f ? f.getReason() : e.getMessage();
    if (e instanceof AccessDeniedException) {
      reason = "access denied";
    }
    return new IOException(file + ": cannot be read: " + reason, e);
  }

  /**
   * Reads a SentencePiece model from memory.
   *
   * @param source its name in errors
   * @throws MalformedFileException when it is none
   */
  public static Tokenizer parse(byte[] model, String source) throws MalformedFileException {
    return of(ModelProtoReader.read(model, source), source);
  }

  /**
   * A tokenizer of a vocabulary from some other file.
   *
   * @param source the file's name in errors
   * @throws MalformedFileException when the pieces make no vocabulary
   */
  public static Tokenizer of(Vocabulary vocabulary, String source) throws MalformedFileException {
    return new Tokenizer(vocabulary, source);
  }

  /** SentencePiece's ids of a text; no beginning-of-text token is added. */
  public int[] encode(String text) {
    return encode(Utf8.encode(text), userDefined, algorithm, null);
  }

  /**
   * Like {@link #encode}, but text that spells a marker such as {@code <start_of_turn>} stays text:
   * for input from people who must not steer the model. Markers are Gemma's own, and what the file
   * calls special or control tokens.
   */
  public int[] encodeLiteral(String text) {
    return encode(Utf8.encode(text), userDefinedText, literalAlgorithm, null);
  }

  /** {@link #encode}, and where in the text each token comes from. */
  public Encoding encodeWithOffsets(String text) {
    byte[] bytes = Utf8.encode(text);
    int[][] spans = new int[1][];
    int[] result = encode(bytes, userDefined, algorithm, spans);
    int[] ends = spans[0];
    int[] chars = charOffsets(bytes);
    int[] starts = new int[result.length];
    int[] stops = new int[result.length];
    for (int i = 0; i < result.length; i++) {
      starts[i] = chars[ends[2 * i]];
      stops[i] = chars[ends[2 * i + 1]];
    }
    return new Encoding(result, starts, stops);
  }

  /** The UTF-16 offset of each byte of valid UTF-8. */
  private static int[] charOffsets(byte[] bytes) {
    int[] offsets = new int[bytes.length + 1];
    int chars = 0;
    for (int i = 0; i < bytes.length; i++) {
      int b = bytes[i] & 0xff;
      if (b < 0x80 || b >= 0xc0) {
        offsets[i] = chars;
        chars += b >= 0xf0 ? 2 : 1;
      } else {
        offsets[i] = offsets[i - 1];
      }
    }
    offsets[bytes.length] = chars;
    return offsets;
  }

  private int[] encode(
      byte[] bytes, Literals literals, Algorithm segmenter, int @Nullable [][] spans) {
    Normalizer.Result text = normalizer.normalize(bytes, literals.all(), spans != null);
    Segments segments = new Segments(text.length / 4);
    segment(text.text, 0, text.length, literals, 0, segmenter, segments);
    int[] out = new int[segments.size];
    int[] span = new int[spans == null ? 0 : 2 * segments.size];
    int size = 0;
    int from = 0;
    boolean afterUnknown = false;
    for (int i = 0; i < segments.size; i++) {
      int to = segments.ends[i];
      int id = segments.ids[i];
      boolean fallBack = id < 0 && byteFallback;
      int count = fallBack ? to - from : 1;
      if (id < 0 && !fallBack && afterUnknown) {
        count = 0; // neighbouring unknowns are one token
      }
      if (size + count + segments.size - i > out.length) {
        out = Arrays.copyOf(out, out.length + Math.max(count, out.length / 2) + 1);
        span = spans == null ? span : Arrays.copyOf(span, 2 * out.length);
      }
      for (int j = 0; j < count; j++) {
        if (spans != null) {
          span[2 * size] = text.origin[from];
          span[2 * size + 1] = text.origin[to];
        }
        out[size++] = fallBack ? byteIds[text.text[from + j] & 0xff] : id < 0 ? unkId : id;
      }
      if (count == 0 && spans != null) {
        span[2 * size - 1] = text.origin[to];
      }
      afterUnknown = id < 0 && !fallBack;
      from = to;
    }
    if (spans != null) {
      spans[0] = Arrays.copyOf(span, 2 * size);
    }
    return Arrays.copyOf(out, size);
  }

  /** Cuts out the literals of each turn but the last, which belongs to the algorithm. */
  private void segment(
      byte[] text,
      int from,
      int to,
      Literals literals,
      int turn,
      Algorithm segmenter,
      Segments out) {
    ByteTrie trie = literals.turn(turn);
    if (turn == literals.lastTurn()) {
      segmenter.encode(text, from, to, trie, out);
      return;
    }
    int start = from;
    for (int at = from; at < to; ) {
      int end = trie.longest(text, at, to);
      if (end < 0) {
        at++;
        continue;
      }
      segment(text, start, at, literals, turn + 1, segmenter, out);
      out.add(table.find(text, at, end, PieceTable.hash(text, at, end)), end);
      start = end;
      at = end;
    }
    segment(text, start, to, literals, turn + 1, segmenter, out);
  }

  /**
   * SentencePiece's text of the ids: control pieces print nothing, runs of byte pieces are UTF-8
   * with U+FFFD for each bad byte. Ids beyond the pieces print nothing: a model may have rows for
   * more.
   *
   * @throws IllegalArgumentException when an id is negative
   */
  public String decode(int... tokens) {
    StreamingDecoder decoder = newStreamingDecoder();
    StringBuilder text = new StringBuilder();
    for (int id : tokens) {
      text.append(decoder.push(id));
    }
    return text.append(decoder.flush()).toString();
  }

  /** A decoder for ids that come one by one. */
  public StreamingDecoder newStreamingDecoder() {
    return new StreamingDecoder(this);
  }

  /**
   * The bytes that a piece adds to a decoded text: the UTF-8 of its characters, the one byte of a
   * byte piece, nothing for a control piece and for an id beyond the pieces.
   *
   * @throws IllegalArgumentException when the id is negative
   */
  public byte[] bytes(int id) {
    int value = byteValue(id);
    return value >= 0 ? new byte[] {(byte) value} : surface(id).getBytes(StandardCharsets.UTF_8);
  }

  /**
   * Whether a piece steers the model instead of standing for text, as {@code <start_of_turn>} does:
   * {@link #encodeLiteral} never gives it.
   *
   * @throws IllegalArgumentException when the id is not in the vocabulary
   */
  public boolean isMarker(int id) {
    return markers[check(id)] || type(id) == PieceType.CONTROL;
  }

  /** Whether decoding drops a space at the beginning of the text if it was U+2581 in a piece. */
  public boolean dropsLeadingSpace() {
    return vocabulary.normalization().addDummyPrefix() || dropsAllLeadingSpace();
  }

  boolean dropsAllLeadingSpace() {
    return vocabulary.normalization().removeExtraWhitespaces();
  }

  /** The byte that a byte piece stands for, or -1. */
  int byteValue(int id) {
    return id < byteValues.length ? byteValues[check(id)] : -1;
  }

  /** The text that a piece prints. */
  String surface(int id) {
    if (id >= byteValues.length) {
      return "";
    }
    return switch (type(id)) {
      case CONTROL -> "";
      case UNKNOWN -> UNKNOWN_TEXT;
      case NORMAL, USER_DEFINED, UNUSED, BYTE -> piece(id).replace('\u2581', ' ');
    };
  }

  private int check(int id) {
    if (id < 0 || id >= byteValues.length) {
      throw new IllegalArgumentException(
          "token id must be in [0, " + byteValues.length + "), but is " + id);
    }
    return id;
  }

  /** What the tokenizer was made of. */
  public Vocabulary vocabulary() {
    return vocabulary;
  }

  /** The number of pieces. */
  public int vocabSize() {
    return byteValues.length;
  }

  /**
   * A piece's text as the vocabulary spells it, U+2581 for spaces.
   *
   * @throws IllegalArgumentException when the id is not in the vocabulary
   */
  public String piece(int id) {
    return vocabulary.pieces().get(check(id)).text();
  }

  /**
   * A piece's score.
   *
   * @throws IllegalArgumentException when the id is not in the vocabulary
   */
  public float score(int id) {
    return vocabulary.pieces().get(check(id)).score();
  }

  /**
   * What a piece is for.
   *
   * @throws IllegalArgumentException when the id is not in the vocabulary
   */
  public PieceType type(int id) {
    return vocabulary.pieces().get(check(id)).type();
  }

  /** The id of a piece given as the vocabulary spells it, or -1. */
  public int idOf(String piece) {
    byte[] text = Utf8.encode(piece);
    return table.find(text, 0, text.length, PieceTable.hash(text, 0, text.length));
  }

  /** The beginning-of-text token, or -1. */
  public int bosId() {
    return inRange(vocabulary.bosId());
  }

  /**
   * Whether texts begin with the beginning-of-text token. It does unless the file says that it was
   * trained on texts without; {@link #encode} leaves it to the caller.
   */
  public boolean addsBos() {
    return vocabulary.addBos();
  }

  /** The end-of-text token, or -1. */
  public int eosId() {
    return inRange(vocabulary.eosId());
  }

  /** The padding token, or -1. */
  public int padId() {
    return inRange(vocabulary.padId());
  }

  /** The token for what the vocabulary cannot spell. */
  public int unkId() {
    return unkId;
  }

  private int inRange(int id) {
    return id < byteValues.length ? Math.max(-1, id) : -1;
  }
}
