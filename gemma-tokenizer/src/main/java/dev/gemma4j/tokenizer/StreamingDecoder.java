package dev.gemma4j.tokenizer;

/** Stub of the agreed API; the tokenizer branch replaces it. */
public final class StreamingDecoder {
  StreamingDecoder() {}

  public String push(int id) {
    throw new UnsupportedOperationException();
  }

  public String flush() {
    throw new UnsupportedOperationException();
  }
}
