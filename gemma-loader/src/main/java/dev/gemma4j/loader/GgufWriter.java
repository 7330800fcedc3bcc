package dev.gemma4j.loader;

import dev.gemma4j.io.OutputFile;
import dev.gemma4j.tokenizer.PieceType;
import dev.gemma4j.tokenizer.Vocabulary;
import dev.gemma4j.tokenizer.Vocabulary.Piece;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.WritableByteChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Writes a GGUF file of version 3 (<a
 * href="https://github.com/ggml-org/ggml/blob/master/docs/gguf.md">format</a>) as llama.cpp's
 * converter does for Gemma. The file appears under its name only when it is complete.
 */
public final class GgufWriter {
  private static final int ALIGNMENT = 32;
  private static final int UINT8 = 0;
  private static final int INT8 = 1;
  private static final int UINT16 = 2;
  private static final int INT16 = 3;
  private static final int UINT32 = 4;
  private static final int INT32 = 5;
  private static final int FLOAT32 = 6;
  private static final int BOOL = 7;
  private static final int STRING = 8;
  private static final int ARRAY = 9;
  private static final int UINT64 = 10;
  private static final int INT64 = 11;
  private static final int FLOAT64 = 12;
  private static final float PADDING_SCORE = -1000;
  private static final String FILE_TYPE = "general.file_type";
  private static final String QUANTIZATION_VERSION = "general.quantization_version";

  private final ByteArrayOutputStream header = new ByteArrayOutputStream();
  private final ByteBuffer number = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);

  private GgufWriter() {}

  /**
   * A tensor that will be written.
   *
   * @param name the Hugging Face name, as {@link Tensor#name}
   * @param shape outermost first
   */
  public record Entry(String name, TensorType type, List<Long> shape) {
    /** Copies the shape. */
    public Entry {
      shape = List.copyOf(shape);
    }

    /** The tensor's size in the file. */
    public long bytes() {
      return type.byteSize(shape.stream().reduce(1L, Math::multiplyExact));
    }
  }

  /** Brings the tensors' bytes, so that they need not all be in memory. */
  @FunctionalInterface
  public interface Source {
    /**
     * Writes exactly {@link Entry#bytes()} bytes, little-endian. A norm is 1 + the weight.
     *
     * @throws IOException what is thrown leaves no file
     */
    void write(Entry entry, WritableByteChannel out) throws IOException;
  }

  /**
   * Writes a file, or replaces one at once when all is written and on the disk. Nothing remains of
   * an attempt that fails or is interrupted.
   *
   * @param metadata Long, BigInteger, Float, Double, Boolean, String or a List of these, in order;
   *     see {@link #metadata}
   * @throws IOException when the file cannot be written, which names it and the reason; a {@link
   *     java.nio.channels.ClosedByInterruptException} when the thread is interrupted
   * @throws IllegalArgumentException for metadata or types that cannot be written
   * @throws IllegalStateException when the source writes too much or too little
   */
  public static void write(
      Path file, Map<String, Object> metadata, List<Entry> tensors, Source source)
      throws IOException {
    byte[] header = header(metadata, tensors);
    OutputFile.write(
        file,
        out -> {
          out.write(ByteBuffer.wrap(header));
          for (Entry entry : tensors) {
            long start = out.position();
            source.write(entry, out);
            long written = out.position() - start;
            if (written != entry.bytes()) {
              throw new IllegalStateException(
                  entry.name + ": " + written + " bytes written, expected " + entry.bytes());
            }
            out.write(ByteBuffer.allocate((int) (aligned(written) - written)));
          }
        });
  }

  private static byte[] header(Map<String, Object> metadata, List<Entry> tensors) {
    GgufWriter writer = new GgufWriter();
    writer.header.writeBytes("GGUF".getBytes(StandardCharsets.UTF_8));
    writer.u32(3);
    writer.u64(tensors.size());
    writer.u64(metadata.size());
    Map<String, Integer> types = metadata instanceof GgufMetadata read ? read.types() : Map.of();
    metadata.forEach((key, value) -> writer.pair(key, types.get(key), value));
    long offset = 0;
    for (Entry entry : tensors) {
      writer.text(GgufNames.inFile(entry.name));
      writer.u32(entry.shape.size());
      for (long size : entry.shape.reversed()) { // innermost first
        writer.u64(size);
      }
      writer.u32(ggmlType(entry.type));
      writer.u64(offset);
      offset = aligned(offset + entry.bytes());
    }
    writer.header.writeBytes(
        new byte[(int) (aligned(writer.header.size()) - writer.header.size())]);
    return writer.header.toByteArray();
  }

  /**
   * What describes a model of this shape whose matrices have this type.
   *
   * @param vocabulary null for a file without a tokenizer
   * @param eosIds as {@link Checkpoint#eosIds} gives them; when empty, the vocabulary's
   * @throws IllegalArgumentException when the vocabulary, or more than three ends, have no form in
   *     GGUF
   */
  public static Map<String, Object> metadata(
      String name,
      GemmaConfig c,
      TensorType type,
      @Nullable Vocabulary vocabulary,
      List<Integer> eosIds,
      @Nullable String chatTemplate) {
    Map<String, Object> m = new LinkedHashMap<>();
    m.put("general.architecture", "gemma");
    m.put("general.type", "model");
    m.put("general.name", name);
    m.put("gemma.context_length", (long) c.maxPositions());
    m.put("gemma.embedding_length", (long) c.hiddenSize());
    m.put("gemma.block_count", (long) c.numLayers());
    m.put("gemma.feed_forward_length", (long) c.intermediateSize());
    m.put("gemma.attention.head_count", (long) c.numHeads());
    m.put("gemma.attention.head_count_kv", (long) c.numKvHeads());
    m.put("gemma.attention.layer_norm_rms_epsilon", c.rmsNormEps());
    m.put("gemma.attention.key_length", (long) c.headDim());
    m.put("gemma.attention.value_length", (long) c.headDim());
    m.put("gemma.rope.freq_base", c.ropeTheta());
    putType(m, type);
    if (vocabulary != null) {
      tokenizer(m, vocabulary, eosIds, c.vocabSize());
      if (chatTemplate != null) {
        m.put("tokenizer.chat_template", chatTemplate);
      }
    }
    return m;
  }

  /**
   * The metadata of a GGUF file for a copy of it that is one file and has matrices of this type.
   *
   * @param source as {@link Checkpoint#metadata} gives it, so that the copy's values have the same
   *     types; a map of other values gets types that hold them
   */
  public static Map<String, Object> metadata(Map<String, Object> source, TensorType type) {
    Map<String, Object> m = new LinkedHashMap<>(source);
    m.keySet().removeIf(key -> key.startsWith("split.") || key.equals("general.alignment"));
    putType(m, type);
    if (!(source instanceof GgufMetadata read)) {
      return m;
    }
    Map<String, Integer> types = new HashMap<>(read.types());
    types.keySet().removeAll(List.of(FILE_TYPE, QUANTIZATION_VERSION));
    return new GgufMetadata(m, types);
  }

  private static void putType(Map<String, Object> m, TensorType type) {
    m.put(
        FILE_TYPE,
        switch (type) { // enum llama_ftype
          case Q8_0 -> 7L;
          case Q4_K -> 14L;
          case Q6_K -> 18L;
          case BF16 -> 32L;
          default -> (long) ggmlType(type);
        });
    m.put(QUANTIZATION_VERSION, 2L);
  }

  private static void tokenizer(
      Map<String, Object> m, Vocabulary v, List<Integer> eosIds, int size) {
    Vocabulary.Normalization normalization = v.normalization();
    if (v.algorithm() != Vocabulary.Algorithm.BPE
        || normalization.charsMap().length > 0
        || !normalization.escapeWhitespaces()) {
      throw new IllegalArgumentException(
          "tokenizer: found "
              + v.algorithm()
              + (normalization.charsMap().length > 0 ? " with normalisation" : "")
              + ", expected BPE that leaves texts as they are: GGUF has no form for others");
    }
    List<Object> tokens = new ArrayList<>();
    List<Object> scores = new ArrayList<>();
    List<Object> types = new ArrayList<>();
    int unknown = -1;
    for (Piece piece : v.pieces()) {
      if (piece.type() == PieceType.UNKNOWN) {
        unknown = tokens.size();
      }
      boolean defined = piece.type() == PieceType.USER_DEFINED;
      // User-defined pieces are looked for before spaces become U+2581.
      tokens.add(defined ? piece.text().replace('\u2581', ' ') : piece.text());
      scores.add(piece.score());
      boolean special = piece.marker() && defined;
      PieceType type = special ? PieceType.CONTROL : piece.type(); // as llama.cpp's converter
      types.add(type.ordinal() + 1L); // SentencePiece numbers its types from 1
    }
    for (int id = tokens.size(); id < size; id++) { // llama.cpp wants one for each row
      tokens.add("[PAD" + id + "]");
      scores.add(PADDING_SCORE);
      types.add(PieceType.UNUSED.ordinal() + 1L);
    }
    m.put("tokenizer.ggml.model", "llama");
    m.put("tokenizer.ggml.pre", "default");
    m.put("tokenizer.ggml.tokens", tokens);
    m.put("tokenizer.ggml.scores", scores);
    m.put("tokenizer.ggml.token_type", types);
    putId(m, "bos", v.bosId());
    putEnds(m, v, eosIds);
    putId(m, "unknown", unknown);
    putId(m, "padding", v.padId());
    m.put("tokenizer.ggml.add_bos_token", v.addBos());
    m.put("tokenizer.ggml.add_eos_token", false);
    m.put("tokenizer.ggml.add_space_prefix", normalization.addDummyPrefix());
    if (normalization.removeExtraWhitespaces()) {
      m.put("tokenizer.ggml.remove_extra_whitespaces", true);
    }
  }

  /**
   * The tokens that end a text: GGUF has a key for each of three. Of Gemma's own eos alone a turn's
   * end is named besides, as llama.cpp's converter does.
   */
  private static void putEnds(Map<String, Object> m, Vocabulary v, List<Integer> eosIds) {
    int own = v.eosId();
    List<Integer> ends = new ArrayList<>(new LinkedHashSet<>(eosIds));
    if (ends.size() > 3) {
      throw new IllegalArgumentException(
          "eos_token_id: found " + ends + ", expected at most 3: GGUF has no form for more");
    }
    if (ends.remove((Integer) own) || ends.isEmpty()) {
      ends.addFirst(own);
      if (ends.size() == 1) {
        ends.add(v.pieces().stream().map(Piece::text).toList().indexOf("<end_of_turn>"));
      }
    }
    putId(m, "eos", ends.getFirst());
    // Without that key, readers take Gemma's end of a turn.
    putId(m, "eot", ends.get(Math.min(1, ends.size() - 1)));
    if (ends.size() == 3) {
      putId(m, "eom", ends.getLast());
    }
  }

  private static void putId(Map<String, Object> m, String name, int id) {
    if (id >= 0) {
      m.put("tokenizer.ggml." + name + "_token_id", (long) id);
    }
  }

  private static int ggmlType(TensorType type) {
    return switch (type) { // enum ggml_type
      case F32 -> 0;
      case F16 -> 1;
      case Q4_0 -> 2;
      case Q8_0 -> 8;
      case Q4_K -> 12;
      case Q6_K -> 14;
      case BF16 -> 30;
      default -> throw new IllegalArgumentException("cannot write " + type);
    };
  }

  private static long aligned(long at) {
    return Math.ceilDiv(at, ALIGNMENT) * ALIGNMENT;
  }

  private void pair(String key, @Nullable Integer known, Object value) {
    text(key);
    int type = known == null ? type(key, value) : known;
    u32(type);
    value(key, type, value);
  }

  private static int type(String key, Object value) {
    return switch (value) {
      case String text -> STRING;
      case Boolean flag -> BOOL;
      case Float f -> FLOAT32;
      case Double d -> FLOAT64;
      case BigInteger big -> UINT64;
      // llama.cpp asks for unsigned ones.
      case Long n -> n >= 0 && n < 1L << 32 ? UINT32 : n == (int) (long) n ? INT32 : INT64;
      case List<?> list -> ARRAY;
      default -> throw new IllegalArgumentException(key + ": cannot write " + value.getClass());
    };
  }

  private void value(String key, int type, Object value) {
    switch (type) {
      case STRING -> text((String) value);
      case BOOL -> header.write((Boolean) value ? 1 : 0);
      case FLOAT32 -> u32(Float.floatToRawIntBits((Float) value));
      case FLOAT64 -> u64(Double.doubleToRawLongBits((Double) value));
      case UINT8, INT8 -> header.write((int) (long) (Long) value);
      case UINT16, INT16 -> header.write(number.putLong(0, (Long) value).array(), 0, 2);
      case UINT32, INT32 -> u32((int) (long) (Long) value);
      case UINT64, INT64 -> u64(((Number) value).longValue());
      case ARRAY -> array(key, (List<?>) value);
      default -> throw new AssertionError(type);
    }
  }

  private void array(String key, List<?> list) {
    if (list instanceof GgufCursor.Scalars read) {
      u32(read.type());
      u64(list.size());
      header.writeBytes(read.bytes());
      return;
    }
    int type = list.isEmpty() ? INT32 : elementType(key, list);
    u32(type);
    u64(list.size());
    for (Object element : list) {
      value(key, type, element);
    }
  }

  /** One that holds all elements. */
  private static int elementType(String key, List<?> list) {
    if (list.stream().allMatch(e -> e instanceof Long || e instanceof BigInteger)) {
      return list.stream().anyMatch(BigInteger.class::isInstance)
          ? UINT64
          : list.stream().allMatch(e -> (Long) e == (int) (long) (Long) e) ? INT32 : INT64;
    }
    int type = type(key, list.getFirst());
    for (Object element : list) {
      if (type(key, element) != type) {
        throw new IllegalArgumentException(key + ": cannot write a list of several types");
      }
    }
    return type;
  }

  private void text(String value) {
    byte[] bytes = value.getBytes(StandardCharsets.UTF_8);
    u64(bytes.length);
    header.writeBytes(bytes);
  }

  private void u32(int value) {
    header.write(number.putInt(0, value).array(), 0, 4);
  }

  private void u64(long value) {
    header.write(number.putLong(0, value).array(), 0, 8);
  }
}
