package dev.gemma4j.loader;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.List;

/**
 * One tensor of a checkpoint, mapped from its file.
 *
 * @param name the Hugging Face name, such as "model.layers.0.mlp.up_proj.weight", whatever the
 *     format; a tensor that Gemma has no use for keeps the name that its file gives it
 * @param shape outermost first: [rows, cols] for a matrix, of which each row lies contiguous
 * @param data exactly the tensor's bytes, little-endian, read-only, at any alignment; valid until
 *     the checkpoint is closed
 * @param file the file that holds it
 */
public record Tensor(
    String name, TensorType type, List<Long> shape, MemorySegment data, Path file) {
  /** Copies the shape. */
  public Tensor {
    shape = List.copyOf(shape);
  }

  /**
   * Decodes values, see {@link TensorType#dequantize}.
   *
   * @throws IOException when the file has become shorter since it was opened
   */
  public void read(long firstElement, float[] target, int targetOffset, int count)
      throws IOException {
    try {
      type.dequantize(data, firstElement, target, targetOffset, count);
    } catch (InternalError e) {
      throw InputFile.shrunk(file.toString(), e);
    }
  }

  /**
   * Reads all values for the first that is NaN or infinite, as one of a block with such a scale is.
   *
   * @return its index, or -1 when there is none
   * @throws IOException when the file has become shorter since it was opened
   */
  public long firstNonFinite() throws IOException {
    float[] values = new float[1 << 14]; // a multiple of every block
    long total = elements();
    for (long at = 0; at < total; at += values.length) {
      int count = (int) Math.min(values.length, total - at);
      read(at, values, 0, count);
      for (int i = 0; i < count; i++) {
        if (!Float.isFinite(values[i])) {
          return at + i;
        }
      }
    }
    return -1;
  }

  /** The product of the shape. */
  public long elements() {
    return data.byteSize() / type.blockBytes() * type.blockSize();
  }
}
