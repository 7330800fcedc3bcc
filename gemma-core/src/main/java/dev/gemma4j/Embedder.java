package dev.gemma4j;

import dev.gemma4j.model.Batch;
import dev.gemma4j.model.GemmaForward;
import dev.gemma4j.model.KvCache;
import java.util.ArrayList;
import java.util.List;

/**
 * Packs the tokens of many texts into full passes; see {@link Gemma#embed(List, Pooling, boolean)}.
 */
final class Embedder implements AutoCloseable {
  private final Gemma gemma;
  private final Pooling pooling;
  private final boolean normalize;
  private final float[][] hidden;
  private final List<Text> open = new ArrayList<>(); // with a row in the batch
  private Batch batch = new Batch();

  /** A text whose tokens before {@code done} have been pooled. */
  private static final class Text {
    final int[] ids;
    final KvCache cache;
    final double[] sum;
    int staged;
    int done;

    Text(int[] ids, KvCache cache, int size) {
      this.ids = ids;
      this.cache = cache;
      this.sum = new double[size];
    }
  }

  Embedder(Gemma gemma, Pooling pooling, boolean normalize) {
    this.gemma = gemma;
    this.pooling = pooling;
    this.normalize = normalize;
    this.hidden = new float[GemmaForward.MAX_ROWS][gemma.config().hiddenSize()];
  }

  List<float[]> embed(List<int[]> texts) {
    for (int[] ids : texts) {
      if (ids.length > gemma.contextLength()) {
        throw new ContextLengthException(0, ids.length, gemma.contextLength());
      }
    }
    List<Text> all = new ArrayList<>();
    for (int[] ids : texts) {
      Text text = new Text(ids, gemma.newCache(), gemma.config().hiddenSize());
      all.add(text);
      open.add(text);
      text.cache.reserve(0, ids.length);
      while (text.staged < ids.length) {
        batch.addHidden(ids[text.staged], text.staged, text.cache, hidden[batch.size()]);
        text.staged++;
        if (batch.size() == GemmaForward.MAX_ROWS) {
          run();
        }
      }
    }
    if (batch.size() > 0) {
      run();
    }
    return all.stream().map(this::vector).toList();
  }

  private void run() {
    gemma.run(batch, () -> Thread.currentThread().isInterrupted());
    int row = 0;
    for (Text text : open) {
      for (; text.done < text.staged; text.done++) {
        boolean counts = pooling == Pooling.MEAN || text.done == text.ids.length - 1;
        for (int i = 0; i < text.sum.length && counts; i++) {
          text.sum[i] += hidden[row][i];
        }
        row++;
      }
      if (text.done == text.ids.length) {
        text.cache.close();
      }
    }
    open.removeIf(text -> text.done == text.ids.length);
    batch = new Batch();
  }

  private float[] vector(Text text) {
    double divisor = pooling == Pooling.MEAN ? text.ids.length : 1;
    if (normalize) {
      double squares = 0;
      for (double value : text.sum) {
        squares += value * value;
      }
      divisor = squares == 0 ? 1 : Math.sqrt(squares);
    }
    float[] vector = new float[text.sum.length];
    for (int i = 0; i < vector.length; i++) {
      vector[i] = (float) (text.sum[i] / divisor);
    }
    return vector;
  }

  @Override
  public void close() {
    open.forEach(text -> text.cache.close());
  }
}
