package dev.gemma4j.examples;

import dev.gemma4j.Quantizer;
import dev.gemma4j.WeightType;
import java.io.IOException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@CommandLine.Command(
    name = "quantize",
    description = "Store a checkpoint as one GGUF file with weights of another type.")
final class QuantizeCommand extends Command {
  @Option(
      names = "--type",
      required = true,
      paramLabel = "TYPE",
      description = "F32, F16, BF16, Q8_0 or Q4_0.")
  String type = "";

  @Option(names = "--threads", paramLabel = "N", description = "Threads that convert.")
  int threads = Runtime.getRuntime().availableProcessors();

  @Option(
      names = "--merge-adapter",
      paramLabel = "DIR",
      description = "A LoRA adapter (PEFT) to add to the weights.")
  @Nullable Path mergedAdapter;

  @Parameters(index = "0", paramLabel = "IN", description = "A model's directory or file.")
  Path in = Path.of("");

  @Parameters(index = "1", paramLabel = "OUT", description = "The .gguf file to write.")
  Path out = Path.of("");

  QuantizeCommand(Io io) {
    super(io);
  }

  @Override
  public Integer call() throws IOException {
    WeightType target = target();
    if (threads < 1 || threads > 1024) {
      throw usage("threads must be in [1, 1024], but is " + threads);
    }
    if (!out.toString().endsWith(".gguf")) {
      throw usage("OUT: found " + out + ", expected a name that ends in .gguf");
    }
    try (Progress progress = new Progress("Quantizing")) {
      Quantizer.quantize(in, mergedAdapter, out, target, threads, progress);
    } catch (ClosedByInterruptException e) {
      return INTERRUPTED;
    }
    io.err().printf(Locale.ROOT, "wrote %s: %,d bytes%n", out, Files.size(out));
    return 0;
  }

  private WeightType target() {
    for (WeightType candidate : WeightType.values()) {
      if (candidate != WeightType.AS_STORED && candidate.name().equalsIgnoreCase(type)) {
        return candidate;
      }
    }
    throw usage("--type: found " + type + ", expected one of F32, F16, BF16, Q8_0, Q4_0");
  }
}
