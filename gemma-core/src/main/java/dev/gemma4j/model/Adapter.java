package dev.gemma4j.model;

import dev.gemma4j.kernel.Matrix;
import dev.gemma4j.loader.GemmaConfig;
import dev.gemma4j.loader.PeftAdapter;
import dev.gemma4j.loader.Tensor;
import dev.gemma4j.loader.TensorType;
import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Cleaner;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A LoRA adapter (https://arxiv.org/abs/2106.09685) in memory: what it adds to matrices of the
 * model, in f32 outside the heap. Immutable; its memory is freed once nothing refers to it, so keep
 * it for as long as one of its matrices is read.
 */
public final class Adapter {
  private static final Cleaner CLEANER = Cleaner.create();

  private final Map<String, LowRank> updates;
  private final @Nullable LowRank[][] layers; // [layer][projection]
  private final String id;

  /**
   * What is added to a matrix W [out, in]: the product of two small ones.
   *
   * @param a [rank, in]
   * @param b [out, rank], the scale multiplied in
   */
  public record LowRank(Matrix a, Matrix b) {
    int rank() {
      return a.rows();
    }

    /** The same for rows [from, to) of W alone. */
    public LowRank rows(int from, int to) {
      long bytes = b.rowBytes();
      MemorySegment part = b.data().asSlice(from * bytes, (to - from) * bytes);
      return new LowRank(a, new Matrix(b.type(), to - from, b.cols(), part));
    }
  }

  private Adapter(Map<String, LowRank> updates, String id, int numLayers, Arena arena) {
    this.updates = updates;
    this.id = id;
    Projection[] projections = Projection.values();
    layers = new LowRank[numLayers][projections.length];
    for (int l = 0; l < numLayers; l++) {
      for (Projection p : projections) {
        layers[l][p.ordinal()] = updates.get(p.module(l));
      }
    }
    CLEANER.register(this, arena::close);
  }

  /**
   * Reads an adapter that PEFT saved; its files are not needed afterwards.
   *
   * @throws IOException as {@link PeftAdapter#open}, and when the scale makes a value infinite
   */
  public static Adapter read(Path directory, GemmaConfig config) throws IOException {
    Arena arena = Arena.ofShared(); // an automatic one's memory counts as direct buffers do
    try {
      return read(directory, config, arena);
    } catch (Throwable t) {
      arena.close();
      throw t;
    }
  }

  private static Adapter read(Path directory, GemmaConfig config, Arena arena) throws IOException {
    MessageDigest digest = sha256();
    Map<String, LowRank> updates = new HashMap<>();
    try (PeftAdapter file = PeftAdapter.open(directory, config)) {
      for (PeftAdapter.Update update : file.updates()) {
        LowRank lowRank =
            new LowRank(matrix(update.a(), 1, arena), matrix(update.b(), update.scale(), arena));
        updates.put(update.module(), lowRank);
        digest.update(update.module().getBytes(StandardCharsets.UTF_8));
        digest(lowRank.a, digest);
        digest(lowRank.b, digest);
      }
    }
    String id = HexFormat.of().formatHex(digest.digest());
    return new Adapter(Map.copyOf(updates), id, config.numLayers(), arena);
  }

  private static void digest(Matrix matrix, MessageDigest digest) {
    for (int r = 0; r < matrix.rows(); r++) { // a buffer holds no more than 2 GB
      long bytes = matrix.rowBytes();
      digest.update(matrix.data().asSlice(r * bytes, bytes).asByteBuffer());
    }
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e); // every JDK has it
    }
  }

  private static Matrix matrix(Tensor tensor, float scale, Arena arena) throws IOException {
    int rows = Math.toIntExact(tensor.shape().get(0));
    int cols = Math.toIntExact(tensor.shape().get(1));
    long bytes = TensorType.F32.byteSize((long) rows * cols);
    Matrix matrix = new Matrix(TensorType.F32, rows, cols, arena.allocate(bytes, 64));
    float[] row = new float[cols];
    for (int r = 0; r < rows; r++) {
      tensor.read((long) r * cols, row, 0, cols);
      for (int i = 0; i < cols; i++) {
        row[i] *= scale;
        if (!Float.isFinite(row[i])) { // each alone is
          throw new MalformedFileException(
              tensor.file().toString(),
              "tensor " + tensor.name(),
              "a value that is infinite when multiplied by lora_alpha / rank, " + scale,
              "finite ones");
        }
      }
      WeightConverter.encode(row, TensorType.F32, matrix.data(), r * matrix.rowBytes());
    }
    return matrix;
  }

  /**
   * What is added to a matrix, or null for nothing.
   *
   * @param module such as "model.layers.0.self_attn.q_proj"
   */
  public @Nullable LowRank of(String module) {
    return updates.get(module);
  }

  @Nullable LowRank of(int layer, Projection projection) {
    return layers[layer][projection.ordinal()];
  }

  /** The same for adapters of the same content. */
  public String id() {
    return id;
  }
}
