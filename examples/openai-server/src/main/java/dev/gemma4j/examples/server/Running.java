package dev.gemma4j.examples.server;

import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.Prompt;
import dev.gemma4j.TokenStream;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A request whose choices are being generated. The clock, a stopping server, or one choice that
 * fails may cancel all of them.
 */
final class Running {
  private final List<TokenStream> streams = new ArrayList<>();
  private @Nullable RuntimeException reason;

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

  /** Ends all choices; the first reason counts. */
  synchronized void cancel(RuntimeException why) {
    if (reason == null) {
      reason = why;
      streams.forEach(TokenStream::cancel);
    }
  }

  /** Throws what it was cancelled with, if it was. */
  synchronized void check() {
    if (reason != null) {
      throw reason;
    }
  }
}
