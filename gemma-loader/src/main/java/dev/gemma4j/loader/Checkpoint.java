package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/** Stub of the agreed API; the loader branch replaces it. */
public final class Checkpoint implements AutoCloseable {
  private Checkpoint() {}

  public static Checkpoint open(Path path) throws IOException {
    throw new UnsupportedOperationException();
  }

  public GemmaConfig config() {
    throw new UnsupportedOperationException();
  }

  public Tokenizer tokenizer() {
    throw new UnsupportedOperationException();
  }

  public List<Tensor> tensors() {
    throw new UnsupportedOperationException();
  }

  public Tensor tensor(String name) {
    throw new UnsupportedOperationException();
  }

  public float[] normScale(String name) {
    throw new UnsupportedOperationException();
  }

  public List<Integer> eosIds() {
    throw new UnsupportedOperationException();
  }

  public Optional<String> chatTemplate() {
    throw new UnsupportedOperationException();
  }

  @Override
  public void close() {}
}
