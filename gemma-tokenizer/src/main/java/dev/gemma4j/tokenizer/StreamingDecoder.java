package dev.gemma4j.tokenizer;

import java.util.Arrays;

/**
 * Decodes ids one by one. The pushes and the final flush together are {@link Tokenizer#decode}'s
 * text; no push ends within a character. One thread at a time.
 */
public final class StreamingDecoder {
  private final Tokenizer tokenizer;
  private byte[] bytes = new byte[4]; // of byte pieces that make no whole character yet
  private int pending;
  private boolean spaceExpected;

  StreamingDecoder(Tokenizer tokenizer) {
    this.tokenizer = tokenizer;
    this.spaceExpected = tokenizer.dropsLeadingSpace();
  }

  /**
   * The text that an id completes; may be empty.
   *
   * @throws IllegalArgumentException when the id is negative
   */
  public String push(int id) {
    StringBuilder out = new StringBuilder();
    int value = tokenizer.byteValue(id);
    if (value >= 0) {
      if (pending == bytes.length) {
        bytes = Arrays.copyOf(bytes, 2 * pending);
      }
      bytes[pending++] = (byte) value;
      decodeBytes(false, out);
    } else {
      decodeBytes(true, out);
      spaceExpected &= out.isEmpty();
      String text = tokenizer.surface(id);
      // Of U+2581 alone: a piece may also have a space of its own.
      if (spaceExpected
          && text.startsWith(" ")
          && tokenizer.piece(id).startsWith("\u2581")
          && tokenizer.type(id) != PieceType.UNKNOWN) {
        text = text.substring(1);
        spaceExpected = tokenizer.dropsAllLeadingSpace();
      }
      out.append(text);
    }
    spaceExpected &= out.isEmpty();
    return out.toString();
  }

  /** The rest: bytes that never became a character, as U+FFFD each. */
  public String flush() {
    StringBuilder out = new StringBuilder();
    decodeBytes(true, out);
    spaceExpected &= out.isEmpty();
    return out.toString();
  }

  private void decodeBytes(boolean isFinal, StringBuilder out) {
    int used = Utf8.decode(bytes, pending, isFinal, out);
    System.arraycopy(bytes, used, bytes, 0, pending - used);
    pending -= used;
  }
}
