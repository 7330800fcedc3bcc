package dev.gemma4j;

import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.decoding.ConstrainedText;
import dev.gemma4j.decoding.TokenTries;
import dev.gemma4j.kernel.KernelProvider;
import dev.gemma4j.kernel.Kernels;
import dev.gemma4j.kernel.KvLayout;
import dev.gemma4j.kernel.WorkerPool;
import dev.gemma4j.loader.Checkpoint;
import dev.gemma4j.loader.GemmaConfig;
import dev.gemma4j.loader.TensorType;
import dev.gemma4j.model.Adapter;
import dev.gemma4j.model.GemmaForward;
import dev.gemma4j.model.KvCache;
import dev.gemma4j.model.KvPool;
import dev.gemma4j.model.Recorder;
import dev.gemma4j.model.Scheduler;
import dev.gemma4j.model.Weights;
import dev.gemma4j.model.WeightsBuilder;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A loaded model: immutable weights, tokenizer and worker threads. Safe for any number of threads,
 * which share the passes over the weights (continuous batching): each gets the text that it would
 * get alone, but for rounding, as sums are made in another order when several rows run at once. The
 * model's files must not change while it is open, unless {@link Memory#COPIED}; a pass that finds
 * one shorter throws an {@link UncheckedIOException}. Close it last, after its sessions, streams
 * and chats; whatever still uses it then gets an {@link IllegalStateException}.
 *
 * <pre>{@code
 * try (Gemma gemma = Gemma.load(Path.of("gemma-2b-it"))) {
 *   String story = gemma.generate("Once upon a time");
 * }
 * }</pre>
 */
public final class Gemma implements AutoCloseable {
  private static final Logger log = LoggerFactory.getLogger(Gemma.class);

  private final Checkpoint checkpoint;
  private final Arena arena;
  private final WorkerPool pool;
  private final Weights weights;
  private final String merged; // the adapter in the weights, "" for none
  private final Scheduler scheduler;
  private final Kernels kernels;
  private final int contextLength;
  private final KvPool kvPool;
  private final long kvMemory;
  private final boolean limitsKvMemory;
  private final Duration kvWait;
  private final ReentrantLock turn = new ReentrantLock(true);
  private boolean closed; // guarded by turn
  private byte @Nullable [] fingerprint; // guarded by turn
  private volatile @Nullable IOException shrunk; // then no pass runs any more, whatever the file is
  private @Nullable TokenTries tries; // guarded by turn

  private Gemma(
      Checkpoint checkpoint,
      Arena arena,
      WorkerPool pool,
      Weights weights,
      @Nullable Adapter merged,
      Kernels kernels,
      int contextLength,
      LoadOptions options) {
    this.checkpoint = checkpoint;
    this.arena = arena;
    this.pool = pool;
    this.weights = weights;
    this.merged = merged == null ? "" : merged.id();
    this.kernels = kernels;
    this.contextLength = contextLength;
    KvCache.Shape shape = new KvCache.Shape(weights.config(), kvType(options.kv()));
    this.limitsKvMemory = options.kvMemory() != 0;
    this.kvMemory = limitsKvMemory ? options.kvMemory() : Runtime.getRuntime().maxMemory() / 2;
    this.kvWait = options.kvWait();
    this.kvPool = new KvPool(shape, kvMemory, options.promptReuse());
    this.scheduler = new Scheduler(new GemmaForward(weights, kernels, pool), shape);
  }

  /**
   * Loads a checkpoint with default options.
   *
   * @param path a Hugging Face directory, a .safetensors file within one, a .gguf or a .ckpt file
   * @throws IOException when it cannot be read; a {@link MalformedFileException} names file, field,
   *     found and expected
   */
  public static Gemma load(Path path) throws IOException {
    return load(path, LoadOptions.defaults());
  }

  /**
   * Loads a checkpoint.
   *
   * @throws IOException as {@link #load(Path)}
   * @throws IllegalArgumentException when the model cannot run as the options ask
   * @throws IllegalStateException when they ask for {@link KernelType#VECTOR} and the JVM lacks the
   *     module
   */
  public static Gemma load(Path path, LoadOptions options) throws IOException {
    long start = System.nanoTime();
    Events.Load event = Recorder.isOn() ? new Events.Load() : null;
    if (event != null) {
      event.begin();
    }
    options.progress().progress("open", 0, 1);
    Checkpoint checkpoint = Checkpoint.open(path);
    WorkerPool pool;
    try {
      pool = WorkerPool.start(options.threads(), "gemma");
    } catch (Throwable t) { // such as no more threads on the machine
      checkpoint.close();
      throw t;
    }
    Arena arena = Arena.ofShared();
    try {
      int limit = checkpoint.config().maxPositions();
      if (options.contextLength() > limit) {
        throw new IllegalArgumentException(
            "contextLength must be at most the model's "
                + limit
                + ", but is "
                + options.contextLength());
      }
      int contextLength = options.contextLength() == 0 ? limit : options.contextLength();
      Kernels kernels =
          switch (options.kernels()) {
            case AUTO -> KernelProvider.best();
            case VECTOR -> KernelProvider.vector();
            case SCALAR -> KernelProvider.scalar();
          };
      Path merge = options.mergedAdapter();
      Adapter merged = merge == null ? null : Adapter.read(merge, checkpoint.config());
      Weights weights =
          new WeightsBuilder(
                  checkpoint,
                  tensorType(options.weights()),
                  merged,
                  options.memory() == Memory.COPIED,
                  kernels,
                  arena,
                  pool)
              .build((done, total) -> options.progress().progress("weights", done, total));
      Gemma gemma =
          new Gemma(checkpoint, arena, pool, weights, merged, kernels, contextLength, options);
      if (options.memory() == Memory.COPIED) {
        gemma.fingerprint(); // reads the files
        checkpoint.close(); // tokenizer and settings stay
      }
      if (event != null) {
        event.path = path.toString();
        event.weights = gemma.weights();
        event.bytes = gemma.weightBytesPerToken();
        event.commit();
      }
      log.info(
          "Loaded {}: {} layers, {} weights, {} kernels, {} threads, {} ms",
          path,
          gemma.config().numLayers(),
          gemma.weights(),
          kernels.name(),
          options.threads(),
          (System.nanoTime() - start) / 1_000_000);
      return gemma;
    } catch (Throwable t) {
      pool.close();
      arena.close();
      checkpoint.close();
      throw t;
    }
  }

  static @Nullable TensorType tensorType(WeightType type) {
    return switch (type) {
      case AS_STORED -> null;
      case F32 -> TensorType.F32;
      case BF16 -> TensorType.BF16;
      case F16 -> TensorType.F16;
      case Q8_0 -> TensorType.Q8_0;
      case Q4_0 -> TensorType.Q4_0;
    };
  }

  private static KvLayout.Type kvType(KvType type) {
    return switch (type) {
      case F32 -> KvLayout.Type.F32;
      case F16 -> KvLayout.Type.F16;
      case Q8 -> KvLayout.Type.Q8;
    };
  }

  /** The model's shape. */
  public GemmaConfig config() {
    return weights.config();
  }

  /**
   * The model's tokenizer.
   *
   * @throws IllegalStateException when the checkpoint brings none; sessions, which work on ids, run
   *     without it
   */
  public Tokenizer tokenizer() {
    try {
      return checkpoint.tokenizer();
    } catch (MalformedFileException e) {
      throw new IllegalStateException(e.getMessage(), e);
    }
  }

  /** The most positions of a session. */
  public int contextLength() {
    return contextLength;
  }

  /** The threads of a forward pass. */
  public int threads() {
    return pool.size();
  }

  /** "vector" or "scalar". */
  public String kernels() {
    return kernels.name();
  }

  /** The type of the first layer's gate matrix, such as "BF16"; a file may mix types. */
  public String weights() {
    return weights.layers().get(0).gate().type().name();
  }

  /** Bytes of weights that one decode step reads. */
  public long weightBytesPerToken() {
    return weights.bytesPerStep();
  }

  /** Continues a text with default options and returns what was added. */
  public String generate(String prompt) {
    return generate(Prompt.of(prompt), GenerationOptions.defaults()).text();
  }

  /**
   * Generates to the end. Waits while other texts leave no room for its keys and values, as {@link
   * LoadOptions#kvWait} says. An interrupt ends it early, with {@link FinishReason#CANCELLED}, and
   * stays set.
   *
   * @throws ContextLengthException when the prompt does not fit
   * @throws KvMemoryException when its keys and values do not fit, or not in time
   * @throws IllegalArgumentException as {@link #stream(Prompt, GenerationOptions)}, and when the
   *     processors leave nothing to choose from
   * @throws IllegalStateException when the model is closed, also meanwhile
   */
  public Generation generate(Prompt prompt, GenerationOptions options) {
    try (TokenStream stream = stream(prompt, options)) {
      stream.forEachRemaining(token -> {});
      return stream.result();
    }
  }

  /**
   * Generates token by token, as the caller asks for them. Close it, or run it to the end. The
   * prompt is run, and may be found too long, when the first token is asked for.
   *
   * @throws IllegalArgumentException when the options' adapter is another model's, or the prompt is
   *     a chat that does not end with a user's message, or that this model has no tokens for
   * @throws IllegalStateException when the model is closed
   */
  public TokenStream stream(Prompt prompt, GenerationOptions options) {
    int[] ids = ChatTemplate.promptIds(prompt, options, tokenizer());
    Set<Integer> ends = endIds(prompt instanceof Prompt.Turns);
    Session session = newSession(options.adapter());
    return new TokenStream(this, session, TokenStream.After.CLOSE, ids, ends, options);
  }

  /**
   * Appends tokens to a session and generates what follows, token by token. The session stays the
   * caller's, who uses it again once the stream has ended or was closed: it then holds {@code ids}
   * and what was generated, but for the last token where that has not been run, as {@link
   * Session#position} tells. It does not wait for memory, as sessions do not: the first pull runs
   * {@code ids}, and throws what {@link Session#append(int...)} does.
   *
   * @param session of this model; not to be changed while the stream is under way
   * @param ids taken as they are; may be none when the session has tokens, of which the last one is
   *     then run once more for its logits
   * @param options their adapter must be the session's, or none; bos means nothing here
   * @throws IllegalArgumentException when it is not so
   */
  public TokenStream stream(Session session, int[] ids, GenerationOptions options) {
    requireOwn(session);
    LoraAdapter adapter = options.adapter();
    if (adapter != null && !session.runsWith(adapter.of(this))) {
      throw new IllegalArgumentException(
          "the options' adapter is " + adapter + ", but the session runs with another or none");
    }
    if (ids.length == 0 && session.position() == 0) {
      throw new IllegalArgumentException("no ids, and none in the session");
    }
    return new TokenStream(
        this, session, TokenStream.After.KEEP, ids.clone(), endIds(false), options);
  }

  /**
   * How probable the model finds a text after a prompt.
   *
   * @param text encoded by itself, as the continuation that the model could have generated
   * @throws ContextLengthException as {@link #score(Prompt, int[], int)}, as is all else
   */
  public Score score(Prompt prompt, String text) {
    return score(prompt, tokenizer().encode(text), 0);
  }

  /**
   * How probable the model finds tokens after a prompt. Memory does not grow with their number: no
   * more than 32 rows of logits are there at a time.
   *
   * @param prompt a text gets the beginning-of-text token in front; at least one token
   * @param alternatives how many of the most probable tokens to report for each place
   * @throws ContextLengthException when they do not fit
   * @throws KvMemoryException when their keys and values do not fit, or not in time
   * @throws CancellationException when the thread is interrupted, which stays so
   */
  public Score score(Prompt prompt, int[] ids, int alternatives) {
    return score(prompt, ids, alternatives, null);
  }

  /**
   * Like {@link #score(Prompt, int[], int)}, with an adapter.
   *
   * @param adapter null for none
   */
  public Score score(Prompt prompt, int[] ids, int alternatives, @Nullable LoraAdapter adapter) {
    int[] before =
        prompt instanceof Prompt.Ids given
            ? given.ids()
            : ChatTemplate.promptIds(prompt, GenerationOptions.defaults(), tokenizer());
    return Score.of(this, adapter, before, ids, alternatives);
  }

  /**
   * The mean of a text's hidden states, of length 1; see {@link #embed(List, Pooling, boolean)}.
   */
  public float[] embed(String text) {
    return embed(List.of(text), Pooling.MEAN, true).getFirst();
  }

  /**
   * A vector [hiddenSize] for each text: the hidden states of its tokens after the final norm, made
   * one. The beginning-of-text token goes in front of each, as in {@link Prompt#of}. Short texts
   * share a pass. Gemma is not trained to embed, so do not expect of it what embedding models do.
   *
   * @param normalize whether to make each vector's length 1, so that the dot product of two is
   *     their cosine
   * @return in the order of the texts
   * @throws IllegalArgumentException when the tokenizer has no beginning-of-text token
   * @throws ContextLengthException when one does not fit
   * @throws KvMemoryException when its keys and values do not fit, or not in time
   * @throws CancellationException when the thread is interrupted, which stays so
   */
  public List<float[]> embed(List<String> texts, Pooling pooling, boolean normalize) {
    return embed(texts, pooling, normalize, null);
  }

  /**
   * Like {@link #embed(List, Pooling, boolean)}, with an adapter.
   *
   * @param adapter null for none
   */
  public List<float[]> embed(
      List<String> texts, Pooling pooling, boolean normalize, @Nullable LoraAdapter adapter) {
    Objects.requireNonNull(pooling, "pooling");
    List<int[]> ids = new ArrayList<>();
    for (String text : texts) {
      ids.add(ChatTemplate.withBos(tokenizer().encode(text), tokenizer()));
    }
    return embedIds(ids, pooling, normalize, adapter);
  }

  List<float[]> embedIds(
      List<int[]> texts, Pooling pooling, boolean normalize, @Nullable LoraAdapter adapter) {
    try (Embedder embedder = new Embedder(this, adapter, pooling, normalize)) {
      return embedder.embed(texts);
    }
  }

  /** Where a text under a constraint begins. */
  ConstrainedText constrain(Constraint constraint, Set<Integer> ends, BooleanSupplier cancelled) {
    TokenTries found;
    turn.lock();
    try {
      if (tries == null) {
        tries = new TokenTries(tokenizer());
      }
      found = tries;
    } finally {
      turn.unlock();
    }
    return new ConstrainedText(constraint, found, ends, cancelled);
  }

  /** The tokens that end a text; a chat's answer ends with its turn, too. */
  Set<Integer> endIds(boolean chat) {
    Set<Integer> ends = new HashSet<>(checkpoint.eosIds());
    if (chat) {
      ends.add(ChatTemplate.endOfTurn(tokenizer()));
    }
    return ends;
  }

  /** Starts a chat with default options; {@link #chat(String, GenerationOptions)} says more. */
  public Chat chat() {
    return new Chat(this, "", GenerationOptions.defaults());
  }

  /** Starts a chat whose first user turn begins with a system text, with default options. */
  public Chat chat(String system) {
    return new Chat(this, system, GenerationOptions.defaults());
  }

  /**
   * Starts a chat with options that serve every answer; close it.
   *
   * @param system goes in front of the first user turn; may be empty
   * @throws IllegalArgumentException when the vocabulary has no tokens for turns, or the options'
   *     adapter is another model's
   * @throws IllegalStateException when the model is closed
   */
  public Chat chat(String system, GenerationOptions options) {
    return new Chat(this, system, options);
  }

  /**
   * Reads a LoRA adapter that Hugging Face's PEFT saved, for sessions and generations of this
   * model. {@link LoadOptions#withMergedAdapter} puts one into the weights instead, for all of
   * them.
   *
   * @param directory of adapter_config.json and adapter_model.safetensors (F32, F16 or BF16); not
   *     needed afterwards
   * @throws IOException when it cannot be read; a {@link MalformedFileException} when it does not
   *     fit the model, or is more than plain LoRA or rsLoRA of the attention and MLP matrices
   * @throws IllegalStateException when the model is closed
   */
  public LoraAdapter loadAdapter(Path directory) throws IOException {
    turn.lock();
    try {
      requireOpen();
    } finally {
      turn.unlock();
    }
    return new LoraAdapter(this, Adapter.read(directory, config()), directory);
  }

  /**
   * An empty sequence for a custom decoding loop; close it.
   *
   * @throws IllegalStateException when the model is closed
   */
  public Session newSession() {
    return newSession(null);
  }

  /**
   * An empty sequence that runs with an adapter; close it.
   *
   * @param adapter of this model; null for none
   * @throws IllegalArgumentException when it is another model's
   * @throws IllegalStateException when the model is closed
   */
  public Session newSession(@Nullable LoraAdapter adapter) {
    Adapter own = adapter == null ? null : adapter.of(this);
    turn.lock();
    try {
      requireOpen();
    } finally {
      turn.unlock();
    }
    return new Session(this, new KvCache(kvPool, own), new int[16], 0);
  }

  /**
   * Reads a session that {@link Session#save} wrote.
   *
   * @throws MalformedFileException when the file is no saved session, is damaged, or comes from
   *     another model or from a session with an adapter
   * @throws IOException when it cannot be read, or a file of the model has become shorter
   * @throws KvMemoryException when it does not fit
   */
  public Session restore(Path path) throws IOException {
    return restore(path, null);
  }

  /**
   * Reads a session with an adapter that {@link Session#save} wrote.
   *
   * @param adapter of the same content as the saved one's; null for none
   * @throws MalformedFileException as {@link #restore(Path)}, and when the adapter is another
   */
  public Session restore(Path path, @Nullable LoraAdapter adapter) throws IOException {
    Session session = newSession(adapter);
    try {
      SessionFile.read(path, session.fingerprint(), contextLength, config(), session::restore);
      return session;
    } catch (Throwable t) {
      session.close();
      throw t;
    }
  }

  byte[] fingerprint() throws IOException {
    turn.lock();
    try {
      requireOpen();
      byte[] known = fingerprint;
      if (known == null) {
        try {
          known = SessionFile.fingerprint(checkpoint, weights(), merged);
        } catch (InternalError e) {
          checkpoint.checkFiles();
          throw e;
        }
        checkpoint.checkFiles(); // a page that is half gone reads as zeros
        fingerprint = known;
      }
      return known;
    } finally {
      turn.unlock();
    }
  }

  /**
   * Appends one token to each of several sessions in a single pass over the weights, which costs
   * little more than one of them alone.
   *
   * @param sessions of this model, all different
   * @param ids one for each
   * @return the logits of each, in order, valid until the session changes
   * @throws IllegalArgumentException when it is not so
   * @throws ContextLengthException as {@link Session#append(int...)}; all sessions are unchanged
   * @throws KvMemoryException as {@link Session#append(int...)}
   * @throws IllegalStateException as {@link Session#append(int...)}
   * @throws CancellationException as {@link Session#append(int...)}
   */
  public List<Logits> decode(List<Session> sessions, int... ids) {
    ids = ids.clone(); // lest they change after the check: others share the pass
    if (sessions.size() != ids.length
        || ids.length == 0
        || ids.length > GemmaForward.MAX_ROWS
        || new HashSet<>(sessions).size() != ids.length) {
      throw new IllegalArgumentException(
          sessions.size()
              + " sessions for "
              + ids.length
              + " tokens; expected 1 to "
              + GemmaForward.MAX_ROWS
              + " different sessions and one token each");
    }
    sessions.forEach(this::requireOwn);
    List<Session> entered = new ArrayList<>();
    try {
      List<Scheduler.Request> requests = new ArrayList<>();
      for (Session session : sessions) {
        session.enter();
        entered.add(session);
        session.check(ids[requests.size()]);
        float[] target = session.logitsBuffer();
        int at = requests.size();
        requests.add(session.request(ids, at, at + 1, i -> target, () -> false));
      }
      run(requests);
      List<Logits> logits = new ArrayList<>();
      for (Session session : sessions) {
        session.advance(1);
        logits.add(Logits.of(session.logitsBuffer()));
      }
      return logits;
    } finally {
      entered.forEach(Session::leave);
    }
  }

  private void requireOwn(Session session) {
    if (!session.isOf(this)) {
      throw new IllegalArgumentException("a session is of another model");
    }
  }

  long kvMemory() {
    return kvMemory;
  }

  /** Whether the options say how much that is. */
  boolean limitsKvMemory() {
    return limitsKvMemory;
  }

  Duration kvWait() {
    return kvWait;
  }

  /** Ends the waits for memory of texts that were cancelled. */
  void wakeUp() {
    kvPool.wakeUp();
  }

  Scheduler scheduler() {
    return scheduler;
  }

  void run(List<Scheduler.Request> requests) {
    try {
      scheduler.run(requests);
    } catch (CancellationException e) {
      throw e;
    } catch (InternalError | IllegalStateException e) { // the latter when a worker failed or closed
      checkFiles();
      throw e;
    }
  }

  private void checkFiles() {
    turn.lock(); // so that nobody closes the files meanwhile
    try {
      if (!closed && checkpoint.isOpen() && shrunk == null) {
        checkpoint.checkFiles();
      }
    } catch (IOException e) {
      shrunk = e;
    } finally {
      turn.unlock();
    }
    if (shrunk != null) {
      throw new UncheckedIOException(shrunk);
    }
  }

  boolean isClosed() {
    turn.lock();
    try {
      return closed;
    } finally {
      turn.unlock();
    }
  }

  private void requireOpen() {
    if (closed) {
      throw new IllegalStateException("model is closed");
    }
  }

  /**
   * Ends what runs after the layer under way, ends the threads and unmaps the weights. Harmless
   * when repeated.
   */
  @Override
  public void close() {
    turn.lock();
    try {
      if (!closed) {
        closed = true;
        scheduler.close();
        kvPool.close();
        pool.close();
        arena.close();
        checkpoint.close();
      }
    } finally {
      turn.unlock();
    }
  }
}
