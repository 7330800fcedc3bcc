package dev.gemma4j.bench;

import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.zip.GZIPInputStream;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/** Tokenizing by one thread: operations and MB of UTF-8 a second. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class TokenizerBenchmark {
  @Param("gemma-tokenizer/src/test/resources/dev/gemma4j/tokenizer/gemma1/tokenizer.model.gz")
  public String model = "";

  /** A file, or the name of a hostile text. */
  @Param("shared/reference/tokenizer/bench.txt")
  public String text = "";

  /** Of a hostile text, in characters. */
  @Param("1000000")
  public int length;

  private byte[] vocabulary = {};
  private @Nullable Tokenizer tokenizer;
  private String input = "";
  private int[] ids = {};
  private double megabytes;

  /** Shown beside operations per second. */
  @State(Scope.Thread)
  @AuxCounters(AuxCounters.Type.OPERATIONS)
  public static class Volume {
    public double megabytes;
  }

  @Setup
  public void prepare() throws IOException {
    try (InputStream in = Files.newInputStream(Path.of(model))) {
      vocabulary = (model.endsWith(".gz") ? new GZIPInputStream(in) : in).readAllBytes();
    }
    tokenizer = load();
    input = text(tokenizer);
    megabytes = input.getBytes(StandardCharsets.UTF_8).length / 1e6;
    ids = tokenizer.encode(input);
  }

  private String text(Tokenizer pieces) throws IOException {
    return switch (text) {
      case "a", "ab", "<", " ", "<start_of_tur" -> text.repeat(length / text.length());
      case "letters" -> random('a', 'z' + 1);
      case "unicode" -> random(0x20, 0xd800);
      case "pieces" -> // without a space between them
          new SplittableRandom(1)
              .ints(length / 8, 0, pieces.vocabSize())
              .mapToObj(id -> pieces.piece(id).replace("\u2581", ""))
              .collect(Collectors.joining());
      default -> Files.readString(Path.of(text));
    };
  }

  private String random(int from, int to) {
    return new SplittableRandom(1)
        .ints(length, from, to)
        .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
        .toString();
  }

  @Benchmark
  public Tokenizer load() throws IOException {
    return Tokenizer.parse(vocabulary, model);
  }

  @Benchmark
  public int[] encode(Volume volume) {
    volume.megabytes += megabytes;
    return loaded().encode(input);
  }

  @Benchmark
  public String decode(Volume volume) {
    volume.megabytes += megabytes;
    return loaded().decode(ids);
  }

  private Tokenizer loaded() {
    if (tokenizer == null) {
      throw new IllegalStateException("not prepared");
    }
    return tokenizer;
  }
}
