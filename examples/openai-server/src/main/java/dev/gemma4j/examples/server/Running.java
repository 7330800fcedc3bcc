package dev.gemma4j.examples.server;

import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.Prompt;
import dev.gemma4j.TokenStream;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import org.jspecify.annotations.Nullable;

/**
 * A request, from its body to the end of its answer, made by the thread that serves it. The clock,
 * a stopping server, or one choice that fails may cancel all that it does.
 */
final class Running {
  /** How long a cancelled request may take to tell its client so. */
  static final long GRACE_MILLIS = 2000;

  private final Thread thread = Thread.currentThread();
  private final List<Runnable> cancellations = new ArrayList<>();
  private @Nullable Throwable reason;
  private boolean ended;

  /**
   * Does work that computes for long on a platform thread, which the system makes share the
   * processors with all others; a virtual one keeps its processor until it waits.
   *
   * @param work which an interrupt ends, and so what cancels the request
   */
  void apart(Runnable work) {
    FutureTask<@Nullable Void> task = new FutureTask<>(work, null);
    onCancel(() -> task.cancel(true));
    Thread.ofPlatform().daemon().start(task);
    try {
      task.get();
    } catch (InterruptedException e) { // aborted, so cancelled before
      Thread.currentThread().interrupt();
    } catch (CancellationException e) {
      // thrown below
    } catch (ExecutionException e) {
      if (e.getCause() instanceof RuntimeException failure) {
        throw failure;
      }
      throw new IllegalStateException(e.getCause());
    }
    check();
  }

  private synchronized void onCancel(Runnable cancellation) {
    cancellations.add(cancellation);
    if (reason != null) {
      cancellation.run();
    }
  }

  /** Begins a choice. */
  TokenStream start(Gemma gemma, Prompt prompt, GenerationOptions options) {
    check();
    TokenStream started = gemma.stream(prompt, options);
    onCancel(started::cancel); // at once when it was cancelled: it ends before its first token
    return started;
  }

  /**
   * Ends all that is done for it; the first reason counts.
   *
   * @param why a RuntimeException or an Error
   */
  synchronized void cancel(Throwable why) {
    if (reason == null) {
      reason = why;
      cancellations.forEach(Runnable::run);
    }
  }

  /**
   * Ends what is still there some time after it was cancelled: its thread waits for a client that
   * neither reads nor sends. An interrupt closes the connection, which ends that wait, and goes on
   * to the threads of the choices, for which this one waits.
   */
  synchronized void abort() {
    if (!ended) {
      thread.interrupt();
    }
  }

  /** The request is over: its thread is no longer to be interrupted. */
  synchronized void end() {
    ended = true;
  }

  /** Throws what it was cancelled with, if it was. */
  synchronized void check() {
    if (reason instanceof Error error) {
      throw error;
    }
    if (reason != null) {
      throw (RuntimeException) reason;
    }
  }
}
