package dev.gemma4j;

import dev.gemma4j.model.Adapter;
import java.nio.file.Path;

/**
 * A LoRA adapter (https://arxiv.org/abs/2106.09685) for one {@link Gemma}, which {@link
 * Gemma#loadAdapter} reads: what fine-tuning added to the model's matrices. Given to a session or
 * to the options of a generation, it changes that one alone; others run beside it in the same
 * passes, with other adapters or with none. Immutable, for any number of threads and sessions.
 * There is nothing to close: it lies outside the heap until nothing refers to it.
 */
public final class LoraAdapter {
  private final Gemma gemma;
  private final Adapter adapter;
  private final Path source;

  LoraAdapter(Gemma gemma, Adapter adapter, Path source) {
    this.gemma = gemma;
    this.adapter = adapter;
    this.source = source;
  }

  Adapter of(Gemma model) {
    if (model != gemma) {
      throw new IllegalArgumentException(
          "adapter " + source + " was loaded for another Gemma; expected one loaded by this one");
    }
    return adapter;
  }

  /** Where it was read. */
  @Override
  public String toString() {
    return source.toString();
  }
}
