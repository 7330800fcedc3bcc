package dev.gemma4j.bench;

import dev.gemma4j.Gemma;
import dev.gemma4j.Generation;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.Prompt;
import dev.gemma4j.Speculation;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/**
 * What speculation gains or costs: greedy text without it, with prompt lookup, and with guesses
 * that are all right or all wrong, the bounds of every other way.
 */
@CommandLine.Command(name = "SpeculationBenchmark", mixinStandardHelpOptions = true)
final class SpeculationBenchmark implements Callable<Integer> {
  @Parameters(paramLabel = "MODEL")
  private Path model = Path.of("");

  @Option(names = "--tokens", description = "to generate (${DEFAULT-VALUE})")
  private int tokens = 48;

  @Option(names = "--drafts", description = "guesses at a time (${DEFAULT-VALUE})")
  private int drafts = 4;

  @Option(names = "--repeat", description = "runs, of which the best counts (${DEFAULT-VALUE})")
  private int repeat = 2;

  @Option(names = "--prompt", description = "${DEFAULT-VALUE}")
  private String prompt = "Once upon a time there was a king. Once upon a time there was a";

  public static void main(String[] args) {
    System.exit(new CommandLine(new SpeculationBenchmark()).execute(args));
  }

  @Override
  public Integer call() throws Exception {
    try (Gemma gemma = Gemma.load(model)) {
      Generation plain = measure(gemma, "none", null);
      List<Integer> ids = plain.tokens();
      int start = plain.usage().promptTokens();
      measure(gemma, "prompt lookup", Speculation.promptLookup(drafts));
      measure(gemma, "all right", known(ids, start, 0));
      measure(gemma, "all wrong", known(ids, start, 1));
    }
    return 0;
  }

  /** Guesses the text that is known to come, with the bits of an error. */
  private Speculation known(List<Integer> ids, int start, int error) {
    return any ->
        (history, most) -> {
          int[] guess = new int[Math.min(drafts, most)];
          for (int i = 0; i < guess.length; i++) {
            guess[i] = ids.get(history.size() - start + i) ^ error;
          }
          return guess;
        };
  }

  private Generation measure(Gemma gemma, String name, @Nullable Speculation speculation) {
    GenerationOptions.Builder options =
        GenerationOptions.builder().temperature(0).ignoreEos(true).maxTokens(tokens);
    if (speculation != null) {
      options.speculation(speculation);
    }
    Generation best = gemma.generate(Prompt.of(prompt), options.build());
    for (int i = 1; i < repeat; i++) {
      Generation next = gemma.generate(Prompt.of(prompt), options.build());
      best = next.usage().decode().compareTo(best.usage().decode()) < 0 ? next : best;
    }
    System.out.printf(
        Locale.ROOT,
        "%-14s %7.2f tok/s, %d of %d guesses right%n",
        name,
        (best.tokens().size() - 1) / (best.usage().decode().toNanos() / 1e9),
        best.usage().acceptedTokens(),
        best.usage().draftedTokens());
    return best;
  }
}
