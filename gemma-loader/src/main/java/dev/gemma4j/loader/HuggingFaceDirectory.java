package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import dev.gemma4j.tokenizer.Tokenizer;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/** Reads a directory as Hugging Face's transformers save it. */
final class HuggingFaceDirectory {
  static final String CONFIG = "config.json";
  private static final String SINGLE = "model.safetensors";
  private static final String INDEX = "model.safetensors.index.json";
  private static final String TOKENIZER_CONFIG = "tokenizer_config.json";
  private static final String EOS = "eos_token_id";

  private final Path directory;
  private final Arena arena;

  HuggingFaceDirectory(Path directory, Arena arena) {
    this.directory = directory;
    this.arena = arena;
  }

  /** The directory that a file lies in. */
  static HuggingFaceDirectory of(Path file, Arena arena) {
    return new HuggingFaceDirectory(
        file.getParent() == null ? Path.of("") : file.getParent(), arena);
  }

  Path config() {
    return directory.resolve(CONFIG);
  }

  /** Reads the weights that go by the usual names. */
  Contents read() throws IOException {
    Values config = Json.read(directory.resolve(CONFIG));
    GemmaConfig gemma = HuggingFaceConfig.read(config); // the likeliest trouble first
    Path single = directory.resolve(SINGLE);
    if (Files.exists(single)) {
      return contents(config, gemma, single, SafetensorsReader.read(single, arena));
    }
    Path index = directory.resolve(INDEX);
    if (Files.exists(index)) {
      return contents(config, gemma, index, shards(Json.read(index)));
    }
    List<Path> checkpoints = InputFile.withExtension(directory, ".ckpt");
    if (checkpoints.size() == 1) {
      return TorchModel.read(checkpoints.getFirst(), arena);
    }
    throw new MalformedFileException(
        directory.toString(),
        "weights",
        "no .safetensors of that name, " + checkpoints.size() + " .ckpt",
        SINGLE + " or " + INDEX + ", or one .ckpt file");
  }

  /** Reads the weights from one file, the rest from the directory. */
  Contents read(Path weights) throws IOException {
    Values config = Json.read(directory.resolve(CONFIG));
    return contents(
        config, HuggingFaceConfig.read(config), weights, SafetensorsReader.read(weights, arena));
  }

  private Contents contents(Values config, GemmaConfig gemma, Path file, TensorFile weights)
      throws IOException {
    return contents(config, gemma, file, weights, UnaryOperator.identity());
  }

  /**
   * The model of these weights with the directory's other files.
   *
   * @param config has the ids that end a text, unless other files do
   */
  Contents contents(
      Values config,
      GemmaConfig gemma,
      Path file,
      TensorFile weights,
      UnaryOperator<String> fileName)
      throws IOException {
    Tokenizer tokenizer = tokenizer();
    return new Contents(
        directory.toString(),
        file.toString(),
        gemma,
        weights.tensors(),
        weights.unreadable(),
        fileName,
        false,
        tokenizer,
        eosIds(config, tokenizer, gemma.vocabSize()),
        chatTemplate(),
        Collections.unmodifiableMap(weights.metadata()));
  }

  private TensorFile shards(Values index) throws IOException {
    Values names = index.object("weight_map");
    Map<String, TensorFile> shards = new HashMap<>();
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    Map<String, String> unreadable = new LinkedHashMap<>();
    Map<String, Object> metadata = new LinkedHashMap<>();
    for (String name : names.map().keySet()) {
      String file = names.string(name);
      TensorFile shard = shards.get(file);
      if (shard == null) {
        shard = SafetensorsReader.read(shardPath(index.file(), name, file), arena);
        shards.put(file, shard);
        metadata.putAll(shard.metadata());
      }
      Tensor tensor = shard.tensors().get(name);
      String type = shard.unreadable().get(name);
      if (tensor != null) {
        tensors.put(name, tensor);
      } else if (type != null) {
        unreadable.put(name, type);
      } else {
        throw new MalformedFileException(
            index.file(), "weight_map." + name, file + ", which lacks it", "the file that has it");
      }
    }
    return new TensorFile(tensors, unreadable, metadata);
  }

  private Path shardPath(String index, String name, String file) throws MalformedFileException {
    // Nothing but a plain name: the index must not lead out of the directory.
    if (!file.matches("[A-Za-z0-9_][A-Za-z0-9._-]*\\.safetensors")) {
      throw new MalformedFileException(
          index, "weight_map." + name, file, "the name of a .safetensors file beside the index");
    }
    Path path = directory.resolve(file);
    if (!Files.exists(path)) {
      throw new MalformedFileException(
          path.toString(), "file", "nothing", "the shard that " + INDEX + " names");
    }
    return path;
  }

  private @Nullable Tokenizer tokenizer() throws IOException {
    Path model = directory.resolve("tokenizer.model");
    Path json = directory.resolve("tokenizer.json");
    if (Files.exists(model)) {
      return withBos(AddedTokens.addTo(Tokenizer.load(model), directory));
    }
    return Files.exists(json) ? withBos(TokenizerJson.read(json)) : null;
  }

  /** A fine-tune may begin its texts with another token or none, and transformers do so too. */
  private Tokenizer withBos(Tokenizer tokenizer) throws IOException {
    Path file = directory.resolve(TOKENIZER_CONFIG);
    String key = "bos_token";
    Values values = Files.exists(file) ? Json.read(file) : new Values(file.toString(), Map.of());
    int id = values.has(key) ? bosId(values, key, tokenizer) : tokenizer.bosId();
    boolean add = !values.has("add_bos_token") || values.flag("add_bos_token", true);
    return id == tokenizer.bosId() && add
        ? tokenizer
        : Tokenizer.of(tokenizer.vocabulary().withBos(id, add), file.toString());
  }

  private static int bosId(Values values, String key, Tokenizer tokenizer)
      throws MalformedFileException {
    boolean isText = values.map().get(key) instanceof String;
    String token = isText ? values.string(key) : values.object(key).string("content");
    int escaped = tokenizer.idOf(AddedTokens.escape(token));
    int id = escaped >= 0 ? escaped : tokenizer.idOf(token);
    if (id < 0) {
      throw values.wrong(key, token, "one of the " + tokenizer.vocabSize() + " tokens");
    }
    return id;
  }

  private List<Integer> eosIds(Values config, @Nullable Tokenizer tokenizer, int vocabSize)
      throws IOException {
    Path generation = directory.resolve("generation_config.json");
    if (Files.exists(generation)) {
      Values values = Json.read(generation);
      if (values.has(EOS)) {
        return eosIds(values, vocabSize);
      }
    }
    if (config.has(EOS)) {
      return eosIds(config, vocabSize);
    }
    return tokenizer == null || tokenizer.eosId() < 0 ? List.of() : List.of(tokenizer.eosId());
  }

  private static List<Integer> eosIds(Values values, int vocabSize) throws MalformedFileException {
    List<Integer> ids = values.integers(EOS);
    for (int id : ids) {
      if (id < 0 || id >= vocabSize) {
        throw values.wrong(EOS, id, "0 to " + (vocabSize - 1));
      }
    }
    return ids;
  }

  private @Nullable String chatTemplate() throws IOException {
    Path file = directory.resolve("chat_template.jinja");
    if (Files.exists(file) && Files.size(file) > 0) { // an empty one says nothing
      return new String(InputFile.readText(file), StandardCharsets.UTF_8);
    }
    Path tokenizerConfig = directory.resolve(TOKENIZER_CONFIG);
    String key = "chat_template";
    if (!Files.exists(tokenizerConfig)) {
      return null;
    }
    Values values = Json.read(tokenizerConfig);
    if (!values.has(key)) {
      return null;
    }
    if (!(values.map().get(key) instanceof List<?> templates)) {
      return values.string(key);
    }
    for (Object template : templates) {
      Values named = values.object(key, template);
      if (named.string("name").equals("default")) {
        return named.string("template");
      }
    }
    return null;
  }
}
