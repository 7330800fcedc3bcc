package dev.gemma4j.loader;

import java.util.AbstractMap;
import java.util.Collections;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The pairs of a GGUF file, unmodifiable, which remember the number of each value's type: a copy of
 * the file has the same, though all integers are Long here.
 */
final class GgufMetadata extends AbstractMap<String, Object> {
  private final Map<String, Object> values;
  private final Map<String, Integer> types;

  /** For those without a type the writer chooses one. */
  GgufMetadata(Map<String, Object> values, Map<String, Integer> types) {
    this.values = Collections.unmodifiableMap(values);
    this.types = types;
  }

  Map<String, Integer> types() {
    return types;
  }

  @Override
  public Set<Entry<String, Object>> entrySet() {
    return values.entrySet();
  }

  @Override
  public boolean containsKey(@Nullable Object key) {
    return values.containsKey(key);
  }

  @Override
  public @Nullable Object get(@Nullable Object key) {
    return values.get(key);
  }
}
