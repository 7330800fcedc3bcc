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

/**
 * The forward pass of Gemma 1 (https://arxiv.org/abs/2403.08295) over a {@link Batch}: prefill,
 * decode and many sequences at once are the same code. One pass runs at a time, step by step, led
 * by the {@link Scheduler}. A step of decoding allocates nothing: what threads share of it is in
 * fields, and their tasks are made once.
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

  // Of a decode step's product: with two threads, the smallest part is a 128th.
  private static final int HALVINGS = 6;

  // Floats from one row of the activations to the next beyond its width: rows a power of two apart,
  // as those of 2B would be, fall on the same few lines of a cache.
  private static final int PAD = 16;

  // Work is split between threads at multiples of a cache line of floats.
  private static final int ALIGN = Kernels.ROW_GROUP;

  private final Weights weights;
  private final GemmaConfig config;
  private final Kernels kernels;
  private final WorkerPool pool;
  private final Scratch[] scratch; // of each member of the pool
  private final Heads[] heads; // likewise
  private final AdapterPass adapters;
  private final float embeddingScale;
  private final float attentionScale;
  private final float[] inverseFrequencies; // [headDim / 2]
  private Activations a;

  // The pass under way.
  private Batch batch = new Batch();
  private int n; // rows
  private int l; // the layer
  private float[] normScale = new float[0];
  private final List<float[]> targets = new ArrayList<>(); // of the next product of logits
  private float[] logits = new float[0]; // what it computes, [targets, vocab]
  private float[] logitRows = new float[0]; // where, when there is more than one target

  private static final Projection[] QKV = {Projection.QUERY, Projection.KEY, Projection.VALUE};
  private static final Projection[] OUTPUT = {Projection.OUTPUT};
  private static final Projection[] GATE_UP = {Projection.GATE, Projection.UP};
  private static final Projection[] DOWN = {Projection.DOWN};

  private final IntConsumer normTask = this::norm;
  private final WorkerPool.Turn qkvTask = this::qkv;
  private final IntConsumer ropeAndStoreTask = this::ropeAndStore;
  private final WorkerPool.Task wholeHeadsTask = this::wholeHeads;
  private final WorkerPool.Task scoresTask = this::scores;
  private final WorkerPool.Task softmaxTask = this::softmax;
  private final WorkerPool.Task mixValuesTask = this::mixValues;
  private final WorkerPool.Turn outputTask = this::output;
  private final WorkerPool.Turn gateAndUpTask = this::gateAndUp;
  private final WorkerPool.Turn downTask = this::down;
  private final WorkerPool.Turn logitsTask = this::logits;

  /** The buffers of a pass of up to {@code rows} rows, which are {@link #PAD} longer than shown. */
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
      x = new float[rows * stride(c.hiddenSize())];
      h = new float[x.length];
      q = new float[rows * stride(c.numHeads() * c.headDim())];
      k = new float[rows * stride(c.numKvHeads() * c.headDim())];
      v = new float[k.length];
      attention = new float[q.length];
      gate = new float[rows * stride(c.intermediateSize())];
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
    this.heads = new Heads[scratch.length];
    for (int i = 0; i < scratch.length; i++) {
      scratch[i] = new Scratch();
      heads[i] = new Heads(scratch[i]);
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
    int rows = newBatch.size();
    if (rows > MAX_ROWS) {
      throw new IllegalArgumentException(rows + " rows, at most " + MAX_ROWS);
    }
    if (a.rows < rows) {
      a = new Activations(config, rows);
    }
    batch = newBatch;
    n = rows;
    l = 0;
    adapters.begin(newBatch);
    embed();
  }

  /**
   * Computes the next layer, which stores its keys and values in the caches, or, after the last
   * one, the logits and hidden states that were asked for. Any thread may take the next step.
   *
   * @return whether steps are left
   */
  public boolean advance() {
    if (l == weights.layers().size()) {
      logits();
      return false;
    }
    Weights.Layer layer = weights.layers().get(l);
    rmsNorm(layer.attentionNorm());
    attention(); // x += Wo softmax(q kᵀ / √headDim) v
    rmsNorm(layer.mlpNorm());
    mlp(); // x += Wdown (gelu(Wgate h) ⊙ Wup h)
    l++;
    return true;
  }

  /** Ends the pass, whether it was run to its end or not. */
  public void end() {
    adapters.end();
  }

  private void embed() {
    int half = config.headDim() / 2;
    for (int i = 0; i < n; i++) {
      Row row = batch.row(i);
      kernels.embed(
          weights.embedding(), row.token(), embeddingScale, a.x, i * stride(config.hiddenSize()));
      for (int j = 0; j < half; j++) {
        float angle = row.position() * inverseFrequencies[j];
        a.cos[i * half + j] = (float) Math.cos(angle);
        a.sin[i * half + j] = (float) Math.sin(angle);
      }
    }
  }

  /** h = rmsNorm(x). */
  private void rmsNorm(float[] scale) {
    normScale = scale;
    rows(normTask);
  }

  private void norm(int i) {
    int at = i * stride(config.hiddenSize());
    kernels.rmsNorm(a.x, at, normScale, config.rmsNormEps(), a.h, at);
  }

  private void attention() {
    adapters.compress(l, a.h, QKV);
    pool.turns(halvings(n), qkvTask);
    rows(ropeAndStoreTask);
    attend();
    adapters.compress(l, a.attention, OUTPUT);
    pool.turns(halvings(n), outputTask);
    kernels.add(a.x, a.h, 0, n * stride(config.hiddenSize()));
  }

  /** q = Wq h, k = Wk h, v = Wv h. */
  private void qkv(int part, int parts, int member) {
    project(Projection.QUERY, a.h, a.q, part, parts, member);
    project(Projection.KEY, a.h, a.k, part, parts, member);
    project(Projection.VALUE, a.h, a.v, part, parts, member);
  }

  /** Turns a row's queries and keys by its position, and stores its keys and values. */
  private void ropeAndStore(int i) {
    int headDim = config.headDim();
    int half = headDim / 2;
    int heads = config.numHeads();
    int kvHeads = config.numKvHeads();
    for (int head = 0; head < heads; head++) {
      Kernels.rope(
          a.q, i * stride(heads * headDim) + head * headDim, headDim, a.cos, a.sin, i * half);
    }
    for (int head = 0; head < kvHeads; head++) {
      Kernels.rope(
          a.k, i * stride(kvHeads * headDim) + head * headDim, headDim, a.cos, a.sin, i * half);
    }
    Row row = batch.row(i);
    row.cache().put(l, row.position(), a.k, a.v, i * stride(kvHeads * headDim));
  }

  /** attention = softmax(q Kᵀ / √headDim) V, for each row and each KV head. */
  private void attend() {
    int total = n * config.numKvHeads();
    if (total % pool.size() == 0 || total >= 4 * pool.size()) {
      pool.run(wholeHeadsTask);
      return;
    }
    // Too few to keep all threads busy: each takes some positions, then some heads, then some
    // dimensions, so that none reads what another does.
    for (int i = 0; i < total; i++) {
      heads[0].select(i);
      pool.run(scoresTask);
      pool.run(softmaxTask);
      pool.run(mixValuesTask);
    }
  }

  private void wholeHeads(int part, int parts) {
    int total = n * config.numKvHeads();
    int to = split(total, part + 1, parts, 1);
    for (int i = split(total, part, parts, 1); i < to; i++) {
      heads[part].select(i);
      heads[part].scores(0, 1, scratch[part]);
      heads[part].softmax(0, 1);
      heads[part].mixValues(0, 1, scratch[part]);
    }
  }

  private void scores(int part, int parts) {
    heads[0].scores(part, parts, scratch[part]);
  }

  private void softmax(int part, int parts) {
    heads[0].softmax(part, parts);
  }

  private void mixValues(int part, int parts) {
    heads[0].mixValues(part, parts, scratch[part]);
  }

  /** The query heads of a row that share a KV head. */
  private final class Heads {
    private final Scratch buffers;
    private final int count = config.numHeads() / config.numKvHeads();
    private final int headDim = config.headDim();
    private KvLayout layout;
    private MemorySegment[] pages = {};
    private int length;
    private int usedPages;
    private int stride;
    private int at;
    private float[] weights = {}; // [count, stride]

    Heads(Scratch buffers) {
      this.buffers = buffers;
      this.layout = new KvLayout(KvLayout.Type.F32, KvCache.PAGE_SIZE, headDim, 0, 0);
    }

    /** Makes it those of number {@code i} of all rows' KV heads. */
    void select(int i) {
      int kvHeads = config.numKvHeads();
      Row row = batch.row(i / kvHeads);
      layout = row.cache().layout(l, i % kvHeads);
      pages = row.cache().segments();
      length = row.position() + 1;
      usedPages = (length + layout.pageSize() - 1) / layout.pageSize();
      stride = usedPages * layout.pageSize();
      at = i / kvHeads * stride(config.numHeads() * headDim) + i % kvHeads * count * headDim;
      weights = buffers.scores(count * stride);
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

  private void mlp() {
    adapters.compress(l, a.h, GATE_UP);
    pool.turns(halvings(n), gateAndUpTask);
    adapters.compress(l, a.gate, DOWN);
    pool.turns(halvings(n), downTask);
    kernels.add(a.x, a.h, 0, n * stride(config.hiddenSize()));
  }

  /** gate = gelu(Wgate h) ⊙ Wup h. */
  private void gateAndUp(int part, int parts, int member) {
    project(Projection.GATE, a.h, a.gate, part, parts, member);
    project(Projection.UP, a.h, a.up, part, parts, member);
    int intermediate = config.intermediateSize();
    int from = split(intermediate, part, parts, ALIGN);
    int to = split(intermediate, part + 1, parts, ALIGN);
    for (int i = 0; i < n; i++) {
      kernels.geglu(a.gate, a.up, i * stride(intermediate) + from, to - from);
    }
  }

  /** h = Wo attention. */
  private void output(int part, int parts, int member) {
    project(Projection.OUTPUT, a.attention, a.h, part, parts, member);
  }

  /** h = Wdown gate. */
  private void down(int part, int parts, int member) {
    project(Projection.DOWN, a.gate, a.h, part, parts, member);
  }

  /** logits = embedding · rmsNorm(x), only for the rows that ask, up to 32 in one product. */
  private void logits() {
    int hidden = config.hiddenSize();
    int vocab = config.vocabSize();
    targets.clear();
    for (int i = 0; i < n; i++) {
      float[] state = batch.row(i).hidden();
      if (state != null) {
        kernels.rmsNorm(
            a.x, i * stride(hidden), weights.finalNorm(), config.rmsNormEps(), state, 0);
      }
      float[] target = batch.row(i).logits();
      if (target != null) {
        int at = targets.size() * stride(hidden);
        kernels.rmsNorm(a.x, i * stride(hidden), weights.finalNorm(), config.rmsNormEps(), a.h, at);
        targets.add(target);
      }
      int count = targets.size();
      if (count == LOGIT_ROWS || (i == n - 1 && count > 0)) {
        logits = count == 1 ? targets.get(0) : logitRows(count * vocab);
        pool.turns(halvings(count), logitsTask);
        for (int j = 0; j < count && count > 1; j++) {
          System.arraycopy(logits, j * vocab, targets.get(j), 0, vocab);
        }
        targets.clear();
      }
    }
  }

  private void logits(int part, int parts, int member) {
    matmul(
        weights.embedding(), a.h, targets.size(), logits, config.vocabSize(), part, parts, member);
  }

  private float[] logitRows(int size) {
    if (logitRows.length < size) {
      logitRows = new float[size];
    }
    return logitRows;
  }

  /** The part's share of y = W x, and of what adapters add to it. */
  private void project(Projection p, float[] x, float[] y, int part, int parts, int member) {
    Matrix w = weights.layers().get(l).matrix(p);
    matmul(w, x, n, y, stride(w.rows()), part, parts, member);
    int from = split(w.rows(), part, parts, ALIGN);
    int to = split(w.rows(), part + 1, parts, ALIGN);
    adapters.expand(l, p, y, stride(w.rows()), from, to, member);
  }

  private void matmul(
      Matrix w, float[] x, int rows, float[] y, int yStride, int part, int parts, int member) {
    int from = split(w.rows(), part, parts, ALIGN);
    int to = split(w.rows(), part + 1, parts, ALIGN);
    if (from < to) {
      kernels.matmul(w, from, to, x, stride(w.cols()), rows, y, yStride, scratch[member]);
    }
  }

  /** Floats from one row of activations to the next. */
  public static int stride(int width) {
    return width + PAD;
  }

  /**
   * How a product of n rows is shared: one row's in ever smaller parts, so that no thread waits
   * long for another, but not many rows': each part lays up to 16 of them out anew, and with more
   * of them small parts gain nothing.
   */
  public static int halvings(int rows) {
    return rows == 1 ? HALVINGS : 0;
  }

  /** Runs a small job for each row, in the calling thread when there is only one. */
  private void rows(IntConsumer job) {
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
  public static int split(int total, int part, int parts, int align) {
    if (part == parts) {
      return total;
    }
    return Math.min(total, (int) ((long) total * part / parts + align - 1) / align * align);
  }
}
