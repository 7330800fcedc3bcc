package dev.gemma4j.examples;

import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@CommandLine.Command(name = "tokenize", description = "Show the tokens of a text.")
final class TokenizeCommand extends Command {
  @Mixin ModelOptions model = new ModelOptions();

  @Option(names = "--bos", description = "Begin with the beginning-of-text token.")
  boolean bos;

  @Option(names = "--json", description = "Print one JSON object.")
  boolean json;

  @Option(names = "--jsonl", description = "Answer one JSON object a line: text.")
  boolean jsonl;

  @Parameters(
      arity = "0..1",
      paramLabel = "TEXT",
      description = "The text; without it, standard input.")
  @Nullable String text;

  TokenizeCommand(Io io) {
    super(io);
  }

  @Override
  public Integer call() throws IOException {
    checkJsonLines();
    String whole = jsonl ? "" : argumentOrInput(text);
    Tokenizer tokenizer = model.tokenizer();
    if (jsonl) {
      return io.jsonLines(
          request -> {
            request.allow(Set.of("text"));
            return json(tokenizer, request.text("text"));
          });
    }
    if (json) {
      io.json(json(tokenizer, whole));
    } else {
      for (int id : ids(tokenizer, whole)) {
        io.out().println(id + "\t" + Io.visible(tokenizer.piece(id)));
      }
    }
    return 0;
  }

  private int[] ids(Tokenizer tokenizer, String input) {
    IntStream ids = IntStream.of(tokenizer.encode(input));
    return (bos ? IntStream.concat(IntStream.of(tokenizer.bosId()), ids) : ids).toArray();
  }

  private Map<String, Object> json(Tokenizer tokenizer, String input) {
    int[] ids = ids(tokenizer, input);
    List<String> pieces = new ArrayList<>();
    for (int id : ids) {
      pieces.add(tokenizer.piece(id));
    }
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("ids", ids);
    json.put("pieces", pieces);
    json.put("decoded", tokenizer.decode(ids));
    return json;
  }
}
