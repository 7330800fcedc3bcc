package dev.gemma4j.examples.server;

import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.Prompt;
import dev.gemma4j.TokenStream;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A request, from its body to the end of its answer, made by the thread that serves it. The clock,
 * a stopping server, or one choice that fails may cancel all its choices.
 */
final class Running {
  /** How long a cancelled request may take to tell its client so. */
  static final long GRACE_MILLIS = 2000;

  private final Thread thread = Thread.currentThread();
  private final List<TokenStream> streams = new ArrayList<>();
  private @Nullable Throwable reason;
  private boolean ended;

  /** Begins a choice. */
  TokenStream start(Gemma gemma, Prompt prompt, GenerationOptions options) {
    check();
    TokenStream started = gemma.stream(prompt, options);
    synchronized (this) {
      streams.add(started);
      if (reason != null) {
        started.cancel(); // it ends before its first token
      }
    }
    return started;
  }

  /**
   * Ends all choices; the first reason counts.
   *
   * @param why a RuntimeException or an Error
   */
  synchronized void cancel(Throwable why) {
    if (reason == null) {
      reason = why;
      streams.forEach(TokenStream::cancel);
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
