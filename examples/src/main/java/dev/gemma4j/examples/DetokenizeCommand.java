package dev.gemma4j.examples;

import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@CommandLine.Command(name = "detokenize", description = "Show the text of token ids.")
final class DetokenizeCommand extends Command {
  @Mixin ModelOptions model = new ModelOptions();

  @Option(names = "--json", description = "Print one JSON object.")
  boolean json;

  @Option(names = "--jsonl", description = "Answer one JSON object a line: ids.")
  boolean jsonl;

  @Parameters(arity = "0..*", paramLabel = "ID", description = "Token ids.")
  @Nullable List<String> arguments;

  DetokenizeCommand(Io io) {
    super(io);
  }

  @Override
  public Integer call() throws IOException {
    checkJsonLines();
    if (!jsonl && arguments == null) {
      throw usage("expected token ids");
    }
    int[] ids = ids(arguments);
    Tokenizer tokenizer = model.tokenizer();
    if (jsonl) {
      return io.jsonLines(
          request -> {
            request.allow(Set.of("ids"));
            return Map.of("text", text(tokenizer, request.ids("ids")));
          });
    }
    if (json) {
      io.json(Map.of("text", text(tokenizer, ids)));
    } else {
      io.out().println(text(tokenizer, ids));
    }
    return 0;
  }

  /** A model may have rows beyond the pieces, which print nothing; here such an id is a mistake. */
  private static String text(Tokenizer tokenizer, int[] ids) {
    for (int id : ids) {
      if (id >= tokenizer.vocabSize()) {
        throw new IllegalArgumentException(
            "token id must be in [0, " + tokenizer.vocabSize() + "), but is " + id);
      }
    }
    return tokenizer.decode(ids);
  }
}
