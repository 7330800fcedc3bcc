package dev.gemma4j.examples;

import dev.gemma4j.loader.Checkpoint;
import dev.gemma4j.loader.GemmaConfig;
import dev.gemma4j.loader.Tensor;
import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@CommandLine.Command(
    name = "inspect",
    description = "Show and validate a checkpoint without running it.")
final class InspectCommand extends Command {
  private static final int SHOWN = 8;

  @Option(names = "--json", description = "Print one JSON object.")
  boolean json;

  @Parameters(paramLabel = "PATH", description = "A model's directory or file.")
  Path path = Path.of("");

  InspectCommand(Io io) {
    super(io);
  }

  @Override
  public Integer call() throws IOException {
    try (Checkpoint checkpoint = Checkpoint.open(path)) {
      Map<String, Object> report = report(checkpoint);
      if (json) {
        io.json(report);
      } else {
        print(report);
      }
      return 0;
    }
  }

  private Map<String, Object> report(Checkpoint checkpoint) throws IOException {
    Map<String, Object> report = new LinkedHashMap<>();
    report.put("path", path.toString());
    report.put("config", config(checkpoint.config()));
    report.put("tokenizer", tokenizer(checkpoint));
    report.put("eosIds", checkpoint.eosIds());
    report.put("chatTemplate", checkpoint.chatTemplate().orElse(null));
    Map<String, Object> metadata = new LinkedHashMap<>();
    checkpoint
        .metadata()
        .forEach((key, value) -> metadata.put(key, value instanceof List<?> l ? brief(l) : value));
    report.put("metadata", metadata);
    List<Map<String, Object>> tensors = new ArrayList<>();
    long bytes = 0;
    for (Tensor tensor : checkpoint.tensors()) {
      long bad = tensor.firstNonFinite();
      if (bad >= 0) {
        throw new MalformedFileException(
            tensor.file().toString(),
            "tensor " + tensor.name() + "[" + bad + "]",
            notFinite(tensor, bad),
            "a finite number");
      }
      Map<String, Object> t = new LinkedHashMap<>();
      t.put("name", tensor.name());
      t.put("type", tensor.type().name());
      t.put("shape", tensor.shape());
      t.put("bytes", tensor.data().byteSize());
      tensors.add(t);
      bytes += tensor.data().byteSize();
    }
    report.put("tensorBytes", bytes);
    report.put("tensors", tensors);
    return report;
  }

  private static String notFinite(Tensor tensor, long index) throws IOException {
    int block = tensor.type().blockSize();
    float[] values = new float[block];
    tensor.read(index / block * block, values, 0, block);
    return String.valueOf(values[(int) (index % block)]);
  }

  private static Object brief(List<?> list) {
    return list.size() <= SHOWN ? list : "array of " + list.size();
  }

  private static Map<String, Object> config(GemmaConfig c) {
    Map<String, Object> config = new LinkedHashMap<>();
    config.put("vocabSize", c.vocabSize());
    config.put("hiddenSize", c.hiddenSize());
    config.put("numLayers", c.numLayers());
    config.put("numHeads", c.numHeads());
    config.put("numKvHeads", c.numKvHeads());
    config.put("headDim", c.headDim());
    config.put("intermediateSize", c.intermediateSize());
    config.put("maxPositions", c.maxPositions());
    config.put("rmsNormEps", c.rmsNormEps());
    config.put("ropeTheta", c.ropeTheta());
    return config;
  }

  private static @Nullable Map<String, Object> tokenizer(Checkpoint checkpoint) {
    Tokenizer tokenizer;
    try {
      tokenizer = checkpoint.tokenizer();
    } catch (MalformedFileException e) {
      return null; // opening has checked the one that is there
    }
    Map<String, Object> facts = new LinkedHashMap<>();
    facts.put("pieces", tokenizer.vocabSize());
    facts.put("bosId", tokenizer.bosId());
    facts.put("eosId", tokenizer.eosId());
    facts.put("padId", tokenizer.padId());
    facts.put("unkId", tokenizer.unkId());
    return facts;
  }

  private void print(Map<String, Object> report) {
    for (Map.Entry<String, Object> entry : report.entrySet()) {
      if (entry.getValue() instanceof Map<?, ?> map) {
        io.out().println(entry.getKey());
        map.forEach(
            (key, value) ->
                io.out().printf(Locale.ROOT, "  %-40s %s%n", visible(key), visible(value)));
      } else if (entry.getKey().equals("tensors")) {
        io.out().println("tensors");
        for (Object tensor : (List<?>) entry.getValue()) {
          Map<?, ?> t = (Map<?, ?>) tensor;
          io.out()
              .printf(
                  Locale.ROOT,
                  "  %-55s %-6s %-18s %14s%n",
                  visible(t.get("name")),
                  t.get("type"),
                  t.get("shape"),
                  String.format(Locale.ROOT, "%,d", (Long) t.get("bytes")));
        }
      } else {
        io.out().printf(Locale.ROOT, "%s %s%n", entry.getKey(), visible(entry.getValue()));
      }
    }
  }

  private static String visible(@Nullable Object value) {
    return Io.visible(String.valueOf(value));
  }
}
