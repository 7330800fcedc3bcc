package dev.gemma4j.loader;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
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
    String name, TensorType type, List<Long> shape, MemorySegment data, String file) {
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
      throw InputFile.shrunk(file, e);
    }
  }

  /** The product of the shape. */
  public long elements() {
    return data.byteSize() / type.blockBytes() * type.blockSize();
  }
}
