package dev.gemma4j.examples;

import dev.gemma4j.Gemma;
import dev.gemma4j.Generation;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.Prompt;
import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.constraint.Constraints;
import java.io.IOException;

/** Text of a form that a program can read. */
public final class StructuredOutput {
  private StructuredOutput() {}

  /** Lets the model describe somebody, in JSON. */
  public static void main(String[] args) throws IOException {
    try (Gemma gemma = DemoModel.load(LoadOptions.defaults())) {
      // README begins
      Constraint person =
          Constraints.jsonSchema(
              """
              {"type": "object", "required": ["name", "good"], "properties": {
                "name": {"type": "string", "maxLength": 20}, "good": {"type": "boolean"}}}
              """);
      GenerationOptions options = GenerationOptions.builder().constraint(person).build();
      Generation generation = gemma.generate(Prompt.of("Who was she?"), options);
      System.out.println(generation.text() + " (" + generation.finishReason() + ")");
      // README ends
    }
  }
}
