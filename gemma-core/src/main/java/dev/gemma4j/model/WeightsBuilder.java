package dev.gemma4j.model;

import dev.gemma4j.kernel.Kernels;
import dev.gemma4j.kernel.Matrix;
import dev.gemma4j.kernel.WorkerPool;
import dev.gemma4j.loader.Checkpoint;
import dev.gemma4j.loader.GemmaConfig;
import dev.gemma4j.loader.Tensor;
import dev.gemma4j.loader.TensorType;
import dev.gemma4j.model.Adapter.LowRank;
import dev.gemma4j.model.Weights.Layer;
import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BiConsumer;
import org.jspecify.annotations.Nullable;

/**
 * Turns a checkpoint into weights: as stored where that type serves, mapped or copied, else
 * converted.
 */
public final class WeightsBuilder {
  private static final Projection[] PROJECTIONS = Projection.values();

  private final Checkpoint checkpoint;
  private final @Nullable TensorType type;
  private final @Nullable Adapter adapter;
  private final boolean copy;
  private final Kernels kernels;
  private final Arena arena;
  private final WorkerPool pool;

  /**
   * @param type the type of all matrices, or null for the stored ones as far as kernels know them
   * @param adapter to add to the matrices, or null
   * @param copy whether nothing of the checkpoint is needed once the weights are built
   * @param kernels for which the matrices are packed
   * @param arena owns what is converted, packed or copied
   */
  public WeightsBuilder(
      Checkpoint checkpoint,
      @Nullable TensorType type,
      @Nullable Adapter adapter,
      boolean copy,
      Kernels kernels,
      Arena arena,
      WorkerPool pool) {
    this.checkpoint = checkpoint;
    this.type = type;
    this.adapter = adapter;
    this.copy = copy;
    this.kernels = kernels;
    this.arena = arena;
    this.pool = pool;
  }

  /**
   * Builds.
   *
   * @param progress told (done, total) steps
   * @throws IOException when a file has become shorter since it was opened, or when a value is not
   *     finite or too large for the type asked for
   */
  public Weights build(BiConsumer<Integer, Integer> progress) throws IOException {
    try {
      return read(progress);
    } catch (UncheckedIOException e) {
      throw e.getCause();
    } catch (InternalError | IllegalStateException e) { // the latter from a worker
      checkpoint.checkFiles();
      throw e;
    }
  }

  private Weights read(BiConsumer<Integer, Integer> progress) throws IOException {
    GemmaConfig config = checkpoint.config();
    int total = config.numLayers() + 1;
    progress.accept(0, total);
    Matrix embedding = matrix("model.embed_tokens", pool);
    progress.accept(1, total);
    Matrix[] matrices = layerMatrices(config.numLayers(), progress);
    List<Layer> layers = new ArrayList<>();
    for (int l = 0; l < config.numLayers(); l++) {
      int m = l * PROJECTIONS.length;
      layers.add(
          new Layer(
              checkpoint.normScale(layer(l) + "input_layernorm.weight"),
              matrices[m],
              matrices[m + 1],
              matrices[m + 2],
              matrices[m + 3],
              checkpoint.normScale(layer(l) + "post_attention_layernorm.weight"),
              matrices[m + 4],
              matrices[m + 5],
              matrices[m + 6]));
    }
    progress.accept(total, total);
    float[] norm = checkpoint.normScale("model.norm.weight");
    if (copy) {
      checkpoint.checkFiles(); // a page that is half gone reads as zeros
    }
    return new Weights(config, embedding, List.copyOf(layers), norm);
  }

  private static String layer(int l) {
    return "model.layers." + l + ".";
  }

  /**
   * All matrices of the layers, in the order of {@link Projection}. Each by one thread: what is not
   * mapped is memory that is filled with zeros first, in the thread that asks for it or touches it.
   */
  private Matrix[] layerMatrices(int layers, BiConsumer<Integer, Integer> progress) {
    Matrix[] matrices = new Matrix[layers * PROJECTIONS.length];
    AtomicInteger next = new AtomicInteger();
    AtomicInteger done = new AtomicInteger();
    Thread loading = Thread.currentThread();
    try (WorkerPool caller = WorkerPool.start(1, "load")) { // has no thread of its own
      pool.run(
          (part, parts) -> {
            for (int m; (m = next.getAndIncrement()) < matrices.length; ) {
              Projection projection = PROJECTIONS[m % PROJECTIONS.length];
              matrices[m] = matrix(projection.module(m / PROJECTIONS.length), caller);
              int layersDone = done.incrementAndGet() / PROJECTIONS.length;
              if (Thread.currentThread() == loading) { // which has one of the parts, any
                progress.accept(1 + layersDone, 1 + layers);
              }
            }
          });
    }
    return matrices;
  }

  private Matrix matrix(String name, WorkerPool pool) {
    Tensor tensor = checkpoint.tensor(name + ".weight");
    int rows = Math.toIntExact(tensor.shape().get(0));
    int cols = Math.toIntExact(tensor.shape().get(1));
    Matrix stored = new Matrix(tensor.type(), rows, cols, tensor.data());
    if (type != null && cols % type.blockSize() != 0) {
      throw new IllegalArgumentException(
          tensor.file()
              + ": "
              + name
              + ": found rows of "
              + cols
              + ", expected a multiple of "
              + type.blockSize()
              + " to store it as "
              + type);
    }
    try (Arena temporary = Arena.ofShared()) {
      LowRank update = adapter == null ? null : adapter.of(name);
      Matrix converted;
      if (update != null) {
        converted = merge(tensor, stored, update, temporary, pool);
      } else if (type == null) {
        converted = WeightConverter.runnable(stored, to -> owner(to, temporary), pool);
      } else {
        converted = convert(tensor, stored, type, owner(type, temporary), pool);
      }
      Matrix packed = pack(tensor, converted, pool);
      // Kernels read no mapped memory: that of files is not mapped any more in a matrix, unless it
      // is too large.
      if (packed == stored && (copy || stored.data().isMapped())) {
        packed = WeightConverter.copy(stored, arena, pool);
      }
      if (packed != stored && tensor.data().isMapped()) {
        tensor.data().unload(); // else the file's pages count as this process's memory too
      }
      return packed;
    }
  }

  private Matrix pack(Tensor tensor, Matrix matrix, WorkerPool pool) {
    try {
      return kernels.pack(matrix, arena, pool);
    } catch (ArithmeticException e) {
      throw malformed(tensor, String.valueOf(e.getMessage()), "finite scales");
    }
  }

  private static UncheckedIOException malformed(Tensor tensor, String found, String expected) {
    return new UncheckedIOException( // tasks of a pool throw nothing else
        new MalformedFileException(
            tensor.file().toString(), "tensor " + tensor.name(), found, expected));
  }

  /** What owns a matrix of this type that is going to be packed, or not. */
  private Arena owner(TensorType type, Arena temporary) {
    return kernels.packs(type) ? temporary : arena;
  }

  /** The matrix of a tensor in a type that must hold its values: else logits would be NaN. */
  private static Matrix convert(
      Tensor tensor, Matrix source, TensorType type, Arena owner, WorkerPool pool) {
    if (source.type() == type) {
      return source;
    }
    Matrix converted = WeightConverter.convertIfFits(source, type, owner, pool);
    if (converted == null) {
      throw malformed(tensor, "a value that is not", "finite values that fit " + type);
    }
    return converted;
  }

  private Matrix merge(
      Tensor tensor, Matrix stored, LowRank update, Arena temporary, WorkerPool pool) {
    TensorType target = type == null ? WeightConverter.encodable(stored.type()) : type;
    if (target == TensorType.F32) {
      return WeightConverter.merge(stored, update, arena, pool);
    }
    Arena owner = owner(target, temporary);
    Matrix sum = WeightConverter.merge(stored, update, temporary, pool);
    if (type != null) {
      return convert(tensor, sum, target, owner, pool);
    }
    Matrix result = WeightConverter.convertIfFits(sum, target, owner, pool);
    return result == null ? WeightConverter.copy(sum, arena, pool) : result;
  }
}
