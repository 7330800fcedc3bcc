package dev.gemma4j.tokenizer;

import java.io.IOException;
import java.nio.file.Path;

/** Stub of the agreed API; the tokenizer branch replaces it. */
public final class Tokenizer {
  private Tokenizer() {}

  public static Tokenizer load(Path model) throws IOException {
    throw new UnsupportedOperationException();
  }

  public int[] encode(String text) {
    throw new UnsupportedOperationException();
  }

  public int[] encodeLiteral(String text) {
    throw new UnsupportedOperationException();
  }

  public String decode(int... ids) {
    throw new UnsupportedOperationException();
  }

  public StreamingDecoder newStreamingDecoder() {
    throw new UnsupportedOperationException();
  }

  public int vocabSize() {
    throw new UnsupportedOperationException();
  }

  public String piece(int id) {
    throw new UnsupportedOperationException();
  }

  public int idOf(String piece) {
    throw new UnsupportedOperationException();
  }

  public int bosId() {
    throw new UnsupportedOperationException();
  }

  public int eosId() {
    throw new UnsupportedOperationException();
  }
}
