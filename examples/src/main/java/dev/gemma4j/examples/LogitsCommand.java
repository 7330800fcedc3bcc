package dev.gemma4j.examples;

import dev.gemma4j.Gemma;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Session;
import dev.gemma4j.sampling.Logits;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@CommandLine.Command(name = "logits", description = "Show the scores of the token after some ids.")
final class LogitsCommand extends Command {
  private static final int SHOWN = 10;

  @Mixin ModelOptions model = new ModelOptions();

  @Option(names = "--all", description = "A row for each position, not just the last.")
  boolean all;

  @Option(names = "--json", description = "Print one JSON object.")
  boolean json;

  @Option(names = "--jsonl", description = "Answer one JSON object a line: ids, all.")
  boolean jsonl;

  @Parameters(arity = "0..*", paramLabel = "ID", description = "Token ids.")
  @Nullable List<String> arguments;

  LogitsCommand(Io io) {
    super(io);
  }

  @Override
  public Integer call() throws IOException {
    checkJsonLines();
    int[] ids = ids(arguments);
    if (!jsonl && ids.length == 0) {
      throw usage("expected token ids");
    }
    try (Gemma gemma = model.load()) {
      LoraAdapter adapter = model.adapter(gemma);
      if (jsonl) {
        return io.jsonLines(
            request -> {
              request.allow(Set.of("ids", "all"));
              return json(gemma, adapter, request.ids("ids"), request.flag("all", all));
            });
      }
      if (json) {
        io.json(json(gemma, adapter, ids, all));
      } else {
        print(gemma, adapter, ids);
      }
      return 0;
    }
  }

  private static Map<String, Object> json(
      Gemma gemma, @Nullable LoraAdapter adapter, int[] ids, boolean all) {
    try (Session session = gemma.newSession(adapter)) {
      if (!all) {
        return Map.of("logits", session.append(ids).toArray());
      }
      List<float[]> rows = new ArrayList<>();
      session.append(ids, (i, logits) -> rows.add(logits.toArray()));
      return Map.of("logits", rows);
    }
  }

  private void print(Gemma gemma, @Nullable LoraAdapter adapter, int[] ids) {
    try (Session session = gemma.newSession(adapter)) {
      if (!all) {
        print(gemma, session.append(ids));
        return;
      }
      session.append(
          ids,
          (i, logits) -> {
            io.out().println("after " + Io.visible(gemma.tokenizer().piece(ids[i])));
            print(gemma, logits);
          });
    }
  }

  private void print(Gemma gemma, Logits logits) {
    float[] logProbabilities = logits.logSoftmax();
    IntStream.range(0, logits.size())
        .boxed()
        .sorted((a, b) -> Float.compare(logits.get(b), logits.get(a)))
        .limit(SHOWN)
        .forEach(
            id ->
                io.out()
                    .printf(
                        Locale.ROOT,
                        "%7d  %9.4f  %6.2f %%  %s%n",
                        id,
                        logits.get(id),
                        100 * Math.exp(logProbabilities[id]),
                        Io.visible(gemma.tokenizer().piece(id))));
  }
}
