package dev.gemma4j.examples;

import dev.gemma4j.Gemma;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.Session;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.tokenizer.StreamingDecoder;
import java.io.IOException;
import java.util.stream.IntStream;

/** A decoding loop of one's own: two endings of one beginning, which is computed once. */
public final class DecodingLoop {
  private DecodingLoop() {}

  /** Tells a story with two endings. */
  public static void main(String[] args) throws IOException {
    try (Gemma gemma = DemoModel.load(LoadOptions.defaults());
        Session session = gemma.newSession()) {
      session.append(
          IntStream.concat(
                  IntStream.of(gemma.tokenizer().bosId()),
                  IntStream.of(gemma.tokenizer().encode("The old woman opened the door and")))
              .toArray());
      for (String turn : new String[] {" saw a wolf", " saw a prince"}) {
        try (Session ending = session.fork()) {
          System.out.println(turn.strip() + greedy(gemma, ending, turn, 40));
        }
      }
    }
  }

  private static String greedy(Gemma gemma, Session session, String turn, int count) {
    StringBuilder text = new StringBuilder();
    StreamingDecoder decoder = gemma.tokenizer().newStreamingDecoder();
    Logits logits = session.append(gemma.tokenizer().encode(turn));
    for (int i = 0; i < count; i++) {
      int id = logits.argmax();
      if (id == gemma.tokenizer().eosId()) {
        break;
      }
      text.append(decoder.push(id));
      logits = session.append(id);
    }
    return text.append(decoder.flush()).toString();
  }
}
