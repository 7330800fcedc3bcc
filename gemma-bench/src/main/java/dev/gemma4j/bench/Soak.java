package dev.gemma4j.bench;

import dev.gemma4j.FinishReason;
import dev.gemma4j.Gemma;
import dev.gemma4j.Generation;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.KvMemoryException;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.Prompt;
import dev.gemma4j.Session;
import dev.gemma4j.TokenStream;
import dev.gemma4j.sampling.Logits;
import java.io.IOException;
import java.io.PrintWriter;
import java.lang.management.BufferPoolMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Queue;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.concurrent.atomic.LongAccumulator;
import java.util.concurrent.atomic.LongAdder;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/**
 * Many threads do at random what callers do with one model, for long. Each text must be the one
 * that was computed alone before, or its beginning when it was cancelled; what lies off-heap must
 * be what it was when nobody asks anything, but for buffers that grew to their full size, and again
 * when the model was closed in the midst of it. With less memory for keys and values than they
 * need, texts wait for it, and at rest all of it must be free.
 */
@Command(
    name = "Soak",
    mixinStandardHelpOptions = true,
    description = "Generates, cancels, forks, truncates and closes at random (exit 1 on a fault).")
final class Soak implements Callable<Integer> {
  private static final int TOKENS = 24;
  // Two tokens so close that rounding decides which is first.
  private static final float TIE = 1e-3f;
  private static final int LEAST = 3; // of each action, however slow the machine
  private static final int STEP = 16;
  private static final int BATCH = 16;
  private static final long JOIN_MILLIS = 20_000;
  private static final long RSS_BOUND = 64 << 20;

  private static final List<String> BEGINNINGS =
      List.of(
          "Once upon a time",
          "There was a king who had a daughter",
          "The old woman said",
          "In the forest lived a wolf",
          "The youngest brother went out into the world",
          "Then the princess");

  @Parameters(arity = "0..1", paramLabel = "MODEL", description = "default: the demo model")
  private Path model = Path.of("examples/src/main/resources/dev/gemma4j/examples/demo");

  @Option(names = "--seconds", description = "of all rounds together (default 300)")
  private double seconds = 300;

  @Option(names = "--rounds", description = "each loads and closes the model (default 5)")
  private int rounds = 5;

  @Option(names = "--callers", description = "threads that ask (default 8)")
  private int callers = 8;

  @Option(names = "--seed", description = "of what they do (default 1)")
  private long seed = 1;

  @Option(
      names = "--kv-memory",
      paramLabel = "BYTES",
      description =
          "for the keys and values of all callers; texts wait when it is less than they need,"
              + " sessions give up, and only every second round has any (default: enough for all)")
  private long kvMemory;

  @Spec private @Nullable CommandSpec spec;

  private final Map<Action, LongAdder> counts = new EnumMap<>(Action.class);
  private final LongAdder cancelled = new LongAdder();
  private final LongAdder tokens = new LongAdder();
  private final LongAdder ties = new LongAdder();
  private final LongAdder refused = new LongAdder(); // sessions, for lack of memory
  private final LongAdder outgrown = new LongAdder(); // texts whose rest found no memory
  private final LongAccumulator longestQueued = new LongAccumulator(Math::max, 0); // nanoseconds
  private final Queue<Throwable> faults = new ConcurrentLinkedQueue<>();

  private List<Action> actions = List.of(Action.values()); // of this round

  private enum Action {
    GENERATE(false),
    CANCEL_ANOTHER(false),
    INTERRUPT(false),
    LEAVE(false),
    FORK(true),
    TRUNCATE(true);

    final boolean ofSession;

    Action(boolean ofSession) {
      this.ofSession = ofSession;
    }
  }

  /** A prompt and what follows it when nobody else asks. */
  private record Text(int[] prompt, List<Integer> tokens) {}

  public static void main(String... args) {
    System.exit(new CommandLine(new Soak()).execute(args));
  }

  @Override
  public Integer call() throws Exception {
    PrintWriter out = Objects.requireNonNull(spec).commandLine().getOut();
    for (Action action : Action.values()) {
      counts.put(action, new LongAdder());
    }
    long settled = 0;
    long rss = 0;
    for (int round = 1; round <= rounds && faults.isEmpty(); round++) {
      long offHeap = offHeap();
      // A session, which takes what it finds, may leave a text room for a part of it only. Without
      // any, no text may fail for lack of memory.
      boolean sessions = kvMemory == 0 || round % 2 == 0;
      actions = Stream.of(Action.values()).filter(a -> sessions || !a.ofSession).toList();
      round(seed + round);
      expectOffHeap("after closing", offHeap);
      System.gc();
      rss = residentBytes();
      settled = round <= 2 ? rss : settled; // the first rounds compile
      out.printf(
          Locale.ROOT, "round %d: resident %.1f MB, off-heap %d%n", round, rss / 1e6, offHeap());
      out.flush();
    }
    if (rss - settled > RSS_BOUND) {
      fault("resident memory grew from " + settled + " to " + rss + " bytes");
    }
    out.printf(
        Locale.ROOT,
        "%s; %d tokens, %d texts cancelled, queued %d ms at most, %d texts cut and %d sessions"
            + " refused for lack of memory, %d near ties, %d faults%n",
        counts,
        tokens.sum(),
        cancelled.sum() - outgrown.sum(),
        longestQueued.get() / 1_000_000,
        outgrown.sum(),
        refused.sum(),
        ties.sum(),
        faults.size());
    faults.forEach(fault -> fault.printStackTrace(out));
    out.flush();
    return faults.isEmpty() ? 0 : 1;
  }

  private void round(long roundSeed) throws IOException, InterruptedException {
    long half = (long) (seconds * 1e9 / rounds / 2);
    LoadOptions options =
        LoadOptions.defaults()
            .withPromptReuse(false)
            .withKvMemory(kvMemory)
            .withKvWait(Duration.ofMillis(hangMillis())); // a longer wait is a fault
    Gemma gemma = Gemma.load(model, options);
    try {
      int free = kvMemory == 0 ? 0 : freePositions(gemma);
      List<Text> texts = alone(gemma);
      long loaded = offHeap();
      long end = System.nanoTime() + half;
      Map<Action, Long> before = new EnumMap<>(Action.class);
      counts.forEach((action, count) -> before.put(action, count.sum()));
      Condition goOn =
          () ->
              System.nanoTime() < end
                  || actions.stream().anyMatch(a -> counts.get(a).sum() - before.get(a) < LEAST);
      join(start(gemma, texts, roundSeed, goOn, false));
      expectOffHeap("at rest", loaded + scratch(gemma));
      int left = kvMemory == 0 ? 0 : freePositions(gemma);
      if (left != free) {
        fault("positions that fit into kvMemory: expected " + free + ", found " + left);
      }

      List<Thread> threads = start(gemma, texts, ~roundSeed, () -> true, true);
      Thread.sleep(half / 1_000_000);
      gemma.close();
      join(threads);
    } finally {
      gemma.close();
    }
  }

  /** The most that the kernels' buffers may take: each thread's holds a small batch's input. */
  private static long scratch(Gemma gemma) {
    return (long) gemma.threads() * BATCH * gemma.config().intermediateSize() * Float.BYTES;
  }

  /** How many positions sessions can take until there is no memory for more. */
  private static int freePositions(Gemma gemma) {
    List<Session> sessions = new ArrayList<>();
    int positions = 0;
    try {
      while (true) {
        Session session = gemma.newSession();
        sessions.add(session);
        for (int left = gemma.contextLength(); left > 0; left -= STEP) {
          int[] ids = new int[Math.min(STEP, left)];
          session.append(ids);
          positions += ids.length;
        }
      }
    } catch (KvMemoryException e) {
      return positions;
    } finally {
      sessions.forEach(Session::close);
    }
  }

  private static List<Text> alone(Gemma gemma) {
    List<Text> texts = new ArrayList<>();
    for (int pass = 0; pass < 2; pass++) { // the second is compiled, and so rounds as later ones do
      texts.clear();
      for (String beginning : BEGINNINGS) {
        for (int repeat : new int[] {1, 4, 30}) {
          int[] encoded = gemma.tokenizer().encode((beginning + " ").repeat(repeat).strip());
          int[] prompt =
              IntStream.concat(IntStream.of(gemma.tokenizer().bosId()), IntStream.of(encoded))
                  .toArray();
          Generation generation = gemma.generate(Prompt.ofIds(prompt), options());
          texts.add(new Text(prompt, generation.tokens()));
        }
      }
    }
    return texts;
  }

  private static GenerationOptions options() {
    return GenerationOptions.builder().temperature(0).ignoreEos(true).maxTokens(TOKENS).build();
  }

  private interface Condition {
    boolean holds();
  }

  private List<Thread> start(
      Gemma gemma, List<Text> texts, long startSeed, Condition goOn, boolean closes) {
    AtomicReferenceArray<@Nullable TokenStream> streams = new AtomicReferenceArray<>(callers);
    SplittableRandom seeds = new SplittableRandom(startSeed);
    List<Thread> threads = new ArrayList<>();
    for (int i = 0; i < callers; i++) {
      SplittableRandom random = seeds.split();
      int index = i;
      Runnable caller =
          () -> {
            try {
              while (goOn.holds() && faults.isEmpty()) {
                Text text = texts.get(random.nextInt(texts.size()));
                Action action = actions.get(random.nextInt(actions.size()));
                act(gemma, text, action, random, streams, index);
                counts.get(action).increment();
              }
            } catch (IllegalStateException e) {
              if (!closes || !String.valueOf(e.getMessage()).contains("closed")) {
                faults.add(e);
              }
            } catch (Throwable t) {
              faults.add(t);
            }
          };
      threads.add(Thread.ofPlatform().daemon().name("caller-" + i).start(caller));
    }
    return threads;
  }

  /** Who takes longer hangs. */
  private long hangMillis() {
    return (long) (seconds * 1000) + JOIN_MILLIS;
  }

  private void join(List<Thread> threads) throws InterruptedException {
    for (Thread thread : threads) {
      thread.join(hangMillis());
      if (thread.isAlive()) {
        fault(thread.getName() + " hangs: " + List.of(thread.getStackTrace()));
      }
    }
  }

  private void act(
      Gemma gemma,
      Text text,
      Action action,
      SplittableRandom random,
      AtomicReferenceArray<@Nullable TokenStream> streams,
      int index) {
    switch (action) {
      case FORK, TRUNCATE -> sessions(gemma, text, action, random.nextInt(TOKENS));
      case GENERATE, CANCEL_ANOTHER, INTERRUPT, LEAVE -> {
        int some = random.nextInt(TOKENS);
        TokenStream stream = gemma.stream(Prompt.ofIds(text.prompt), options());
        try (stream) {
          streams.set(index, stream);
          for (int i = 0; stream.hasNext(); i++) {
            stream.next();
            if (i == some && action == Action.CANCEL_ANOTHER) {
              TokenStream other = streams.get(random.nextInt(streams.length()));
              if (other != null) {
                other.cancel();
              }
            } else if (i == some && action == Action.INTERRUPT) {
              Thread.currentThread().interrupt();
            } else if (i == some && action == Action.LEAVE) {
              break;
            }
          }
        } catch (KvMemoryException e) {
          boolean shared = kvMemory > 0 && actions.contains(Action.FORK);
          if (!shared || stream.result().tokens().isEmpty()) {
            throw e;
          }
          outgrown.increment();
        } finally {
          streams.set(index, null);
          Thread.interrupted();
        }
        Generation generation = stream.result();
        boolean whole = generation.finishReason() != FinishReason.CANCELLED;
        cancelled.add(whole ? 0 : 1);
        longestQueued.accumulate(generation.usage().queued().toNanos());
        compare(gemma, text, generation.tokens(), whole);
      }
    }
  }

  /** Decodes to the end in two ways from one place, which is a fork's or that of the truncation. */
  private void sessions(Gemma gemma, Text text, Action action, int common) {
    try (Session session = gemma.newSession()) {
      Logits logits = session.append(text.prompt);
      List<Integer> found = decode(session, logits, new ArrayList<>(), common);
      if (action == Action.FORK) {
        try (Session fork = session.fork()) {
          finish(gemma, text, fork, found);
          finish(gemma, text, session, found);
        }
      } else {
        int position = session.position();
        finish(gemma, text, session, found);
        session.truncate(position);
        finish(gemma, text, session, found);
        session.truncate(1);
        int[] rest = IntStream.of(text.prompt).skip(1).toArray();
        compare(
            gemma, text, decode(session, session.append(rest), new ArrayList<>(), TOKENS), true);
      }
    } catch (KvMemoryException e) { // as it does not wait
      if (kvMemory == 0) {
        throw e;
      }
      refused.increment();
    }
  }

  /** Goes on from a session whose last token, of those found, is still to be appended. */
  private void finish(Gemma gemma, Text text, Session session, List<Integer> found) {
    List<Integer> all = new ArrayList<>(found);
    compare(gemma, text, decode(session, session.append(all.getLast()), all, TOKENS), true);
  }

  /** Appends all but the last token that it chooses. */
  private List<Integer> decode(Session session, Logits logits, List<Integer> found, int count) {
    found.add(logits.argmax());
    while (found.size() < count) {
      found.add(session.append(found.getLast()).argmax());
    }
    return found;
  }

  private void compare(Gemma gemma, Text text, List<Integer> found, boolean whole) {
    tokens.add(found.size());
    int size = Math.min(found.size(), text.tokens.size());
    int same = 0;
    while (same < size && found.get(same).equals(text.tokens.get(same))) {
      same++;
    }
    if (same == found.size() && (!whole || same == text.tokens.size())) {
      return;
    }
    if (same < size && isTie(gemma, text, same, found.get(same))) {
      ties.increment();
      return;
    }
    fault("expected " + text.tokens + (whole ? "" : " or its beginning") + ", found " + found);
  }

  /** Of scores, which wait for memory where a session would not. */
  private static boolean isTie(Gemma gemma, Text text, int at, int found) {
    IntStream before = text.tokens.subList(0, at).stream().mapToInt(Integer::intValue);
    Prompt prompt = Prompt.ofIds(IntStream.concat(IntStream.of(text.prompt), before).toArray());
    double expected = gemma.score(prompt, new int[] {text.tokens.get(at)}, 0).logProbability();
    double other = gemma.score(prompt, new int[] {found}, 0).logProbability();
    return Math.abs(other - expected) < TIE;
  }

  /** Waits for the garbage collector, which frees the threads' scratch memory. */
  private void expectOffHeap(String when, long expected) throws InterruptedException {
    long found = offHeap();
    for (int i = 0; i < 20 && found > expected; i++) {
      System.gc();
      Thread.sleep(50);
      found = offHeap();
    }
    if (found > expected) {
      fault("off-heap bytes " + when + ": expected at most " + expected + ", found " + found);
    }
  }

  private void fault(String message) {
    faults.add(new AssertionError(message));
  }

  /** What arenas hold, but for large pages, and files that are mapped. */
  private static long offHeap() {
    return ManagementFactory.getPlatformMXBeans(BufferPoolMXBean.class).stream()
        .mapToLong(BufferPoolMXBean::getMemoryUsed)
        .sum();
  }

  /** 0 where unknown. */
  private static long residentBytes() throws IOException {
    Path status = Path.of("/proc/self/status");
    if (!Files.exists(status)) {
      return 0;
    }
    for (String line : Files.readAllLines(status)) {
      if (line.startsWith("VmRSS:")) {
        return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024;
      }
    }
    return 0;
  }
}
