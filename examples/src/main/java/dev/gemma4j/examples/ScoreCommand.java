package dev.gemma4j.examples;

import dev.gemma4j.Gemma;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Prompt;
import dev.gemma4j.Score;
import dev.gemma4j.TokenLogProbabilities;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
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

@CommandLine.Command(
    name = "score",
    description = {
      "Show how probable the model finds a text, natural logarithms.",
      "A text longer than the context is read in windows that overlap by half."
    })
final class ScoreCommand extends Command {
  @Mixin ModelOptions model = new ModelOptions();

  @Option(names = "--ids", split = ",", paramLabel = "ID", description = "Token ids, not a text.")
  @Nullable List<String> idArguments;

  @Option(names = "--json", description = "Print one JSON object.")
  boolean json;

  @Option(names = "--jsonl", description = "Answer one JSON object a line: ids or text.")
  boolean jsonl;

  @Parameters(
      arity = "0..1",
      paramLabel = "TEXT",
      description = "The text, read after the beginning-of-text token.")
  @Nullable String text;

  ScoreCommand(Io io) {
    super(io);
  }

  @Override
  public Integer call() throws IOException {
    checkJsonLines("--ids");
    int[] ids = ids(idArguments);
    if (ids.length > 0 && text != null) {
      throw usage("expected either --ids or TEXT");
    }
    String whole = jsonl || ids.length > 0 ? "" : argumentOrInput(text);
    try (Gemma gemma = model.load()) {
      LoraAdapter adapter = model.adapter(gemma);
      if (jsonl) {
        return io.jsonLines(
            request -> {
              request.allow(Set.of("ids", "text"));
              if (request.has("ids") == request.has("text")) {
                throw new IllegalArgumentException("expected either ids or text");
              }
              return score(
                  gemma,
                  adapter,
                  request.has("ids") ? request.ids("ids") : encode(gemma, request.text("text")));
            });
      }
      Map<String, Object> result =
          score(gemma, adapter, ids.length > 0 ? ids : encode(gemma, whole));
      if (json) {
        io.json(result);
      } else {
        double[] logprobs = (double[]) result.get("logprobs");
        io.out()
            .printf(
                Locale.ROOT,
                "%d tokens, perplexity %.4f%n",
                logprobs.length,
                result.get("perplexity"));
      }
      return 0;
    }
  }

  private static int[] encode(Gemma gemma, String text) {
    Tokenizer tokenizer = gemma.tokenizer();
    IntStream ids = IntStream.of(tokenizer.encode(text));
    return (tokenizer.addsBos() ? IntStream.concat(IntStream.of(tokenizer.bosId()), ids) : ids)
        .toArray();
  }

  /** Reads what exceeds the context in windows that overlap by half. */
  private static Map<String, Object> score(Gemma gemma, @Nullable LoraAdapter adapter, int[] ids) {
    if (ids.length < 2) {
      throw new IllegalArgumentException(
          "ids: found " + ids.length + ", expected at least 2: the first is not scored");
    }
    List<TokenLogProbabilities> scored = new ArrayList<>();
    int context = gemma.contextLength();
    if (context < 2) {
      throw new IllegalArgumentException(
          "context: found 1 position, expected at least 2: a token is scored after another one");
    }
    for (int start = 0; scored.size() < ids.length - 1; start += context / 2) {
      int done = scored.size() + 1;
      int end = Math.min(ids.length, start + context);
      Prompt before = Prompt.ofIds(Arrays.copyOfRange(ids, start, done));
      scored.addAll(gemma.score(before, Arrays.copyOfRange(ids, done, end), 0, adapter).tokens());
    }
    Score score = new Score(scored);
    double[] logprobs = scored.stream().mapToDouble(token -> token.chosen().value()).toArray();
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("logprobs", logprobs);
    json.put("perplexity", score.perplexity());
    return json;
  }
}
