package dev.gemma4j.examples;

import dev.gemma4j.Generation;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.LogProbability;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Speculation;
import dev.gemma4j.TokenLogProbabilities;
import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** How text is generated: the command's options, and the same as keys of a request. */
final class GenerateOptions {
  static final Set<String> KEYS =
      Set.of(
          "choice",
          "regex",
          "jsonSchema",
          "lookup",
          "maxTokens",
          "temperature",
          "topK",
          "topP",
          "minP",
          "typical",
          "repetitionPenalty",
          "frequencyPenalty",
          "presencePenalty",
          "seed",
          "stop",
          "logprobs",
          "ignoreEos",
          "raw");

  @Option(names = "--max-tokens", paramLabel = "N", description = "Tokens at most (256).")
  int maxTokens = 256;

  @Option(names = "--temperature", paramLabel = "T", description = "0 is greedy (0.8).")
  float temperature = 0.8f;

  @Option(names = "--top-k", paramLabel = "K", description = "Among the K best; 0 for all (0).")
  int topK;

  @Option(names = "--top-p", paramLabel = "P", description = "Among the likeliest P of 1 (0.95).")
  float topP = 0.95f;

  @Option(names = "--min-p", paramLabel = "P", description = "At least P times the best (0).")
  float minP;

  @Option(
      names = "--repetition-penalty",
      paramLabel = "X",
      description = "Above 1 discourages repetition (1).")
  float repetitionPenalty = 1;

  @Option(
      names = "--frequency-penalty",
      paramLabel = "X",
      description = "Taken from a token's logit for each time it occurred (0).")
  float frequencyPenalty;

  @Option(
      names = "--presence-penalty",
      paramLabel = "X",
      description = "Taken once from a token's logit if it occurred (0).")
  float presencePenalty;

  @Option(names = "--typical", paramLabel = "P", description = "The most typical P of 1 (1).")
  float typical = 1;

  @Mixin ConstraintOptions constraint = new ConstraintOptions();

  @Option(
      names = "--lookup",
      paramLabel = "N",
      description =
          "Guess up to N tokens, at most 15, from the text so far, for speed; the text stays (0).")
  int lookup;

  /** Of a model that the command has loaded. */
  @Nullable Speculation draft;

  /** Of the model that the command has loaded. */
  @Nullable LoraAdapter adapter;

  @Option(names = "--seed", paramLabel = "N", description = "The same seed, the same text.")
  @Nullable Long seed;

  @Option(names = "--stop", paramLabel = "TEXT", description = "End before it; repeatable.")
  List<String> stop = new ArrayList<>();

  @Option(
      names = "--logprobs",
      paramLabel = "N",
      description = {
        "Tell how probable each token and the N best in its place were, natural logarithms:",
        "in JSON, or as a table on standard error; 0 for the token alone."
      })
  int logprobs = -1;

  /** A chat's template has the beginning-of-text token: only other texts may do without. */
  boolean noBos;

  @Option(names = "--ignore-eos", description = "Go on after an end-of-text token.")
  boolean ignoreEos;

  @Option(
      names = "--raw",
      description = "Print the generated text alone: no prompt before it, no newline after it.")
  boolean raw;

  /** These options where the request says nothing else. */
  GenerationOptions with(Request request) {
    GenerateOptions merged = new GenerateOptions();
    merged.maxTokens = request.integer("maxTokens", maxTokens);
    merged.temperature = request.number("temperature", temperature);
    merged.topK = request.integer("topK", topK);
    merged.topP = request.number("topP", topP);
    merged.minP = request.number("minP", minP);
    merged.repetitionPenalty = request.number("repetitionPenalty", repetitionPenalty);
    merged.frequencyPenalty = request.number("frequencyPenalty", frequencyPenalty);
    merged.presencePenalty = request.number("presencePenalty", presencePenalty);
    merged.typical = request.number("typical", typical);
    merged.constraint = constraint.with(request);
    merged.lookup = request.integer("lookup", lookup);
    merged.draft = draft;
    merged.adapter = adapter;
    merged.seed = request.longInteger("seed", seed);
    merged.stop = request.texts("stop", stop);
    merged.logprobs = request.integer("logprobs", logprobs);
    merged.noBos = request.flag("noBos", noBos);
    merged.ignoreEos = request.flag("ignoreEos", ignoreEos);
    request.flag("raw", raw); // of no effect in JSON
    return merged.build();
  }

  /**
   * Prompt lookup.
   *
   * @throws IllegalArgumentException when there are too few or too many; it names the option
   */
  static Speculation lookup(String option, int tokens) {
    try {
      return Speculation.promptLookup(tokens);
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(option + ": " + e.getMessage(), e);
    }
  }

  GenerationOptions build() {
    GenerationOptions.Builder builder =
        GenerationOptions.builder()
            .maxTokens(maxTokens)
            .temperature(temperature)
            .topK(topK)
            .topP(topP)
            .minP(minP)
            .repetitionPenalty(repetitionPenalty)
            .frequencyPenalty(frequencyPenalty)
            .presencePenalty(presencePenalty)
            .typical(typical)
            .stop(stop.toArray(String[]::new))
            .logProbabilities(logprobs)
            .bos(!noBos)
            .ignoreEos(ignoreEos);
    if (lookup != 0) {
      builder.speculation(lookup("lookup, if not 0", lookup));
    } else if (draft != null) {
      builder.speculation(draft);
    }
    if (adapter != null) {
      builder.adapter(adapter);
    }
    Constraint limits = constraint.build();
    if (limits != null) {
      builder.constraint(limits);
    }
    return seed == null ? builder.build() : builder.seed(seed).build();
  }

  /** The answer to a request with these options. */
  static Map<String, Object> json(
      Generation generation, GenerationOptions options, Tokenizer tokenizer) {
    Map<String, Object> usage = new LinkedHashMap<>();
    usage.put("promptTokens", generation.usage().promptTokens());
    usage.put("generatedTokens", generation.usage().generatedTokens());
    usage.put("prefillMs", generation.usage().prefill().toNanos() / 1e6);
    usage.put("decodeMs", generation.usage().decode().toNanos() / 1e6);
    usage.put("draftedTokens", generation.usage().draftedTokens());
    usage.put("acceptedTokens", generation.usage().acceptedTokens());
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("text", generation.text());
    json.put("ids", generation.tokens());
    json.put("finishReason", generation.finishReason().name().toLowerCase(Locale.ROOT));
    json.put("usage", usage);
    if (options.logProbabilities() >= 0) {
      List<Map<String, Object>> logprobs = new ArrayList<>();
      for (TokenLogProbabilities token : generation.logProbabilities()) {
        Map<String, Object> chosen = json(token.chosen(), tokenizer);
        chosen.put("best", token.best().stream().map(each -> json(each, tokenizer)).toList());
        logprobs.add(chosen);
      }
      json.put("logprobs", logprobs); // entry i is of ids[i]
    }
    return json;
  }

  private static Map<String, Object> json(LogProbability log, Tokenizer tokenizer) {
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("id", log.id());
    json.put("piece", tokenizer.piece(log.id()));
    json.put("logprob", log.value());
    return json;
  }

  /** The same for people, a line for each token; empty if nobody asked. */
  static String table(Generation generation, Tokenizer tokenizer) {
    StringBuilder table = new StringBuilder();
    for (TokenLogProbabilities token : generation.logProbabilities()) {
      StringBuilder line = new StringBuilder(cell(token.chosen(), tokenizer));
      for (LogProbability each : token.best()) {
        line.append("  | ").append(cell(each, tokenizer));
      }
      table.append(line.toString().stripTrailing()).append(System.lineSeparator());
    }
    return table.toString();
  }

  private static String cell(LogProbability log, Tokenizer tokenizer) {
    String piece = Io.visible(tokenizer.piece(log.id()));
    return String.format(Locale.ROOT, "%8.4f %-12s", log.value(), piece);
  }
}
