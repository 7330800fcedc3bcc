package dev.gemma4j.tokenizer;

import com.google.protobuf.CodedInputStream;
import com.google.protobuf.WireFormat;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/**
 * Reads the fields of a SentencePiece ModelProto that encoding needs
 * (https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto).
 */
final class ModelProtoReader {
  private final String source;
  private final List<String> pieces = new ArrayList<>();
  private final List<Float> scores = new ArrayList<>();
  private final List<PieceType> types = new ArrayList<>();
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

  private static int tag(int number, int wireType) {
    return number << 3 | wireType;
  }

  private static final int VARINT = WireFormat.WIRETYPE_VARINT;
  private static final int BYTES = WireFormat.WIRETYPE_LENGTH_DELIMITED;
  private static final int FLOAT = WireFormat.WIRETYPE_FIXED32;

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
          } else {
            return false;
          }
          return true;
        });
  }

  private void piece(CodedInputStream input) throws IOException {
    int id = pieces.size();
    pieces.add("");
    scores.add(0f);
    types.add(PieceType.NORMAL);
    message(
        input,
        (tag, in) -> {
          if (tag == tag(1, BYTES)) {
            pieces.set(id, in.readStringRequireUtf8());
          } else if (tag == tag(2, FLOAT)) {
            scores.set(id, in.readFloat());
          } else if (tag == tag(3, VARINT)) {
            int type = in.readEnum();
            if (type < 1 || type > PieceType.values().length) {
              throw new MalformedFileException(
                  source, "type of piece " + id, String.valueOf(type), "1 to 6");
            }
            types.set(id, PieceType.values()[type - 1]);
          } else {
            return false;
          }
          return true;
        });
  }

  private boolean trainerSpec(int tag, CodedInputStream in) throws IOException {
    switch (tag >>> 3) {
      case 3 -> modelType = in.readEnum();
      case 35 -> byteFallback = in.readBool();
      case 41 -> bosId = in.readInt32();
      case 42 -> eosId = in.readInt32();
      case 43 -> padId = in.readInt32();
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

  private Vocabulary vocabulary() throws MalformedFileException {
    if (modelType != 1 && modelType != 2) {
      throw new MalformedFileException(
          source, "trainer_spec.model_type", String.valueOf(modelType), "1 (unigram) or 2 (BPE)");
    }
    float[] scoreArray = new float[scores.size()];
    for (int i = 0; i < scoreArray.length; i++) {
      scoreArray[i] = scores.get(i);
    }
    return new Vocabulary(
        List.copyOf(pieces),
        scoreArray,
        types.toArray(PieceType[]::new),
        modelType == 2 ? Vocabulary.Algorithm.BPE : Vocabulary.Algorithm.UNIGRAM,
        bosId,
        eosId,
        padId,
        addDummyPrefix,
        removeExtraWhitespaces,
        escapeWhitespaces,
        byteFallback,
        charsMap);
  }
}
