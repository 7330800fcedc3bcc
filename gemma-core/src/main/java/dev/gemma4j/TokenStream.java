package dev.gemma4j;

import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.decoding.ConstrainedText;
import dev.gemma4j.model.Recorder;
import dev.gemma4j.model.Scheduler;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.sampling.LogitsProcessor;
import dev.gemma4j.sampling.Sampler;
import dev.gemma4j.sampling.TokenHistory;
import dev.gemma4j.tokenizer.StreamingDecoder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.CancellationException;
import java.util.concurrent.atomic.AtomicReference;
import java.util.random.RandomGenerator;
import org.jspecify.annotations.Nullable;

/**
 * A generation under way, computed as it is pulled. Close it or run it to its end; leaving a try
 * block cancels the rest. One thread pulls; {@link #cancel} and {@link #close} may come from any
 * other, and so may an interrupt.
 *
 * <p>After a {@link KvMemoryException} the next pull tries again and goes on with the same text;
 * until then, or until it is closed, the stream holds the memory that it had. Any other exception
 * out of a pull ends the stream and frees its memory.
 */
public final class TokenStream implements Iterator<Token>, Iterable<Token>, AutoCloseable {
  /** The most guesses that one pass verifies: with the token before them one block of logits. */
  static final int MAX_DRAFT = Scheduler.SHORT - 1;

  private final Gemma gemma;
  private final Session session;
  private final After after;
  private final Before before;
  private final int[] prompt; // what is left of it
  private final Set<Integer> ends;
  private final GenerationOptions options;
  private final RandomGenerator random;
  private final StreamingDecoder decoder;
  private final int longestStop;
  private final @Nullable ConstrainedText constrained;
  private final List<LogitsProcessor> processors;
  private final Sampler sampler;
  private final Speculation.@Nullable Drafter drafter;
  private int[] draft = {}; // the guesses of the last pass
  private int taken; // of them, as the text went
  private float[][] draftLogits = {}; // [1 + draft.length][vocabSize], after the token before them
  private int drafted;
  private int accepted;
  private final List<TokenLogProbabilities> logProbabilities = new ArrayList<>();
  private @Nullable TokenLogProbabilities last; // of the token that is being made
  private final List<Integer> ids = new ArrayList<>();
  private final StringBuilder text = new StringBuilder();
  private int emitted; // characters of text already handed out
  private @Nullable Token next; // of the thread that pulls, nobody else's
  private @Nullable FinishReason finishReason; // null until it has ended, and when it has failed
  private @Nullable Throwable failure; // of the last pull
  private boolean mayTryAgain; // after it
  private volatile boolean ended; // the last to be set: all is free, and nothing changes any more
  private volatile boolean cancelled;
  private volatile boolean closed; // to be ended by who is inside, if somebody is
  private volatile boolean sessionToo; // is to be closed after it, and has not been yet
  private final AtomicReference<@Nullable Thread> inside = new AtomicReference<>();
  private long prefillNanos;
  private long decodeNanos;
  private final long created = System.nanoTime();
  private long queuedNanos;
  private long firstTokenNanos;
  private int reused;
  private Events.@Nullable Generated generated;

  /** What becomes of the session. */
  enum After {
    /** It is the stream's own. */
    CLOSE,
    /** A chat's: others may have its memory until the next turn. */
    REST,
    /** The caller's: it waits for no memory, holds what it has, and leaves nothing to others. */
    KEEP
  }

  /** What was done for the text before its stream began: a beginning of the prompt was run. */
  record Before(int tokens, long queuedNanos, long prefillNanos) {
    static final Before NOTHING = new Before(0, 0, 0);
  }

  TokenStream(
      Gemma gemma,
      Session session,
      After after,
      int[] prompt,
      Set<Integer> ends,
      GenerationOptions options) {
    this(gemma, session, after, Before.NOTHING, prompt, ends, options);
  }

  TokenStream(
      Gemma gemma,
      Session session,
      After after,
      Before before,
      int[] prompt,
      Set<Integer> ends,
      GenerationOptions options) {
    this.gemma = gemma;
    this.session = session;
    this.after = after;
    this.before = before;
    this.prefillNanos = before.prefillNanos();
    this.queuedNanos = before.queuedNanos();
    this.prompt = prompt;
    this.ends = ends;
    this.options = options;
    Long seed = options.seed();
    this.random = seed == null ? new SplittableRandom() : new SplittableRandom(seed);
    this.decoder = gemma.tokenizer().newStreamingDecoder();
    this.longestStop = options.stop().stream().mapToInt(String::length).max().orElse(0);
    Speculation speculation = options.speculation();
    Constraint constraint = options.constraint();
    // Any of these may fail, as a draft model that is closed does; the session must not stay open.
    try {
      this.processors = options.processors().stream().map(LogitsProcessor::newText).toList();
      this.sampler = options.sampler().newText();
      this.drafter = speculation == null ? null : speculation.newText(gemma);
      if (drafter instanceof ModelDrafter guesses) {
        guesses.cancelledBy(() -> cancelled);
      }
      this.constrained =
          constraint == null ? null : gemma.constrain(constraint, ends, () -> cancelled);
    } catch (Throwable t) {
      release();
      throw t;
    }
    generated = Events.generated();
  }

  /** This stream itself: it can be walked once. */
  @Override
  public Iterator<Token> iterator() {
    return this;
  }

  /**
   * Computes the next token, if there is one.
   *
   * @throws ContextLengthException when the prompt does not fit
   * @throws KvMemoryException when there is no room for keys and values; may be tried again
   * @throws IllegalStateException when the stream has failed before, of which it names the cause;
   *     when the model is closed, or another thread pulls
   */
  @Override
  public boolean hasNext() {
    if (closed || !enter()) {
      return false;
    }
    try {
      if (ended && finishReason == null) {
        throw failed();
      }
      if (next == null && !ended) {
        next = pull();
      }
      return next != null;
    } finally {
      leave();
    }
  }

  /**
   * The next token.
   *
   * @throws NoSuchElementException when there is none
   * @throws IllegalStateException as {@link #hasNext}, as is all else
   */
  @Override
  public Token next() {
    Token token = next; // if there, it may be had though somebody closed the stream meanwhile
    if (token == null) {
      token = hasNext() ? next : null;
    }
    if (token == null) {
      throw new NoSuchElementException("the generation has ended: " + finishReason);
    }
    next = null;
    return token;
  }

  /** Whether it may be pulled: not while somebody closes it. */
  private boolean enter() {
    Thread me = Thread.currentThread();
    boolean entered = inside.compareAndSet(null, me);
    if (!entered && !closed) {
      throw new IllegalStateException(
          inside.get() == me
              ? "stream is pulled by what it calls itself"
              : "stream is pulled by two threads at once");
    }
    return entered;
  }

  private void leave() {
    inside.set(null);
    if (closed && (!ended || sessionToo)) { // by somebody who found this thread inside
      close();
    }
  }

  private IllegalStateException failed() {
    return new IllegalStateException("the generation has failed: " + failure, failure);
  }

  private @Nullable Token pull() {
    failure = null;
    mayTryAgain = false;
    try {
      return advance();
    } catch (Throwable t) {
      failure = t;
      if (!mayTryAgain && !ended) {
        fail(t);
      }
      throw t;
    }
  }

  private void fail(Throwable cause) {
    text.setLength(emitted);
    try {
      end(null);
    } catch (Throwable t) { // of a drafter
      cause.addSuppressed(t);
    }
  }

  private @Nullable Token advance() {
    if (cancelled || Thread.currentThread().isInterrupted()) {
      return finish(FinishReason.CANCELLED, null);
    }
    if (ids.size() >= options.maxTokens()) {
      return finish(FinishReason.LENGTH, null);
    }
    Logits row;
    try {
      if (constrained != null) {
        constrained.prepare();
      }
      row = nextLogits();
    } catch (CancellationException e) {
      return finish(FinishReason.CANCELLED, null);
    } catch (KvMemoryException e) {
      mayTryAgain = true; // nothing has changed; elsewhere, as in a sampler, something has
      throw e;
    }
    int id = choose(row);
    if (ends.contains(id) && !options.ignoreEos()) {
      return finish(FinishReason.EOS, id);
    }
    if (constrained != null) {
      try {
        constrained.append(id);
      } catch (CancellationException e) {
        return finish(FinishReason.CANCELLED, null);
      }
    }
    ids.add(id);
    if (last != null) {
      logProbabilities.add(last);
    }
    int searchFrom = Math.max(0, text.length() - longestStop + 1);
    text.append(decoder.push(id));
    if (cutAtStop(searchFrom)) {
      finish(FinishReason.STOP, null);
      return emit(id, text.length());
    }
    if (constrained != null && constrained.isComplete()) {
      finish(FinishReason.EOS, null); // nothing but the end could follow
      return emit(id, text.length());
    }
    if (ids.size() == options.maxTokens() || session.position() >= gemma.contextLength()) {
      finish(FinishReason.LENGTH, null);
      return emit(id, text.length());
    }
    return emit(id, text.length() - heldBack());
  }

  private int choose(Logits row) {
    float[] logs = options.logProbabilities() < 0 ? null : row.logSoftmax();
    // Before the processors, so that what they look at is possible, and after them, as the last
    // word.
    if (constrained != null) {
      constrained.restrict(row);
    }
    for (LogitsProcessor processor : processors) {
      processor.process(row, session.history());
    }
    if (constrained != null && !processors.isEmpty()) {
      constrained.restrict(row);
    }
    int id = sampler.sample(row, random);
    if (id < 0 || id >= row.size()) {
      throw new IllegalStateException(
          "the sampler returned " + id + ", expected an id in [0, " + row.size() + ")");
    }
    if (constrained != null && !constrained.allows(id)) {
      throw new IllegalStateException(
          "token " + id + " was chosen, which the constraint forbids; the options contradict it");
    }
    last = logs == null ? null : TokenLogProbabilities.of(logs, id, options.logProbabilities());
    return id;
  }

  /** The logits after the prompt or the last token. */
  private Logits nextLogits() {
    long start = System.nanoTime();
    Logits row;
    if (ids.isEmpty()) {
      row = runPrompt(start);
    } else if (taken < draft.length && draft[taken] == ids.getLast()) {
      session.advance(1);
      taken++;
      accepted++;
      row = Logits.of(draftLogits[taken]);
    } else {
      row = decode(ids.getLast());
      decodeNanos += System.nanoTime() - start;
    }
    return row;
  }

  private Logits runPrompt(long start) {
    Events.Prefill event = before == Before.NOTHING ? Events.prefill() : null; // else there is one
    Logits row;
    if (after != After.KEEP) {
      row = session.appendPrompt(prompt, options.maxTokens(), () -> cancelled);
    } else if (prompt.length > 0) {
      row = session.append(prompt, () -> cancelled);
    } else {
      row = session.last(() -> cancelled);
    }
    long queued = session.queuedNanos();
    reused = session.reused();
    if (event != null) {
      event.end(prompt.length, reused, queued);
    }
    long now = System.nanoTime();
    queuedNanos += queued;
    prefillNanos += now - start - queued;
    firstTokenNanos = before.queuedNanos() + before.prefillNanos() + now - created;
    return row;
  }

  /** Runs a token, with guesses of what follows it if there are any. */
  private Logits decode(int id) {
    int[] guess = guess(id);
    if (guess.length > 0) {
      try {
        return verify(id, guess);
      } catch (KvMemoryException e) {
        // the token alone may fit
      }
    }
    Logits row = session.append(new int[] {id}, () -> cancelled);
    draft = new int[0];
    taken = 0;
    return row;
  }

  private Logits verify(int id, int[] guess) {
    int rows = 1 + guess.length;
    if (draftLogits.length < rows) {
      draftLogits = new float[rows][gemma.config().vocabSize()];
    }
    session.verify(ChatTemplate.concat(new int[] {id}, guess), draftLogits, () -> cancelled);
    draft = guess;
    taken = 0;
    drafted += guess.length;
    return Logits.of(draftLogits[0]);
  }

  private int[] guess(int id) {
    // The last token that may be generated is never run.
    int room =
        Math.min(gemma.contextLength() - session.position(), options.maxTokens() - ids.size());
    int most = Math.min(MAX_DRAFT, room - 1);
    if (drafter == null || most < 1) {
      return new int[0];
    }
    int[] drafted = drafter.draft(historyWith(id), most);
    int[] guess = Arrays.copyOf(drafted, Math.min(most, drafted.length)); // not the drafter's own
    int vocabSize = gemma.config().vocabSize();
    for (int each : guess) {
      if (each < 0 || each >= vocabSize) {
        throw new IllegalArgumentException(
            "the drafter guessed " + each + ", expected ids in [0, " + vocabSize + ")");
      }
    }
    return guess;
  }

  /** The session's tokens and the one that it has not run yet. */
  private TokenHistory historyWith(int id) {
    TokenHistory before = session.history();
    int size = before.size();
    return new TokenHistory() {
      @Override
      public int size() {
        return size + 1;
      }

      @Override
      public int get(int index) {
        return index == size ? id : before.get(index);
      }
    };
  }

  private Token emit(int id, int end) {
    end = Math.max(end, emitted);
    String piece = text.substring(emitted, end);
    emitted = end;
    return new Token(id, piece, last);
  }

  /**
   * Ends the generation; text that was held back still comes, with the token that ended it. Where
   * no token comes any more, it is left out.
   */
  private @Nullable Token finish(FinishReason reason, @Nullable Integer endId) {
    FinishReason ending = reason;
    if (reason == FinishReason.CANCELLED) {
      text.setLength(emitted);
    } else if (reason != FinishReason.STOP) {
      int searchFrom = Math.max(0, text.length() - longestStop + 1);
      text.append(decoder.flush());
      if (cutAtStop(searchFrom)) {
        ending = FinishReason.STOP;
      }
    }
    end(ending);
    if (text.length() > emitted && endId != null) {
      return emit(endId, text.length());
    }
    return null;
  }

  /** Frees and records; null when it has failed. */
  private void end(@Nullable FinishReason reason) {
    finishReason = reason;
    try {
      release();
    } finally {
      record();
      ended = true;
    }
  }

  private void record() {
    if (Recorder.isOn()) {
      // A recording that started meanwhile shows the text without a beginning.
      Events.Generated event = generated == null ? new Events.Generated() : generated;
      event.generatedTokens = ids.size();
      event.promptTokens = before.tokens() + prompt.length;
      event.finishReason = failure == null ? String.valueOf(finishReason) : "ERROR";
      event.prefill = prefillNanos;
      event.decode = decodeNanos;
      event.commit();
    }
  }

  private boolean cutAtStop(int from) {
    int first = -1;
    for (String stop : options.stop()) {
      int at = text.indexOf(stop, from);
      first = at >= 0 && (first < 0 || at < first) ? at : first;
    }
    if (first >= 0) {
      text.setLength(first);
    }
    return first >= 0;
  }

  /** How much of the text's end may be the beginning of a stop string. */
  private int heldBack() {
    int most = Math.min(text.length() - emitted, longestStop - 1);
    for (int n = most; n > 0; n--) {
      String tail = text.substring(text.length() - n);
      for (String stop : options.stop()) {
        if (stop.startsWith(tail)) {
          return n;
        }
      }
    }
    return 0;
  }

  /**
   * Ends the generation as soon as the layer that is being computed is done, or at once when it
   * waits for memory. Any thread may call.
   */
  public void cancel() {
    cancelled = true;
    gemma.wakeUp();
  }

  /**
   * The result, once the stream has ended or was closed.
   *
   * @throws IllegalStateException while it is under way, which after a {@link #close} from another
   *     thread it may still be; or when it has failed, of which it names the cause
   */
  public Generation result() {
    if (!ended || next != null && !closed) {
      throw new IllegalStateException("the generation is still under way");
    }
    FinishReason reason = finishReason;
    if (reason == null) {
      throw failed();
    }
    return new Generation(
        text.toString(),
        ids,
        reason,
        new Usage(
            before.tokens() + prompt.length,
            ids.size(),
            Duration.ofNanos(prefillNanos),
            Duration.ofNanos(decodeNanos),
            drafted,
            accepted,
            reused,
            Duration.ofNanos(queuedNanos),
            Duration.ofNanos(firstTokenNanos)),
        logProbabilities);
  }

  /** Whether it has come to its end, by failure or otherwise; from any thread. */
  boolean hasEnded() {
    return ended;
  }

  /** The text of a stream that has ended, by failure or otherwise. */
  String text() {
    return text.toString();
  }

  /** The tokens of a stream that has ended, by failure or otherwise. */
  List<Integer> tokens() {
    return ids;
  }

  private void release() {
    draftLogits = new float[0][]; // a chat keeps its last stream
    try {
      if (drafter != null) {
        drafter.close();
      }
    } finally {
      try {
        if (ids.size() > 1 && after != After.KEEP) {
          session.remember();
        }
      } finally {
        switch (after) {
          case CLOSE -> session.close();
          case REST -> session.rest();
          case KEEP -> session.pause();
        }
      }
    }
  }

  /**
   * Cancels what is left and frees the memory; while another thread is computing a token, that one
   * does so, after the layer under way. Harmless when repeated or after the end.
   */
  @Override
  public void close() {
    closed = true;
    if (inside.compareAndSet(null, Thread.currentThread())) {
      try {
        if (!ended) {
          finish(FinishReason.CANCELLED, null);
        }
      } finally {
        try {
          if (sessionToo) {
            sessionToo = false;
            session.close();
          }
        } finally {
          leave();
        }
      }
    } else {
      cancel();
    }
  }

  /** As {@link #close}, and closes the session, whoever ends the stream and however that goes. */
  void closeWithSession() {
    sessionToo = true;
    close();
  }
}
