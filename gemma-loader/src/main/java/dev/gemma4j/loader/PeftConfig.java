package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * Reads adapter_config.json of PEFT, and refuses what is not plain LoRA, with or without rank
 * stabilisation.
 */
final class PeftConfig {
  /** What makes another computation of it, unless it is null, false or empty. */
  private static final List<String> VARIANTS =
      List.of(
          "use_dora",
          "use_qalora",
          "use_bdlora",
          "lora_bias",
          "modules_to_save",
          "trainable_token_indices",
          "target_parameters",
          "layer_replication",
          "alora_invocation_tokens",
          "arrow_config",
          "kasa_config",
          "monteclora_config");

  /** How A and B may have begun; all other ways change the base model too. */
  private static final Set<String> INITIAL = Set.of("gaussian", "eva", "orthogonal");

  /** Far beyond any adapter. */
  private static final int MAX_RANK = 1 << 14;

  private final Values values;
  private final Map<String, Object> ranks;
  private final Map<String, Object> alphas;
  private final boolean rankStabilised;
  private final @Nullable List<?> targets;

  private PeftConfig(Values values) throws MalformedFileException {
    this.values = values;
    refuseOthers();
    ranks = pattern("rank_pattern");
    alphas = pattern("alpha_pattern");
    rankStabilised = values.flag("use_rslora", false);
    targets = targets();
  }

  static PeftConfig read(Path file) throws IOException {
    return new PeftConfig(Json.read(file));
  }

  private void refuseOthers() throws MalformedFileException {
    if (!values.string("peft_type").equals("LORA")) {
      throw values.wrong("peft_type", values.string("peft_type"), "\"LORA\"");
    }
    if (values.has("task_type") && !values.string("task_type").equals("CAUSAL_LM")) {
      throw values.wrong("task_type", values.string("task_type"), "\"CAUSAL_LM\"");
    }
    if (values.has("bias") && !values.string("bias").equals("none")) {
      throw values.wrong("bias", values.string("bias"), "\"none\"");
    }
    for (String key : VARIANTS) {
      Object value = values.map().getOrDefault(key, Values.NULL);
      if (value != Values.NULL
          && !value.equals(false)
          && !value.equals(List.of())
          && !value.equals(Map.of())) {
        throw values.wrong(key, value, "none: plain LoRA alone is supported, and rsLoRA");
      }
    }
    if (values.flag("fan_in_fan_out", false)) {
      throw values.wrong("fan_in_fan_out", true, "false: Gemma's layers are no Conv1D");
    }
    Object initial = values.map().getOrDefault("init_lora_weights", true);
    if (!(initial instanceof Boolean) && !(initial instanceof String s && INITIAL.contains(s))) {
      throw values.wrong(
          "init_lora_weights",
          initial,
          "true, false or one of "
              + INITIAL.stream().sorted().toList()
              + ": others change the base model");
    }
  }

  /** Names of modules, or their ends after a dot, in the order of precedence. */
  private Map<String, Object> pattern(String key) throws MalformedFileException {
    if (!values.has(key)) {
      return Map.of();
    }
    Map<String, Object> pattern = values.object(key).map();
    for (String name : pattern.keySet()) {
      // PEFT takes them for regular expressions, which a file that is not trusted must not bring.
      if (!name.matches("\\^?[A-Za-z0-9_.]+")) {
        throw new MalformedFileException(
            values.file(), key, "\"" + name + "\"", "the name of a module");
      }
    }
    return pattern;
  }

  private static boolean names(String name, String module) {
    return name.startsWith("^")
        ? module.equals(name.substring(1))
        : module.equals(name) || module.endsWith("." + name);
  }

  /** A value and the name under which it stands in the file. */
  private record Place(Values values, String key) {}

  /** Where a module's value stands: the first in a pattern that names it, else the general one. */
  private Place place(String pattern, Map<String, Object> byName, String key, String module) {
    for (Map.Entry<String, Object> entry : byName.entrySet()) {
      if (names(entry.getKey(), module)) {
        String name = pattern + "." + entry.getKey();
        return new Place(new Values(values.file(), Map.of(name, entry.getValue())), name);
      }
    }
    return new Place(values, key);
  }

  /** The rows of A and columns of B. */
  int rank(String module) throws MalformedFileException {
    Place place = place("rank_pattern", ranks, "r", module);
    int rank = place.values.integer(place.key);
    if (rank < 1 || rank > MAX_RANK) {
      throw place.values.wrong(place.key, rank, "from 1 to " + MAX_RANK);
    }
    return rank;
  }

  /** What BA is multiplied by. */
  float scale(String module) throws MalformedFileException {
    Place place = place("alpha_pattern", alphas, "lora_alpha", module);
    float alpha = place.values.number(place.key);
    if (!Float.isFinite(alpha)) {
      throw place.values.wrong(place.key, alpha, "a finite number");
    }
    int rank = rank(module);
    return (float) (alpha / (rankStabilised ? Math.sqrt(rank) : rank));
  }

  /**
   * Which modules are adapted; null where an expression says so, which is not evaluated, for the
   * reason above.
   */
  private @Nullable List<?> targets() throws MalformedFileException {
    if (values.has("exclude_modules")
        || !(values.map().get("target_modules") instanceof List<?> list)) {
      return null;
    }
    if (values.has("layers_to_transform")) {
      Object pattern = values.map().getOrDefault("layers_pattern", Values.NULL);
      if (pattern != Values.NULL
          && !pattern.equals("layers")
          && !pattern.equals(List.of())
          && !pattern.equals(List.of("layers"))) {
        return null;
      }
    }
    return list;
  }

  /** Whether a module is adapted, as far as the file says so by name; else no answer. */
  @Nullable Boolean adapts(String module) throws MalformedFileException {
    if (targets == null) {
      return null;
    }
    if (targets.contains(module)) {
      return true;
    }
    Predicate<Object> ends = target -> target instanceof String s && module.endsWith("." + s);
    if (targets.stream().noneMatch(ends)) {
      return false;
    }
    List<Integer> layers =
        values.has("layers_to_transform") ? values.integers("layers_to_transform") : List.of();
    return layers.isEmpty()
        || layers.stream().anyMatch(layer -> module.startsWith("model.layers." + layer + "."));
  }
}
