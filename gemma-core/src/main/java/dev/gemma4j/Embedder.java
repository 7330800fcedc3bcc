package dev.gemma4j;

import dev.gemma4j.model.GemmaForward;
import dev.gemma4j.model.Scheduler;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Packs the tokens of many texts into full passes; see {@link Gemma#embed(List, Pooling, boolean)}.
 */
final class Embedder implements AutoCloseable {
  private final Gemma gemma;
  private final @Nullable LoraAdapter adapter;
  private final Pooling pooling;
  private final boolean normalize;
  private final float[][] hidden;
  private final List<Text> open = new ArrayList<>();
  private long firstPass; // when it began, by System.nanoTime

  /** A text whose tokens before the session's position have been pooled. */
  private static final class Text {
    final int[] ids;
    final Session session;
    final double[] sum;

    Text(int[] ids, Session session, int size) {
      this.ids = ids;
      this.session = session;
      this.sum = new double[size];
    }

    int rest() {
      return ids.length - session.position();
    }
  }

  Embedder(Gemma gemma, @Nullable LoraAdapter adapter, Pooling pooling, boolean normalize) {
    this.gemma = gemma;
    this.adapter = adapter;
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
    long start = System.nanoTime();
    Events.Prefill event = Events.prefill();
    List<Text> all = new ArrayList<>();
    int rows = 0;
    for (int[] ids : texts) {
      Text text = new Text(ids, gemma.newSession(adapter), gemma.config().hiddenSize());
      all.add(text);
      open.add(text);
      rows += ids.length;
      while (rows >= GemmaForward.MAX_ROWS) {
        rows -= pass();
      }
    }
    while (rows > 0) {
      rows -= pass();
    }
    if (event != null) {
      int tokens = texts.stream().mapToInt(ids -> ids.length).sum();
      event.end(tokens, 0, tokens == 0 ? 0 : firstPass - start);
    }
    return all.stream().map(this::vector).toList();
  }

  /** Runs as many rows of the open texts as fit and returns how many were taken. */
  private int pass() {
    List<Scheduler.Request> requests = new ArrayList<>();
    List<Integer> firstRows = new ArrayList<>();
    int rows = 0;
    for (Text text : open) {
      int from = text.session.position();
      int count = Math.min(GemmaForward.MAX_ROWS - rows, text.rest());
      if (count > 0) {
        if (!text.session.tryRoom(text.ids.length)) {
          if (!requests.isEmpty()) {
            break; // the rest when these have made room
          }
          // None of the texts before it is left, so that it waits with no pages.
          text.session.awaitRoom(text.ids.length, text.ids.length, () -> false);
        }
        int shift = rows - from;
        requests.add(
            text.session
                .request(text.ids, from, from + count, i -> hidden[shift + i], () -> false)
                .forHidden());
        firstRows.add(rows);
        rows += count;
      }
    }
    gemma.run(requests);
    if (firstPass == 0) {
      firstPass = requests.getFirst().started();
    }
    int taken = 0;
    for (int i = 0; i < requests.size(); i++) {
      int count = requests.get(i).taken();
      pool(open.get(i), firstRows.get(i), count);
      taken += count;
    }
    open.removeIf(
        text -> {
          if (text.rest() == 0) {
            text.session.close();
          }
          return text.rest() == 0;
        });
    return taken;
  }

  private void pool(Text text, int firstRow, int count) {
    for (int row = firstRow; row < firstRow + count; row++) {
      text.session.advance(1);
      boolean counts = pooling == Pooling.MEAN || text.rest() == 0;
      for (int i = 0; i < text.sum.length && counts; i++) {
        text.sum[i] += hidden[row][i];
      }
    }
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
    open.forEach(text -> text.session.close());
  }
}
