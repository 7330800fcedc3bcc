package dev.gemma4j.bench;

import dev.gemma4j.Gemma;
import dev.gemma4j.Generation;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.Prompt;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Tokens per second that several callers get together from one model. */
@Command(
    name = "CallersBenchmark",
    mixinStandardHelpOptions = true,
    description = "Times concurrent generations on one model.")
final class CallersBenchmark implements Callable<Integer> {
  @Parameters(paramLabel = "MODEL")
  private Path model = Path.of("");

  @Option(names = "--callers", split = ",", description = "at once (default 1,2,4,8,16)")
  private List<Integer> callers = new ArrayList<>(List.of(1, 2, 4, 8, 16));

  @Option(names = "--tokens", description = "that each generates (default 24)")
  private int tokens = 24;

  @Option(names = "--prompt", description = "tokens of each prompt (default 16)")
  private int prompt = 16;

  @Option(names = "--greedy", description = "instead of temperature and top-p")
  private boolean greedy;

  @Option(
      names = "--shared",
      description = "also time the first token of two prompts that share so many (default 0)")
  private int shared;

  public static void main(String... args) {
    System.exit(new CommandLine(new CallersBenchmark()).execute(args));
  }

  @Override
  public Integer call() throws Exception {
    try (Gemma gemma = Gemma.load(model, LoadOptions.defaults());
        ExecutorService executor = Executors.newCachedThreadPool()) {
      run(gemma, executor, 1, 6);
      run(gemma, executor, 4, 6);
      double alone = 0;
      for (int count : callers) {
        double rate = run(gemma, executor, count, tokens);
        alone = alone == 0 ? rate : alone;
        System.out.printf(
            Locale.ROOT,
            "%s: %d callers: %.2f tokens/s, %.2f times the first%n",
            gemma.weights(),
            count,
            rate,
            rate / alone);
      }
      if (shared > 0) {
        System.out.printf(
            Locale.ROOT,
            "first token after %d shared tokens and 16 own: first %.3f s, then %.3f s%n",
            shared,
            firstToken(gemma, 1),
            firstToken(gemma, 2));
      }
    }
    return 0;
  }

  private double firstToken(Gemma gemma, int seed) {
    int vocabSize = gemma.config().vocabSize();
    IntStream common = new SplittableRandom(99).ints(shared, 0, vocabSize);
    IntStream own = new SplittableRandom(seed).ints(16, 0, vocabSize);
    Prompt both = Prompt.ofIds(IntStream.concat(common, own).toArray());
    GenerationOptions one = GenerationOptions.builder().maxTokens(1).build();
    return gemma.generate(both, one).usage().firstToken().toNanos() / 1e9;
  }

  /** Tokens per second of decoding: from when the last prompt has run to when the last ends. */
  private double run(Gemma gemma, ExecutorService executor, int count, int each) throws Exception {
    List<Future<Generation>> futures = new ArrayList<>();
    long start = System.nanoTime();
    for (int i = 0; i < count; i++) {
      int seed = i;
      futures.add(
          executor.submit(
              () ->
                  gemma.generate(
                      Prompt.ofIds(
                          new SplittableRandom(seed)
                              .ints(prompt, 0, gemma.config().vocabSize())
                              .toArray()),
                      GenerationOptions.builder()
                          .maxTokens(each)
                          .temperature(greedy ? 0 : 0.8f)
                          .seed(seed)
                          .ignoreEos(true)
                          .build())));
    }
    long prefill = 0;
    for (Future<Generation> future : futures) {
      prefill = Math.max(prefill, future.get().usage().prefill().toNanos());
    }
    long nanos = System.nanoTime() - start - prefill;
    return count * (each - 1) * 1e9 / nanos;
  }
}
