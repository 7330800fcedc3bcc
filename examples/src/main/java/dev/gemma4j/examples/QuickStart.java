package dev.gemma4j.examples;

import dev.gemma4j.Gemma;
import dev.gemma4j.Generation;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.Prompt;
import java.io.IOException;
import java.nio.file.Path;

/** The README's example. */
public final class QuickStart {
  private QuickStart() {}

  /** Takes the path of a model. */
  public static void main(String[] args) throws IOException {
    Path path = Path.of(args[0]);
    // README begins
    try (Gemma gemma = Gemma.load(path)) {
      String story = gemma.generate("Once upon a time");
      System.out.println(story);

      GenerationOptions options =
          GenerationOptions.builder().maxTokens(40).temperature(0.7f).seed(7).stop("\n").build();
      Generation generation = gemma.generate(Prompt.of("There was a king"), options);
      System.out.println(generation.text() + " (" + generation.finishReason() + ")");
    }
    // README ends
  }
}
