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
import java.util.random.RandomGenerator;
import org.jspecify.annotations.Nullable;

/**
 * A generation under way, computed as it is pulled. Close it or run it to its end; leaving a try
 * block cancels the rest. One thread pulls; {@link #cancel} may come from any other, and so may an
 * interrupt.
 */
public final class TokenStream implements Iterator<Token>, Iterable<Token>, AutoCloseable {
  /** The most guesses that one pass verifies: with the token before them one block of logits. */
  static final int MAX_DRAFT = Scheduler.SHORT - 1;

  private final Gemma gemma;
  private final Session session;
  private final boolean ownsSession;
  private final int[] prompt;
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
  private @Nullable Token next;
  private @Nullable FinishReason finishReason;
  private volatile boolean cancelled;
  private long prefillNanos;
  private long decodeNanos;
  private final long created = System.nanoTime();
  private long queuedNanos;
  private long firstTokenNanos;
  private int reused;
  private Events.@Nullable Generated generated;

  TokenStream(
      Gemma gemma,
      Session session,
      boolean ownsSession,
      int[] prompt,
      Set<Integer> ends,
      GenerationOptions options) {
    this.gemma = gemma;
    this.session = session;
    this.ownsSession = ownsSession;
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
      this.constrained = constraint == null ? null : gemma.constrain(constraint, ends);
    } catch (Throwable t) {
      release();
      throw t;
    }
    if (Recorder.isOn()) {
      generated = new Events.Generated();
      generated.begin();
    }
  }

  /** This stream itself: it can be walked once. */
  @Override
  public Iterator<Token> iterator() {
    return this;
  }

  @Override
  public boolean hasNext() {
    if (next == null && finishReason == null) {
      next = advance();
    }
    return next != null;
  }

  @Override
  public Token next() {
    Token token = hasNext() ? next : null;
    if (token == null) {
      throw new NoSuchElementException("the generation has ended: " + finishReason);
    }
    next = null;
    return token;
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
      row = nextLogits();
    } catch (CancellationException e) {
      return finish(FinishReason.CANCELLED, null);
    }
    int id = choose(row);
    if (ends.contains(id) && !options.ignoreEos()) {
      return finish(FinishReason.EOS, id);
    }
    ids.add(id);
    if (last != null) {
      logProbabilities.add(last);
    }
    if (constrained != null) {
      constrained.append(id);
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
    Events.Prefill event = Recorder.isOn() ? new Events.Prefill() : null;
    if (event != null) {
      event.begin();
    }
    Logits row = session.appendPrompt(prompt, options.maxTokens(), () -> cancelled);
    queuedNanos = session.queuedNanos();
    reused = session.reused();
    if (event != null) {
      event.tokens = prompt.length;
      event.reused = reused;
      event.queued = queuedNanos;
      event.commit();
    }
    prefillNanos += System.nanoTime() - start - queuedNanos;
    firstTokenNanos = System.nanoTime() - created;
    return row;
  }

  /** Runs a token, with guesses of what follows it if there are any. */
  private Logits decode(int id) {
    draft = guess(id);
    taken = 0;
    if (draft.length == 0) {
      return session.append(new int[] {id}, () -> cancelled);
    }
    int rows = 1 + draft.length;
    if (draftLogits.length < rows) {
      draftLogits = new float[rows][gemma.config().vocabSize()];
    }
    session.verify(ChatTemplate.concat(new int[] {id}, draft), draftLogits, () -> cancelled);
    drafted += draft.length;
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
    int[] guess = drafter.draft(historyWith(id), most);
    return guess.length > most ? Arrays.copyOf(guess, most) : guess;
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
    finishReason = reason;
    if (reason == FinishReason.CANCELLED) {
      text.setLength(emitted);
    } else if (reason != FinishReason.STOP) {
      int searchFrom = Math.max(0, text.length() - longestStop + 1);
      text.append(decoder.flush());
      if (cutAtStop(searchFrom)) {
        finishReason = FinishReason.STOP;
      }
    }
    release();
    if (Recorder.isOn()) {
      // A recording that started meanwhile shows the text without a beginning.
      Events.Generated event = generated == null ? new Events.Generated() : generated;
      event.generatedTokens = ids.size();
      event.promptTokens = prompt.length;
      event.finishReason = String.valueOf(finishReason);
      event.prefill = prefillNanos;
      event.decode = decodeNanos;
      event.commit();
    }
    if (text.length() > emitted && endId != null) {
      return emit(endId, text.length());
    }
    return null;
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
   * @throws IllegalStateException while it is under way
   */
  public Generation result() {
    FinishReason reason = finishReason;
    if (reason == null || next != null) {
      throw new IllegalStateException("the generation is still under way");
    }
    return new Generation(
        text.toString(),
        ids,
        reason,
        new Usage(
            prompt.length,
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

  private void release() {
    if (drafter != null) {
      drafter.close();
    }
    if (ids.size() > 1) {
      session.remember();
    }
    if (ownsSession) {
      session.close();
    } else {
      session.rest();
    }
  }

  /** Cancels what is left. Harmless when repeated or after the end. */
  @Override
  public void close() {
    next = null;
    if (finishReason == null) {
      finish(FinishReason.CANCELLED, null);
    }
  }
}
