package dev.gemma4j;

import dev.gemma4j.kernel.Matrix;
import dev.gemma4j.kernel.WorkerPool;
import dev.gemma4j.loader.Checkpoint;
import dev.gemma4j.loader.GgufWriter;
import dev.gemma4j.loader.Tensor;
import dev.gemma4j.loader.TensorType;
import dev.gemma4j.model.Adapter;
import dev.gemma4j.model.Adapter.LowRank;
import dev.gemma4j.model.WeightConverter;
import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.Vocabulary;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Stores a checkpoint as one GGUF file with matrices of another type, for this library and others.
 * Norms are F32, and so are tensors that Gemma has no use for; a matrix whose rows are no multiple
 * of the type's block becomes F16. Rounds as ggml's reference quantiser does.
 */
public final class Quantizer {
  private static final int CHUNK = 1 << 22; // values in memory at a time

  private final Checkpoint checkpoint;
  private final TensorType type;
  private final @Nullable Adapter adapter;
  private final WorkerPool pool;
  private final ProgressListener progress;
  private long done;
  private long total;

  private Quantizer(
      Checkpoint checkpoint,
      TensorType type,
      @Nullable Adapter adapter,
      WorkerPool pool,
      ProgressListener progress) {
    this.checkpoint = checkpoint;
    this.type = type;
    this.adapter = adapter;
    this.pool = pool;
    this.progress = progress;
  }

  /**
   * Reads one and writes the other. The file appears when it is complete; what fails or is
   * interrupted leaves nothing.
   *
   * @param in as {@link Gemma#load(Path)} takes it
   * @param out the GGUF file, replaced when it exists
   * @param type any but {@link WeightType#AS_STORED}
   * @param threads at least 1
   * @param progress told the bytes written and to be written
   * @throws IOException when one cannot be read or the other not be written, when out is a file of
   *     the checkpoint, or when a value is not finite or too large for the type; a {@link
   *     java.nio.channels.ClosedByInterruptException} when the thread is interrupted
   * @throws IllegalArgumentException when the tokenizer has no form in GGUF, the type is {@link
   *     WeightType#AS_STORED}, or there are no threads
   */
  public static void quantize(
      Path in, Path out, WeightType type, int threads, ProgressListener progress)
      throws IOException {
    quantize(in, null, out, type, threads, progress);
  }

  /**
   * Like {@link #quantize(Path, Path, WeightType, int, ProgressListener)}, with a LoRA adapter
   * added to the weights.
   *
   * @param adapter as {@link Gemma#loadAdapter} takes it; null for none
   */
  public static void quantize(
      Path in,
      @Nullable Path adapter,
      Path out,
      WeightType type,
      int threads,
      ProgressListener progress)
      throws IOException {
    TensorType stored = Gemma.tensorType(type);
    if (stored == null) {
      throw new IllegalArgumentException("found " + type + ", expected a type to store");
    }
    if (threads < 1) {
      throw new IllegalArgumentException("threads must be 1 or more, but is " + threads);
    }
    try (Checkpoint checkpoint = Checkpoint.open(in);
        WorkerPool pool = WorkerPool.start(threads, "quantize")) {
      Adapter merged = adapter == null ? null : Adapter.read(adapter, checkpoint.config());
      new Quantizer(checkpoint, stored, merged, pool, progress).write(in, out);
    }
  }

  private void write(Path in, Path out) throws IOException {
    List<GgufWriter.Entry> entries = new ArrayList<>();
    for (Tensor tensor : checkpoint.tensors()) {
      if (Files.exists(out) && Files.isSameFile(out, tensor.file())) {
        throw new MalformedFileException(
            out.toString(), "output", "a file of the checkpoint", "another file");
      }
      GgufWriter.Entry entry = new GgufWriter.Entry(tensor.name(), type(tensor), tensor.shape());
      entries.add(entry);
      total += entry.bytes();
    }
    progress.progress("weights", 0, total);
    GgufWriter.write(out, metadata(in), entries, this::write);
  }

  private TensorType type(Tensor tensor) {
    if (tensor.shape().size() != 2) {
      return TensorType.F32;
    }
    return tensor.shape().getLast() % type.blockSize() == 0 ? type : TensorType.F16;
  }

  private Map<String, Object> metadata(Path in) {
    if (checkpoint.metadata().containsKey("general.architecture")) { // of GGUF
      return GgufWriter.metadata(checkpoint.metadata(), type);
    }
    Path name = in.toAbsolutePath().normalize().getFileName();
    return GgufWriter.metadata(
        name == null ? "gemma" : name.toString(),
        checkpoint.config(),
        type,
        vocabulary(),
        checkpoint.eosIds(),
        checkpoint.chatTemplate().orElse(null));
  }

  private @Nullable Vocabulary vocabulary() {
    try {
      return checkpoint.tokenizer().vocabulary();
    } catch (MalformedFileException e) {
      return null; // there is none; other programs cannot do without, but sessions can
    }
  }

  private void write(GgufWriter.Entry entry, WritableByteChannel out) throws IOException {
    Tensor tensor = checkpoint.tensor(entry.name());
    try {
      if (entry.shape().size() == 2) {
        matrix(tensor, entry.type(), out);
      } else {
        vector(tensor, out);
      }
    } catch (InternalError | IllegalStateException e) {
      checkpoint.checkFiles(); // throws when the file became shorter
      throw e;
    }
    done += entry.bytes();
    progress.progress("weights", done, total);
  }

  private void matrix(Tensor tensor, TensorType target, WritableByteChannel out)
      throws IOException {
    int rows = Math.toIntExact(tensor.shape().get(0));
    int cols = Math.toIntExact(tensor.shape().get(1));
    int step = Math.max(1, CHUNK / cols);
    String module = tensor.name().replaceFirst("\\.weight$", "");
    LowRank update = adapter == null ? null : adapter.of(module);
    for (int r = 0; r < rows; r += step) {
      int count = Math.min(step, rows - r);
      long from = tensor.type().byteSize((long) r * cols);
      long size = tensor.type().byteSize((long) count * cols);
      Matrix source = new Matrix(tensor.type(), count, cols, tensor.data().asSlice(from, size));
      try (Arena arena = Arena.ofShared()) {
        if (update != null) {
          source = WeightConverter.merge(source, update.rows(r, r + count), arena, pool);
        }
        Matrix converted = WeightConverter.convertIfFits(source, target, arena, pool);
        if (converted == null) {
          throw new MalformedFileException(
              tensor.file().toString(),
              "tensor " + tensor.name(),
              "a value in rows " + r + " to " + (r + count - 1) + " that is not",
              "finite values that fit " + target);
        }
        write(out, converted.data().asByteBuffer());
      }
    }
  }

  private void vector(Tensor tensor, WritableByteChannel out) throws IOException {
    float[] values;
    if (tensor.name().endsWith("norm.weight")) {
      values = checkpoint.normScale(tensor.name());
    } else {
      values = new float[Math.toIntExact(tensor.elements())];
      tensor.read(0, values, 0, values.length);
    }
    ByteBuffer bytes =
        ByteBuffer.allocate(Math.multiplyExact(values.length, Float.BYTES))
            .order(ByteOrder.LITTLE_ENDIAN);
    bytes.asFloatBuffer().put(values);
    write(out, bytes);
  }

  private static void write(WritableByteChannel out, ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      out.write(bytes);
    }
  }
}
