package dev.gemma4j.examples;

import dev.gemma4j.Gemma;
import dev.gemma4j.Generation;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.Prompt;
import dev.gemma4j.Speculation;
import dev.gemma4j.TokenStream;
import java.io.IOException;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@CommandLine.Command(name = "generate", description = "Continue a text.")
final class GenerateCommand extends Command {
  @Mixin ModelOptions model = new ModelOptions();
  @Mixin GenerateOptions options = new GenerateOptions();

  @Option(
      names = "--draft",
      paramLabel = "PATH",
      description = "A smaller model that guesses tokens, for speed; the text stays.")
  @Nullable Path draftModel;

  @Option(
      names = "--draft-tokens",
      paramLabel = "N",
      description = "Guess N tokens at a time with --draft, at most 15 (4).")
  @Nullable Integer draftTokens;

  @Option(names = "--no-bos", description = "Do not begin with the beginning-of-text token.")
  boolean noBos;

  @Option(names = "--json", description = "Print one JSON object.")
  boolean json;

  @Option(names = "--jsonl", description = "Answer one JSON object a line: prompt or ids.")
  boolean jsonl;

  @Parameters(
      arity = "0..1",
      paramLabel = "PROMPT",
      description = "The text to continue; without it, standard input.")
  @Nullable String prompt;

  GenerateCommand(Io io) {
    super(io);
  }

  @Override
  public Integer call() throws IOException {
    checkJsonLines();
    options.noBos = noBos;
    checked(options::build);
    int drafted = draftTokens();
    String text = jsonl ? "" : argumentOrInput(prompt);
    try (Gemma gemma = model.load();
        Gemma draft = draftModel == null ? null : model.loadDraft(draftModel)) {
      options.draft = draft == null ? null : Speculation.draftModel(draft, drafted);
      options.adapter = model.adapter(gemma);
      GenerationOptions chosen = options.build();
      if (jsonl) {
        return io.jsonLines(
            request -> {
              Prompt asked = prompt(request, "prompt");
              GenerationOptions with = options.with(request);
              return GenerateOptions.json(gemma.generate(asked, with), with, gemma.tokenizer());
            });
      }
      if (json) {
        Generation generation = gemma.generate(Prompt.of(text), chosen);
        io.json(GenerateOptions.json(generation, chosen, gemma.tokenizer()));
        return status(generation);
      }
      try (TokenStream stream = gemma.stream(Prompt.of(text), chosen)) {
        stream.hasNext(); // fails with a prompt that is too long, which nobody needs to see then
        if (!options.raw) {
          io.out().print(text);
          io.flush();
        }
        int status = print(stream);
        if (!options.raw) {
          io.out().println();
        }
        io.flush();
        io.err().print(GenerateOptions.table(stream.result(), gemma.tokenizer()));
        io.err().flush();
        return status;
      }
    }
  }

  /** How many to guess at a time; what is wrong with it is said before any model is loaded. */
  private int draftTokens() {
    if (draftModel == null && draftTokens != null) {
      throw usage("--draft-tokens: there is no --draft");
    }
    if (draftModel != null && options.lookup != 0) {
      throw usage("expected one of --draft and --lookup");
    }
    int tokens = draftTokens == null ? 4 : draftTokens;
    try {
      GenerateOptions.lookup("--draft-tokens", tokens); // has the same limits
    } catch (IllegalArgumentException e) {
      throw usage(e.getMessage());
    }
    return tokens;
  }

  private static Prompt prompt(Request request, String key) {
    Set<String> keys = new HashSet<>(GenerateOptions.KEYS);
    keys.addAll(List.of(key, "ids", "noBos"));
    request.allow(keys);
    if (request.has(key) == request.has("ids")) {
      throw new IllegalArgumentException("expected either " + key + " or ids");
    }
    return request.has("ids") ? Prompt.ofIds(request.ids("ids")) : Prompt.of(request.text(key));
  }
}
