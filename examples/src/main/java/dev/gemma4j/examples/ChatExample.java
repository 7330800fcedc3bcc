package dev.gemma4j.examples;

import dev.gemma4j.Chat;
import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.TokenStream;
import java.io.IOException;
import java.nio.file.Path;

/** A conversation: turns and their cache are kept, so each message costs only its own tokens. */
public final class ChatExample {
  private ChatExample() {}

  /** Takes the path of an instruction-tuned model; the demo model, used without, only babbles. */
  public static void main(String[] args) throws IOException {
    GenerationOptions options =
        GenerationOptions.builder().maxTokens(40).temperature(0.7f).seed(1).build();
    try (Gemma gemma =
            args.length == 0
                ? DemoModel.load(LoadOptions.defaults())
                : Gemma.load(Path.of(args[0]));
        Chat chat = gemma.chat("You are terse.", options)) {
      for (String message : new String[] {"Who lives in the forest?", "And why?"}) {
        System.out.println("> " + message);
        try (TokenStream answer = chat.stream(message)) {
          answer.forEachRemaining(token -> System.out.print(token.text()));
        }
        System.out.println();
      }
    }
  }
}
