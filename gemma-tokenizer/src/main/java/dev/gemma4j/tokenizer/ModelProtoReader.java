package dev.gemma4j.tokenizer;

import com.google.protobuf.CodedInputStream;
import com.google.protobuf.WireFormat;
import dev.gemma4j.tokenizer.Vocabulary.Piece;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * Reads the fields of a SentencePiece ModelProto that encoding needs
 * (https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto).
 */
final class ModelProtoReader {
  /** Eight times the vocabulary of any Gemma. */
  private static final int MAX_PIECES = 1 << 21;

  private static final PieceType[] TYPES = PieceType.values();
  private static final int PIECE_TEXT = 1 << 3 | WireFormat.WIRETYPE_LENGTH_DELIMITED;
  private static final int PIECE_SCORE = 2 << 3 | WireFormat.WIRETYPE_FIXED32;
  private static final int PIECE_TYPE = 3 << 3 | WireFormat.WIRETYPE_VARINT;

  private final String source;
  private final CharsetDecoder utf8 = StandardCharsets.UTF_8.newDecoder(); // a strict one
  private final List<Piece> pieces = new ArrayList<>();
  private int modelType = 1;
  private boolean byteFallback;
  private int bosId = 1;
  private int eosId = 2;
  private int padId = -1;
  private boolean addDummyPrefix = true;
  private boolean removeExtraWhitespaces = true;
  private boolean escapeWhitespaces = true;
  private byte[] charsMap = {};

  private ModelProtoReader(String source) {
    this.source = source;
  }

  static Vocabulary read(byte[] model, String source) throws MalformedFileException {
    ModelProtoReader reader = new ModelProtoReader(source);
    try {
      reader.model(CodedInputStream.newInstance(model));
    } catch (MalformedFileException e) {
      throw e;
    } catch (IOException e) {
      throw new MalformedFileException(
          source, "protobuf", String.valueOf(e.getMessage()), "a SentencePiece ModelProto", e);
    }
    return reader.vocabulary();
  }

  private interface Field {
    boolean read(int number, CodedInputStream in) throws IOException;
  }

  private static void fields(CodedInputStream in, Field field) throws IOException {
    for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
      if (!field.read(tag, in)) {
        in.skipField(tag);
      }
    }
  }

  private static void message(CodedInputStream in, Field field) throws IOException {
    int limit = in.pushLimit(in.readRawVarint32());
    fields(in, field);
    in.popLimit(limit);
  }

  /** Not by {@link CodedInputStream#readStringRequireUtf8}, which needs sun.misc.Unsafe. */
  private String text(CodedInputStream in) throws IOException {
    byte[] bytes = in.readByteArray();
    try {
      return utf8.decode(ByteBuffer.wrap(bytes)).toString();
    } catch (CharacterCodingException e) {
      throw new MalformedFileException(
          source, "text after " + pieces.size() + " pieces", "bytes that are no UTF-8", "UTF-8", e);
    }
  }

  private static int tag(int number, int wireType) {
    return number << 3 | wireType;
  }

  private static final int BYTES = WireFormat.WIRETYPE_LENGTH_DELIMITED;

  private void model(CodedInputStream input) throws IOException {
    fields(
        input,
        (tag, in) -> {
          if (tag == tag(1, BYTES)) {
            piece(in);
          } else if (tag == tag(2, BYTES)) {
            message(in, this::trainerSpec);
          } else if (tag == tag(3, BYTES)) {
            message(in, this::normalizerSpec);
          } else if (tag == tag(5, BYTES)) {
            message(in, this::denormalizerSpec);
          } else {
            return false;
          }
          return true;
        });
  }

  /** Written out: there are hundreds of thousands of pieces, read while the JVM is still cold. */
  private void piece(CodedInputStream in) throws IOException {
    int limit = in.pushLimit(in.readRawVarint32());
    String piece = "";
    float score = 0;
    int type = PieceType.NORMAL.ordinal() + 1;
    for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
      switch (tag) {
        case PIECE_TEXT -> piece = text(in);
        case PIECE_SCORE -> score = in.readFloat();
        case PIECE_TYPE -> type = in.readEnum();
        default -> in.skipField(tag);
      }
    }
    in.popLimit(limit);
    if (type < 1 || type > TYPES.length) {
      throw new MalformedFileException(
          source, "type of piece " + pieces.size(), String.valueOf(type), "1 to 6");
    }
    // Here, as millions of empty ones would fill the heap before anyone looks at them.
    if (piece.isEmpty()) {
      throw new MalformedFileException(
          source, "piece " + pieces.size(), "an empty text", "some text");
    }
    if (pieces.size() == MAX_PIECES) {
      throw new MalformedFileException(
          source, "pieces", "more than " + MAX_PIECES, "at most as many");
    }
    pieces.add(new Piece(piece, score, TYPES[type - 1]));
  }

  private boolean trainerSpec(int tag, CodedInputStream in) throws IOException {
    switch (tag >>> 3) {
      case 3 -> modelType = in.readEnum();
      case 24 -> {
        if (in.readBool()) {
          throw refused("trainer_spec.treat_whitespace_as_suffix", "true", "false");
        }
      }
      case 35 -> byteFallback = in.readBool();
      case 41 -> bosId = in.readInt32();
      case 42 -> eosId = in.readInt32();
      case 43 -> padId = in.readInt32();
      case 44 -> {
        String surface = text(in);
        if (!surface.equals(Tokenizer.UNKNOWN_TEXT)) {
          throw refused(
              "trainer_spec.unk_surface", "'" + surface + "'", "'" + Tokenizer.UNKNOWN_TEXT + "'");
        }
      }
      default -> {
        return false;
      }
    }
    return true;
  }

  private boolean normalizerSpec(int tag, CodedInputStream in) throws IOException {
    switch (tag >>> 3) {
      case 2 -> charsMap = in.readByteArray();
      case 3 -> addDummyPrefix = in.readBool();
      case 4 -> removeExtraWhitespaces = in.readBool();
      case 5 -> escapeWhitespaces = in.readBool();
      default -> {
        return false;
      }
    }
    return true;
  }

  private boolean denormalizerSpec(int tag, CodedInputStream in) throws IOException {
    if (tag != tag(2, BYTES)) {
      return false;
    }
    int size = in.readByteArray().length;
    if (size > 0) {
      throw refused("denormalizer_spec.precompiled_charsmap", size + " bytes", "none");
    }
    return true;
  }

  /** For what SentencePiece knows, no Gemma has, and would give another text or other ids. */
  private MalformedFileException refused(String field, String found, String expected) {
    return new MalformedFileException(source, field, found, expected);
  }

  private Vocabulary vocabulary() throws MalformedFileException {
    if (modelType != 1 && modelType != 2) {
      throw new MalformedFileException(
          source, "trainer_spec.model_type", String.valueOf(modelType), "1 (unigram) or 2 (BPE)");
    }
    boolean bytes = pieces.stream().anyMatch(piece -> piece.type() == PieceType.BYTE);
    if (bytes != byteFallback) {
      throw refused(
          "trainer_spec.byte_fallback",
          String.valueOf(byteFallback),
          bytes + ", as there are " + (bytes ? "" : "no ") + "pieces for bytes");
    }
    return new Vocabulary(
        pieces,
        modelType == 2 ? Vocabulary.Algorithm.BPE : Vocabulary.Algorithm.UNIGRAM,
        new Vocabulary.Normalization(
            addDummyPrefix, removeExtraWhitespaces, escapeWhitespaces, charsMap),
        bosId,
        eosId,
        padId,
        true);
  }
}
