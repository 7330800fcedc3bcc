package peer;

import com.github.tjake.jlama.model.gemma.GemmaConfig;
import com.github.tjake.jlama.model.gemma.GemmaModel;
import com.github.tjake.jlama.safetensors.Config;
import com.github.tjake.jlama.safetensors.DType;
import com.github.tjake.jlama.safetensors.SafeTensorSupport;
import com.github.tjake.jlama.safetensors.WeightLoader;
import com.github.tjake.jlama.tensor.AbstractTensor;
import com.github.tjake.jlama.tensor.KvBufferCache.KvBuffer;
import com.github.tjake.jlama.tensor.operations.TensorOperationsProvider;
import com.github.tjake.jlama.util.JsonSupport;
import com.github.tjake.jlama.util.PhysicalCoreExecutor;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.Optional;
import java.util.Random;
import java.util.function.DoubleSupplier;

/**
 * Times Jlama as {@code gemma bench --json} times this library and prints the same keys: {@code
 * Jlama DIRECTORY THREADS PREFILL DECODE REPEAT}. {@code Jlama quantize DIRECTORY Q4|I8 OUT} stores
 * a model in Jlama's own form.
 */
public final class Jlama extends GemmaModel {
  private static final int DECODE_CONTEXT = 128;
  private static final long WARM_UP_NANOS = 2_000_000_000;

  private Jlama(Config config, WeightLoader weights) {
    // Without a tokenizer: only ids go in and out. Types as Jlama's command line chooses them.
    super(
        InferenceType.FULL_GENERATION,
        config,
        weights,
        null,
        DType.F32,
        DType.I8,
        Optional.empty());
  }

  public static void main(String[] args) throws IOException {
    if (args[0].equals("quantize")) {
      quantize(Path.of(args[1]), DType.valueOf(args[2]), Path.of(args[3]));
      return;
    }
    int threads = Integer.parseInt(args[1]);
    int prefill = Integer.parseInt(args[2]);
    int decode = Integer.parseInt(args[3]);
    int repeat = Integer.parseInt(args[4]);
    long start = System.nanoTime();
    PhysicalCoreExecutor.overrideThreadCount(threads);
    File directory = new File(args[0]);
    Config config = JsonSupport.om.readValue(new File(directory, "config.json"), GemmaConfig.class);
    try (Jlama model = new Jlama(config, SafeTensorSupport.loadWeights(directory))) {
      double load = (System.nanoTime() - start) / 1e6;
      double prefillRate = median(repeat, () -> model.prefill(prefill));
      double decodeRate = median(repeat, () -> model.decode(decode));
      System.out.printf(
          Locale.ROOT,
          "{\"version\": \"0.8.4, %s\", \"weights\": \"%s\", \"threads\": %d, \"loadMs\": %.1f,"
              + " \"prefill\": [{\"tokens\": %d, \"tokensPerSecond\": %.3f}],"
              + " \"decode\": {\"tokens\": %d, \"tokensPerSecond\": %.3f}, \"peakRssBytes\": %d}%n",
          TensorOperationsProvider.get().name(),
          model.modelDType,
          threads,
          load,
          prefill,
          prefillRate,
          decode,
          decodeRate,
          peakRss());
    }
    System.exit(0);
  }

  /**
   * Norms stay as they are, and so does the embedding, of which Jlama reads no quantised rows.
   * Jlama copies two files that a synthetic checkpoint lacks.
   */
  private static void quantize(Path in, DType type, Path out) throws IOException {
    for (String name : new String[] {"tokenizer.json", "README.md"}) {
      if (!Files.exists(in.resolve(name))) {
        Files.writeString(in.resolve(name), name.endsWith(".json") ? "{}\n" : "---\n---\n");
      }
    }
    SafeTensorSupport.quantizeModel(
        in, type, new String[] {"norm", "embed_tokens"}, null, Optional.of(out));
  }

  private static double median(int repeat, DoubleSupplier run) {
    long start = System.nanoTime();
    do {
      run.getAsDouble();
    } while (System.nanoTime() - start < WARM_UP_NANOS);
    double[] rates = new double[repeat];
    for (int i = 0; i < repeat; i++) {
      rates[i] = run.getAsDouble();
    }
    Arrays.sort(rates);
    return (rates[(repeat - 1) / 2] + rates[repeat / 2]) / 2;
  }

  private int[] ids(int count) {
    return new Random(1).ints(count, 0, c.vocabularySize).toArray();
  }

  /** The next id, as the argmax of the last row's logits. */
  private int next(AbstractTensor rows, AbstractTensor logits) {
    try (rows) {
      return sample(rows.slice(rows.shape().first() - 1), 0, 0, logits);
    }
  }

  private double prefill(int length) {
    try (KvBuffer kv = kvBufferCache.getEphemeralKvBuffer();
        AbstractTensor logits = makeDenseTensor(c.vocabularySize)) {
      long start = System.nanoTime();
      next(batchForward(ids(length), 0, kv), logits);
      return length * 1e9 / (System.nanoTime() - start);
    }
  }

  private double decode(int tokens) {
    try (KvBuffer kv = kvBufferCache.getEphemeralKvBuffer();
        AbstractTensor logits = makeDenseTensor(c.vocabularySize)) {
      int next = next(batchForward(ids(DECODE_CONTEXT), 0, kv), logits);
      long start = System.nanoTime();
      for (int i = 0; i < tokens; i++) {
        next = next(forward(next, DECODE_CONTEXT + i, kv), logits);
      }
      return tokens * 1e9 / (System.nanoTime() - start);
    }
  }

  private static long peakRss() throws IOException {
    Path status = Path.of("/proc/self/status");
    return !Files.exists(status)
        ? 0
        : Files.readAllLines(status).stream()
            .filter(line -> line.startsWith("VmHWM:"))
            .mapToLong(line -> Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024)
            .findFirst()
            .orElse(0);
  }
}
