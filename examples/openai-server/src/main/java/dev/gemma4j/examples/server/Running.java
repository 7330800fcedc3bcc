package dev.gemma4j.examples.server;

import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.Prompt;
import dev.gemma4j.TokenStream;
import org.jspecify.annotations.Nullable;

/** A request that is being generated, which the clock or a stopping server may cancel. */
final class Running {
  private @Nullable TokenStream stream;
  private @Nullable ApiException reason;

  /** Begins a choice. */
  synchronized TokenStream start(Gemma gemma, Prompt prompt, GenerationOptions options) {
    check();
    TokenStream started = gemma.stream(prompt, options);
    stream = started;
    return started;
  }

  synchronized void cancel(ApiException why) {
    if (reason == null) {
      reason = why;
      if (stream != null) {
        stream.cancel();
      }
    }
  }

  /** Throws what it was cancelled with, if it was. */
  synchronized void check() {
    if (reason != null) {
      throw reason;
    }
  }
}
