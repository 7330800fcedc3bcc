package dev.gemma4j.bench;

import dev.gemma4j.tokenizer.Tokenizer;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import java.util.stream.IntStream;
import java.util.zip.GZIPInputStream;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/**
 * Encoding and decoding by one thread, in MB of UTF-8 a second, of a real text and of hostile ones,
 * each at lengths n, 2n, 4n and 8n: where time is linear in the text, the rates of a row are alike.
 */
@Command(
    name = "TokenizerBenchmark",
    mixinStandardHelpOptions = true,
    description = "Times encoding and decoding of texts of four lengths.")
final class TokenizerBenchmark implements Callable<Integer> {
  private static final int[] FACTORS = {1, 2, 4, 8};

  @Option(names = "--tokenizer", description = "a SentencePiece model, may be gzipped (Gemma 1's)")
  private Path model =
      Path.of("gemma-tokenizer/src/test/resources/dev/gemma4j/tokenizer/gemma1/tokenizer.model.gz");

  @Option(names = "--file", description = "the real text (state papers, Bible, code; 1 MB)")
  private Path file = Path.of("");

  @Option(names = "--length", description = "n in characters (${DEFAULT-VALUE})")
  private int length = 250_000;

  @Option(names = "--texts", split = ",", description = "of ${COMPLETION-CANDIDATES} (all)")
  private Set<Text> texts = EnumSet.allOf(Text.class);

  @Option(names = "--seconds", description = "of each measurement (${DEFAULT-VALUE})")
  private double seconds = 0.5;

  private long sink; // keeps results from being optimised away

  /** What is to be tokenized. */
  enum Text {
    REAL("real text"),
    WORD("one word of random letters"),
    REPEATED("one letter repeated"),
    SPACES("spaces"),
    FALLBACK("characters without a piece"),
    EMOJI("emoji"),
    MARKERS("`<start_of_turn>`"),
    NEARLY("`<start_of_tur`"),
    PIECES("pieces without spaces");

    private final String title;

    Text(String title) {
      this.title = title;
    }
  }

  public static void main(String... args) {
    System.exit(
        new CommandLine(new TokenizerBenchmark())
            .setCaseInsensitiveEnumValuesAllowed(true)
            .execute(args));
  }

  @Override
  public Integer call() throws IOException {
    byte[] vocabulary;
    try (InputStream in = Files.newInputStream(model)) {
      vocabulary = (model.toString().endsWith(".gz") ? new GZIPInputStream(in) : in).readAllBytes();
    }
    Tokenizer tokenizer = Tokenizer.parse(vocabulary, model.toString());
    String real = real();
    measure(tokenizer, real, 4 * seconds); // the JIT's turn
    System.out.println("| text | encode MB/s at n, 2n, 4n, 8n | decode MB/s at n, 2n, 4n, 8n |");
    System.out.println("|---|---|---|");
    for (Text text : texts.stream().sorted().toList()) {
      List<String> encode = new ArrayList<>();
      List<String> decode = new ArrayList<>();
      measure(tokenizer, text(text, length, real, tokenizer), seconds); // this text's paths
      for (int factor : FACTORS) {
        String input = text(text, factor * length, real, tokenizer);
        double[] rates = measure(tokenizer, input, seconds);
        encode.add(String.format(Locale.ROOT, "%.1f", rates[0]));
        decode.add(String.format(Locale.ROOT, "%.1f", rates[1]));
      }
      System.out.printf(
          "| %s | %s | %s |%n", text.title, String.join(", ", encode), String.join(", ", decode));
    }
    return sink == 0 ? 1 : 0;
  }

  private String real() throws IOException {
    if (!file.toString().isEmpty()) {
      return Files.readString(file);
    }
    try (InputStream in = TokenizerBenchmark.class.getResourceAsStream("text.txt.gz")) {
      if (in == null) {
        throw new FileNotFoundException("text.txt.gz");
      }
      return new String(new GZIPInputStream(in).readAllBytes(), StandardCharsets.UTF_8);
    }
  }

  private static String text(Text text, int length, String real, Tokenizer tokenizer) {
    SplittableRandom random = new SplittableRandom(1);
    return switch (text) {
      case REAL -> repeated(real, length);
      case WORD -> characters(random.ints(length, 'a', 'z' + 1));
      case REPEATED -> "a".repeat(length);
      case SPACES -> " ".repeat(length);
      case FALLBACK -> characters(random.ints(length, 0x12000, 0x12300)); // cuneiform
      case EMOJI -> characters(random.ints(length, 0x1f300, 0x1f650));
      case MARKERS -> repeated("<start_of_turn>", length);
      case NEARLY -> repeated("<start_of_tur", length);
      case PIECES -> {
        StringBuilder pieces = new StringBuilder();
        while (pieces.length() < length) {
          String piece = tokenizer.piece(random.nextInt(tokenizer.vocabSize()));
          pieces.append(piece.replace("\u2581", ""));
        }
        yield pieces.toString();
      }
    };
  }

  private static String repeated(String text, int length) {
    return text.repeat(length / text.length() + 1).substring(0, length);
  }

  private static String characters(IntStream codePoints) {
    return codePoints
        .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
        .toString();
  }

  /** The rates of encoding and decoding. */
  private double[] measure(Tokenizer tokenizer, String text, double seconds) {
    double megabytes = text.getBytes(StandardCharsets.UTF_8).length / 1e6;
    int[] ids = tokenizer.encode(text);
    return new double[] {
      megabytes / median(seconds, () -> sink += tokenizer.encode(text).length),
      megabytes / median(seconds, () -> sink += tokenizer.decode(ids).length())
    };
  }

  /** The median of the times that a task takes, at least three. */
  private static double median(double seconds, Runnable task) {
    List<Long> times = new ArrayList<>();
    long begin = System.nanoTime();
    while (times.size() < 3 || System.nanoTime() - begin < seconds * 1e9) {
      long start = System.nanoTime();
      task.run();
      times.add(System.nanoTime() - start);
    }
    long[] sorted = times.stream().mapToLong(t -> t).toArray();
    Arrays.sort(sorted);
    return sorted[sorted.length / 2] / 1e9;
  }
}
