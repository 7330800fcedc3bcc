package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Typed access to the keys and values of a file, JSON or GGUF metadata. Integers are Long (or
 * BigInteger beyond it), other numbers Float or Double, and JSON's null is {@link #NULL}.
 */
record Values(String file, Map<String, Object> map) {
  static final Object NULL =
      new Object() {
        @Override
        public String toString() {
          return "null";
        }
      };

  /** Whether the key has a value other than null. */
  boolean has(String key) {
    return map.getOrDefault(key, NULL) != NULL;
  }

  int integer(String key, int fallback) throws MalformedFileException {
    return map.containsKey(key) ? integer(key) : fallback;
  }

  int integer(String key) throws MalformedFileException {
    return toInt(key, value(key, "an integer"));
  }

  private int toInt(String key, Object value) throws MalformedFileException {
    if (value instanceof Long number && number == (int) (long) number) {
      return (int) (long) number;
    }
    throw wrong(key, value, "an integer below 2147483648");
  }

  float number(String key, float fallback) throws MalformedFileException {
    return map.containsKey(key) ? number(key) : fallback;
  }

  float number(String key) throws MalformedFileException {
    Object value = value(key, "a number");
    if (value instanceof Number number) {
      return number.floatValue();
    }
    throw wrong(key, value, "a number");
  }

  boolean flag(String key, boolean fallback) throws MalformedFileException {
    if (!map.containsKey(key)) {
      return fallback;
    }
    Object value = value(key, "true or false");
    if (value instanceof Boolean flag) {
      return flag;
    }
    throw wrong(key, value, "true or false");
  }

  String string(String key) throws MalformedFileException {
    return string(key, value(key, "a text"));
  }

  private String string(String key, Object value) throws MalformedFileException {
    if (value instanceof String text) {
      return text;
    }
    throw wrong(key, value, "a text");
  }

  List<?> list(String key) throws MalformedFileException {
    Object value = value(key, "a list");
    if (value instanceof List<?> list) {
      return list;
    }
    throw wrong(key, value, "a list");
  }

  Values object(String key) throws MalformedFileException {
    return object(key, value(key, "an object"));
  }

  Values object(String key, Object value) throws MalformedFileException {
    if (!(value instanceof Map<?, ?> object)) {
      throw wrong(key, value, "an object");
    }
    @SuppressWarnings("unchecked") // Json makes no other maps
    Map<String, Object> members = (Map<String, Object>) object;
    return new Values(file, members);
  }

  /** A list of integers, which may also be written as one alone. */
  List<Integer> integers(String key) throws MalformedFileException {
    Object value = value(key, "an integer or a list of them");
    if (!(value instanceof List<?> list)) {
      return List.of(toInt(key, value));
    }
    List<Integer> result = new ArrayList<>();
    for (Object element : list) {
      result.add(toInt(key, element));
    }
    return result;
  }

  private Object value(String key, String expected) throws MalformedFileException {
    Object value = map.get(key);
    if (value == null) {
      throw new MalformedFileException(file, key, "nothing", expected);
    }
    return value;
  }

  MalformedFileException wrong(String key, Object value, String expected) {
    String found =
        switch (value) {
          case String text -> "\"" + text + "\"";
          case List<?> list -> "a list of " + list.size();
          case Map<?, ?> object -> "an object";
          default -> value.toString();
        };
    return new MalformedFileException(file, key, found, expected);
  }
}
