package dev.gemma4j.examples;

import dev.gemma4j.Gemma;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Pooling;
import java.io.IOException;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@CommandLine.Command(
    name = "embed",
    description = "Print the vector of a text as JSON: its pooled hidden states.")
final class EmbedCommand extends Command {
  @Mixin ModelOptions model = new ModelOptions();

  @Option(
      names = "--pooling",
      paramLabel = "HOW",
      description = "mean of all tokens (default) or last, the last one's.")
  String pooling = "mean";

  @Option(names = "--raw", description = "Do not make the vector's length 1.")
  boolean raw;

  @Option(names = "--json", description = "As without it.")
  boolean json;

  @Option(names = "--jsonl", description = "Answer one JSON object a line: text.")
  boolean jsonl;

  @Parameters(
      arity = "0..1",
      paramLabel = "TEXT",
      description = "The text; without it, standard input.")
  @Nullable String text;

  EmbedCommand(Io io) {
    super(io);
  }

  @Override
  public Integer call() throws IOException {
    checkJsonLines();
    Pooling how =
        switch (pooling.toLowerCase(Locale.ROOT)) {
          case "mean" -> Pooling.MEAN;
          case "last" -> Pooling.LAST;
          default -> throw usage("--pooling: found " + pooling + ", expected mean or last");
        };
    String whole = jsonl ? "" : argumentOrInput(text);
    try (Gemma gemma = model.load()) {
      LoraAdapter adapter = model.adapter(gemma);
      if (jsonl) {
        return io.jsonLines(
            request -> {
              request.allow(Set.of("text"));
              return embed(gemma, adapter, request.text("text"), how);
            });
      }
      io.json(embed(gemma, adapter, whole, how));
      return 0;
    }
  }

  private Map<String, Object> embed(
      Gemma gemma, @Nullable LoraAdapter adapter, String text, Pooling how) {
    return Map.of("embedding", gemma.embed(List.of(text), how, !raw, adapter).getFirst());
  }
}
