package dev.gemma4j.model;

import dev.gemma4j.kernel.Kernels;
import dev.gemma4j.kernel.KvLayout;
import dev.gemma4j.kernel.Matrix;
import dev.gemma4j.kernel.Scratch;
import dev.gemma4j.kernel.WorkerPool;
import dev.gemma4j.loader.GemmaConfig;
import dev.gemma4j.model.Batch.Row;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntConsumer;
import java.util.function.IntFunction;

/**
 * The forward pass of Gemma 1 (https://arxiv.org/abs/2403.08295) over a {@link Batch}: prefill,
 * decode and many sequences at once are the same code. One pass runs at a time, step by step, led
 * by the {@link Scheduler}.
 *
 * <p>Shapes: n is the number of rows; activations are row-major.
 */
public final class GemmaForward {
  /**
   * Rows of one pass at most, so that the activations stay small; a longer prompt takes several.
   */
  public static final int MAX_ROWS = 256;

  // Rows of logits that one product over the embedding computes: 32 of 256000 floats are 32 MB.
  private static final int LOGIT_ROWS = 32;

  // Parts of a decode step's product for each thread.
  private static final int TURNS = 4;

  // Work is split between threads at multiples of a cache line of floats.
  private static final int ALIGN = Kernels.ROW_GROUP;

  private final Weights weights;
  private final GemmaConfig config;
  private final Kernels kernels;
  private final WorkerPool pool;
  private final Scratch[] scratch;
  private final AdapterPass adapters;
  private final float embeddingScale;
  private final float attentionScale;
  private final float[] inverseFrequencies; // [headDim / 2]
  private Activations a;
  private Batch batch = new Batch(); // of the pass under way
  private int nextLayer;
  private float[] logitRows = new float[0]; // [rows that ask, vocab], when more than one does

  /** The buffers of a pass of up to {@code rows} rows. */
  private static final class Activations {
    final int rows;
    final float[] x; // [n, hidden] the residual stream
    final float[] h; // [n, hidden] a normalised copy of it, or what is added to it
    final float[] q; // [n, numHeads * headDim]
    final float[] k; // [n, numKvHeads * headDim]
    final float[] v; // [n, numKvHeads * headDim]
    final float[] attention; // [n, numHeads * headDim]
    final float[] gate; // [n, intermediate]
    final float[] up; // [n, intermediate]
    final float[] cos; // [n, headDim / 2]
    final float[] sin; // [n, headDim / 2]

    Activations(GemmaConfig c, int rows) {
      this.rows = rows;
      x = new float[rows * c.hiddenSize()];
      h = new float[rows * c.hiddenSize()];
      q = new float[rows * c.numHeads() * c.headDim()];
      k = new float[rows * c.numKvHeads() * c.headDim()];
      v = new float[k.length];
      attention = new float[q.length];
      gate = new float[rows * c.intermediateSize()];
      up = new float[gate.length];
      cos = new float[rows * c.headDim() / 2];
      sin = new float[cos.length];
    }
  }

  public GemmaForward(Weights weights, Kernels kernels, WorkerPool pool) {
    this.weights = weights;
    this.config = weights.config();
    this.kernels = kernels;
    this.pool = pool;
    this.scratch = new Scratch[pool.size()];
    for (int i = 0; i < scratch.length; i++) {
      scratch[i] = new Scratch();
    }
    this.adapters = new AdapterPass(kernels, pool, scratch);
    this.embeddingScale = (float) Math.sqrt(config.hiddenSize());
    this.attentionScale = (float) (1 / Math.sqrt(config.headDim()));
    this.inverseFrequencies = new float[config.headDim() / 2];
    for (int i = 0; i < inverseFrequencies.length; i++) {
      // In f32 as the reference computes it: at high positions the angle's rounding shows.
      inverseFrequencies[i] = 1 / (float) Math.pow(config.ropeTheta(), 2f * i / config.headDim());
    }
    this.a = new Activations(config, 1);
  }

  /** Begins a pass, which replaces one that has not ended. */
  public void begin(Batch newBatch) {
    int n = newBatch.size();
    if (n > MAX_ROWS) {
      throw new IllegalArgumentException(n + " rows, at most " + MAX_ROWS);
    }
    if (a.rows < n) {
      a = new Activations(config, n);
    }
    batch = newBatch;
    nextLayer = 0;
    adapters.begin(newBatch);
    embed(newBatch, n);
  }

  /**
   * Computes the next layer, which stores its keys and values in the caches, or, after the last
   * one, the logits and hidden states that were asked for. Any thread may take the next step.
   *
   * @return whether steps are left
   */
  public boolean advance() {
    int n = batch.size();
    int l = nextLayer++;
    if (l == weights.layers().size()) {
      logits(batch, n);
      return false;
    }
    Weights.Layer layer = weights.layers().get(l);
    rmsNorm(layer.attentionNorm(), n);
    attention(l, batch, n); // x += Wo softmax(q kᵀ / √headDim) v
    rmsNorm(layer.mlpNorm(), n);
    mlp(l, n); // x += Wdown (gelu(Wgate h) ⊙ Wup h)
    return true;
  }

  private void embed(Batch batch, int n) {
    int half = config.headDim() / 2;
    for (int i = 0; i < n; i++) {
      Row row = batch.row(i);
      kernels.embed(weights.embedding(), row.token(), embeddingScale, a.x, i * config.hiddenSize());
      for (int j = 0; j < half; j++) {
        float angle = row.position() * inverseFrequencies[j];
        a.cos[i * half + j] = (float) Math.cos(angle);
        a.sin[i * half + j] = (float) Math.sin(angle);
      }
    }
  }

  /** h = rmsNorm(x). */
  private void rmsNorm(float[] scale, int n) {
    int hidden = config.hiddenSize();
    rows(n, i -> kernels.rmsNorm(a.x, i * hidden, scale, config.rmsNormEps(), a.h, i * hidden));
  }

  private void attention(int l, Batch batch, int n) {
    int headDim = config.headDim();
    int half = headDim / 2;
    int heads = config.numHeads();
    int kvHeads = config.numKvHeads();
    adapters.compress(l, a.h, Projection.QUERY, Projection.KEY, Projection.VALUE);
    pool.turns(
        parts(n),
        (part, parts, member) -> {
          project(l, Projection.QUERY, a.h, n, a.q, part, parts, member);
          project(l, Projection.KEY, a.h, n, a.k, part, parts, member);
          project(l, Projection.VALUE, a.h, n, a.v, part, parts, member);
        });
    rows(
        n,
        i -> {
          for (int head = 0; head < heads; head++) {
            Kernels.rope(a.q, (i * heads + head) * headDim, headDim, a.cos, a.sin, i * half);
          }
          for (int head = 0; head < kvHeads; head++) {
            Kernels.rope(a.k, (i * kvHeads + head) * headDim, headDim, a.cos, a.sin, i * half);
          }
          Row row = batch.row(i);
          row.cache().put(l, row.position(), a.k, a.v, i * kvHeads * headDim);
        });
    attend(l, batch, n);
    adapters.compress(l, a.attention, Projection.OUTPUT);
    pool.turns(
        parts(n),
        (part, parts, member) ->
            project(l, Projection.OUTPUT, a.attention, n, a.h, part, parts, member));
    kernels.add(a.x, a.h, 0, n * config.hiddenSize());
  }

  /** attention = softmax(q Kᵀ / √headDim) V, for each row and each KV head. */
  private void attend(int l, Batch batch, int n) {
    int kvHeads = config.numKvHeads();
    int total = n * kvHeads;
    if (total % pool.size() == 0 || total >= 4 * pool.size()) {
      pool.run(
          (part, parts) -> {
            int to = split(total, part + 1, parts, 1);
            for (int i = split(total, part, parts, 1); i < to; i++) {
              Heads heads = new Heads(l, batch.row(i / kvHeads), i, scratch[part]::scores);
              heads.scores(0, 1, scratch[part]);
              heads.softmax(0, 1);
              heads.mixValues(0, 1, scratch[part]);
            }
          });
      return;
    }
    // Too few to keep all threads busy: each takes some positions, then some heads, then some
    // dimensions, so that none reads what another does.
    for (int i = 0; i < total; i++) {
      Heads heads = new Heads(l, batch.row(i / kvHeads), i, scratch[0]::scores);
      pool.run((part, parts) -> heads.scores(part, parts, scratch[part]));
      pool.run(heads::softmax);
      pool.run((part, parts) -> heads.mixValues(part, parts, scratch[part]));
    }
  }

  /** The query heads of a row that share a KV head. */
  private final class Heads {
    private final int count = config.numHeads() / config.numKvHeads();
    private final int headDim = config.headDim();
    private final KvLayout layout;
    private final MemorySegment[] pages;
    private final int length;
    private final int usedPages;
    private final int stride;
    private final int at;
    private final float[] weights; // [count, stride]

    /** Number {@code i} of all rows' KV heads. */
    Heads(int l, Row row, int i, IntFunction<float[]> buffer) {
      layout = row.cache().layout(l, i % config.numKvHeads());
      pages = row.cache().segments();
      length = row.position() + 1;
      usedPages = (length + layout.pageSize() - 1) / layout.pageSize();
      stride = usedPages * layout.pageSize();
      at = i * count * headDim;
      weights = buffer.apply(count * stride);
    }

    /** weights = q Kᵀ, the part's share of the positions. */
    void scores(int part, int parts, Scratch scratch) {
      int from = split(usedPages, part, parts, 1);
      int to = split(usedPages, part + 1, parts, 1);
      kernels.scores(a.q, at, count, pages, layout, from, to, weights, stride, scratch);
    }

    /** weights = softmax(weights / √headDim), the part's share of the heads. */
    void softmax(int part, int parts) {
      int to = split(count, part + 1, parts, 1);
      for (int head = split(count, part, parts, 1); head < to; head++) {
        kernels.softmax(weights, head * stride, length, attentionScale);
      }
    }

    /** attention = weights V, the part's share of the dimensions. */
    void mixValues(int part, int parts, Scratch scratch) {
      int from = split(headDim, part, parts, KvLayout.BLOCK);
      int to = split(headDim, part + 1, parts, KvLayout.BLOCK);
      if (from < to) {
        kernels.mixValues(
            weights, stride, count, pages, layout, length, from, to, a.attention, at, scratch);
      }
    }
  }

  private void mlp(int l, int n) {
    int intermediate = config.intermediateSize();
    adapters.compress(l, a.h, Projection.GATE, Projection.UP);
    pool.turns(
        parts(n),
        (part, parts, member) -> {
          project(l, Projection.GATE, a.h, n, a.gate, part, parts, member);
          project(l, Projection.UP, a.h, n, a.up, part, parts, member);
          int from = split(intermediate, part, parts, ALIGN);
          int to = split(intermediate, part + 1, parts, ALIGN);
          for (int i = 0; i < n; i++) {
            kernels.geglu(a.gate, a.up, i * intermediate + from, to - from);
          }
        });
    adapters.compress(l, a.gate, Projection.DOWN);
    pool.turns(
        parts(n),
        (part, parts, member) -> project(l, Projection.DOWN, a.gate, n, a.h, part, parts, member));
    kernels.add(a.x, a.h, 0, n * config.hiddenSize());
  }

  /** logits = embedding · rmsNorm(x), only for the rows that ask, up to 32 in one product. */
  private void logits(Batch batch, int n) {
    int hidden = config.hiddenSize();
    int vocab = config.vocabSize();
    List<float[]> targets = new ArrayList<>();
    for (int i = 0; i < n; i++) {
      float[] state = batch.row(i).hidden();
      if (state != null) {
        kernels.rmsNorm(a.x, i * hidden, weights.finalNorm(), config.rmsNormEps(), state, 0);
      }
      float[] target = batch.row(i).logits();
      if (target != null) {
        int at = targets.size() * hidden;
        kernels.rmsNorm(a.x, i * hidden, weights.finalNorm(), config.rmsNormEps(), a.h, at);
        targets.add(target);
      }
      int count = targets.size();
      if (count == LOGIT_ROWS || (i == n - 1 && count > 0)) {
        float[] out = count == 1 ? targets.get(0) : logitRows(count * vocab);
        pool.turns(
            parts(count),
            (part, parts, member) ->
                matmul(weights.embedding(), a.h, count, out, part, parts, member));
        for (int j = 0; j < count && count > 1; j++) {
          System.arraycopy(out, j * vocab, targets.get(j), 0, vocab);
        }
        targets.clear();
      }
    }
  }

  private float[] logitRows(int size) {
    if (logitRows.length < size) {
      logitRows = new float[size];
    }
    return logitRows;
  }

  /** The part's share of y = W x, and of what adapters add to it. */
  private void project(
      int l, Projection p, float[] x, int n, float[] y, int part, int parts, int member) {
    Matrix w = weights.layers().get(l).matrix(p);
    matmul(w, x, n, y, part, parts, member);
    int from = split(w.rows(), part, parts, ALIGN);
    int to = split(w.rows(), part + 1, parts, ALIGN);
    adapters.expand(l, p, y, w.rows(), from, to, member);
  }

  private void matmul(Matrix w, float[] x, int n, float[] y, int part, int parts, int member) {
    int from = split(w.rows(), part, parts, ALIGN);
    int to = split(w.rows(), part + 1, parts, ALIGN);
    if (from < to) {
      kernels.matmul(w, from, to, x, n, y, w.rows(), scratch[member]);
    }
  }

  /**
   * Parts of a product of n rows: some for each thread, so that none waits long for another, but
   * not of many rows, whose layout each part makes anew.
   */
  private int parts(int n) {
    return n == 1 ? TURNS * pool.size() : pool.size();
  }

  /** Runs a small job for each row, in the calling thread when there is only one. */
  private void rows(int n, IntConsumer job) {
    if (n == 1) {
      job.accept(0);
      return;
    }
    pool.split(
        n,
        (from, to) -> {
          for (int i = from; i < to; i++) {
            job.accept(i);
          }
        });
  }

  /** The first of {@code total} items of a part, a multiple of {@code align}. */
  private static int split(int total, int part, int parts, int align) {
    if (part == parts) {
      return total;
    }
    return Math.min(total, (int) ((long) total * part / parts + align - 1) / align * align);
  }
}
