package dev.gemma4j.bench;

import com.sun.management.ThreadMXBean;
import dev.gemma4j.Gemma;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.Prompt;
import dev.gemma4j.Session;
import dev.gemma4j.TokenStream;
import dev.gemma4j.sampling.Logits;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/**
 * Bytes that each thread allocates on the heap for a decoded token, once a text is under way: of a
 * session that is appended to, and of a stream that also makes text.
 */
@Command(
    name = "AllocationBenchmark",
    mixinStandardHelpOptions = true,
    description = "Counts bytes allocated on the heap for each decoded token.")
final class AllocationBenchmark implements Callable<Integer> {
  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  @Parameters(paramLabel = "MODEL")
  private Path model = Path.of("");

  @Option(names = "--tokens", description = "that are counted (${DEFAULT-VALUE})")
  private int tokens = 100;

  @Option(names = "--warm-up", description = "tokens before, for the JIT (${DEFAULT-VALUE})")
  private int warmUp = 100;

  @Option(names = "--repeat", description = "texts, of which the last counts (${DEFAULT-VALUE})")
  private int repeat = 10;

  @Option(names = "--threads", description = "that compute (default: as the library chooses)")
  private int threads = LoadOptions.defaults().threads();

  public static void main(String... args) {
    System.exit(new CommandLine(new AllocationBenchmark()).execute(args));
  }

  /** One text under way. */
  private interface Text {
    void next();
  }

  @Override
  public Integer call() throws Exception {
    LoadOptions options = LoadOptions.defaults().withThreads(threads);
    try (Gemma gemma = Gemma.load(model, options)) {
      System.out.printf("%-20s %-20s %14s%n", "text", "thread", "bytes/token");
      for (int i = 1; i <= repeat; i++) {
        boolean last = i == repeat;
        try (Session session = gemma.newSession()) {
          int[] id = {gemma.tokenizer().encode("Once upon a time")[0]};
          count("session, greedy", last, () -> id[0] = append(session, id));
        }
        stream(gemma, "stream, greedy", last, 0);
        stream(gemma, "stream, top-p", last, 0.8f);
      }
    }
    return 0;
  }

  private static int append(Session session, int[] id) {
    Logits logits = session.append(id);
    return logits.argmax();
  }

  private void stream(Gemma gemma, String name, boolean print, float temperature) {
    GenerationOptions options =
        GenerationOptions.builder()
            .maxTokens(warmUp + tokens + 1)
            .temperature(temperature)
            .topP(0.9f)
            .seed(1L)
            .ignoreEos(true)
            .build();
    try (TokenStream stream = gemma.stream(Prompt.of("Once upon a time"), options)) {
      count(name, print, stream::next);
    }
  }

  private void count(String name, boolean print, Text text) {
    for (int i = 0; i < warmUp; i++) {
      text.next();
    }
    long[] ids = THREADS.getAllThreadIds();
    long[] before = THREADS.getThreadAllocatedBytes(ids);
    THREADS.getThreadAllocatedBytes(ids); // what counting itself takes
    long[] counted = THREADS.getThreadAllocatedBytes(ids);
    for (int i = 0; i < tokens; i++) {
      text.next();
    }
    long[] after = THREADS.getThreadAllocatedBytes(ids);
    for (int i = 0; i < ids.length && print; i++) {
      long counting = (counted[i] - before[i]) / 2;
      double bytes = (double) (after[i] - counted[i] - counting) / tokens;
      String thread = THREADS.getThreadInfo(ids[i]).getThreadName();
      if (thread.startsWith("gemma-") || ids[i] == Thread.currentThread().threadId() || bytes > 1) {
        System.out.printf(Locale.ROOT, "%-20s %-20s %14.1f%n", name, thread, bytes);
      }
    }
  }
}
