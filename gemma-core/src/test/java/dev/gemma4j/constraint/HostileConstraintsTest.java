package dev.gemma4j.constraint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.fail;

import com.fasterxml.jackson.core.JsonFactory;
import java.lang.reflect.Method;
import java.net.URL;
import java.net.URLClassLoader;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CancellationException;
import java.util.function.IntFunction;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What a client may send ends in a constraint or its refusal, whatever it is. */
class HostileConstraintsTest {
  private static String join(int count, IntFunction<String> part) {
    return IntStream.range(0, count).mapToObj(part).collect(Collectors.joining(","));
  }

  private static String defs(int count, IntFunction<String> schema) {
    return "'$defs':{" + join(count, i -> "'d" + i + "':" + schema.apply(i)) + "}";
  }

  private static String ref(int number) {
    return "{'$ref':'#/$defs/d" + number + "'}";
  }

  static List<String> schemas() {
    return List.of(
        "{'type':'string','pattern':'" + "(".repeat(100_000) + "'}",
        "{'type':'string','pattern':'" + "()".repeat(20_000) + "'}",
        "{'type':'string','pattern':'((((a?){1000}){1000}){1000}){1000}'}",
        "{'type':'string','pattern':'" + "(".repeat(100) + "a" + "){1000}".repeat(100) + "'}",
        "{'type':'string','pattern':'" + "[ab]*a[ab]{999}|".repeat(30) + "'}",
        "{'type':'string','pattern':'" + ".".repeat(500_000) + "'}", // 60 states each
        // Conditions that make many states together.
        "{'type':'string','maxLength':100000,'pattern':'[ab]*a[ab]{999}'}",
        "{'type':'string','pattern':'^" + "(?=a)".repeat(100_000) + "$'}",
        "{'type':'string','allOf':["
            + join(30, i -> "{'pattern':'" + (char) ('a' + i % 26) + ".{" + i + "}'}")
            + "]}",
        "{'type':'string','format':'email','maxLength':200,'pattern':'[a-z]*[aeiou][a-z]{30}'}",
        "{'propertyNames':{'$ref':'#/$defs/d0'},"
            + defs(20_000, i -> "{'anyOf':[" + ref((i + 1) % 20_000) + "," + ref(i) + "]}")
            + "}",
        "{'items':".repeat(100_000),
        "{'anyOf':[".repeat(49) + "{}" + "]}".repeat(49),
        "{'enum':[" + join(6000, i -> "'v" + i + "'") + "]}",
        "{'enum':[" + join(60_000, i -> "" + i * 7919L) + "]}",
        "{'enum':[1e999999999,10e999999998,1e-999999999],'type':'integer'}",
        "{'anyOf':[" + join(6000, i -> "{'type':'null'}") + "]}",
        "{'type':['string'" + ",'string'".repeat(50_000) + "]}",
        // Chains of references, straight on and in a ring.
        "{'$ref':'#/$defs/d0'," + defs(20_000, i -> i == 19_999 ? "{}" : ref(i + 1)) + "}",
        "{'$ref':'#/$defs/d0'," + defs(2000, i -> ref((i + 1) % 2000)) + "}",
        "{'anyOf':["
            + join(2000, i -> ref(1999 - i))
            + "],"
            + defs(2000, i -> i == 1999 ? "{}" : ref(i + 1))
            + "}",
        // Branches to compare that double at each level.
        "{'oneOf':["
            + ref(0)
            + ","
            + ref(1)
            + "],"
            + defs(
                62,
                i ->
                    i < 60
                        ? "{'anyOf':[" + join(20, j -> ref(i + 2)) + "]}"
                        : "{'type':'" + (i == 60 ? "null" : "string") + "'}")
            + "}",
        "{'oneOf':["
            + join(15, i -> ref(i))
            + "],"
            + defs(
                15,
                i ->
                    "{'type':'object','required':["
                        + join(50, j -> "'p" + j + "'")
                        + "],'properties':{"
                        + join(50, j -> "'p" + j + "':" + ref(i))
                        + "}}")
            + "}",
        "{'oneOf':[" + join(5000, i -> "{'const':" + i + "}") + "]}",
        "{'type':'object','properties':{" + join(20_000, i -> "'p" + i + "':true") + "}}",
        "{'type':'object','properties':{"
            + join(
                300,
                i ->
                    "'p"
                        + i
                        + "':{'type':'number','minimum':"
                        + "18".repeat(50)
                        + ",'maximum':"
                        + "81".repeat(50)
                        + "}")
            + "}}",
        "{'type':'number','minimum':-1e999999999,'exclusiveMaximum':1e-999999999}");
  }

  @ParameterizedTest
  @MethodSource("schemas")
  void schemasAreCompiledOrRefused(String schema) {
    try {
      walk(Constraints.jsonSchema(schema.replace('\'', '"')));
    } catch (IllegalArgumentException e) {
      assertThat(e.getMessage()).isNotBlank();
    } catch (IllegalStateException e) { // while a text is read
      assertThat(e).hasMessageContaining("too ambiguous");
    }
  }

  /** From every state a text can end, so a state is never without a way on. */
  static void walk(Constraint constraint) {
    Random random = new Random(1);
    for (int i = 0; i < 3; i++) {
      Constraint.State state = constraint.start();
      for (int step = 0; step < 100; step++) {
        List<Constraint.State> next = new ArrayList<>();
        for (int b = 0; b < 256; b++) {
          Constraint.State reached = state.next(b);
          if (reached != null) {
            next.add(reached);
          }
        }
        if (next.isEmpty()) {
          assertThat(state.isAccepting()).isTrue();
          break;
        }
        state = next.get(random.nextInt(next.size()));
      }
    }
  }

  static List<ThrowingCallable> compilations() {
    return List.of(
        () -> Constraints.regex("a".repeat(1000)),
        () -> Constraints.choice("yes", "no"),
        () -> Constraints.jsonSchema("{\"type\":\"null\"}"));
  }

  @ParameterizedTest
  @MethodSource("compilations")
  void anInterruptEndsACompilation(ThrowingCallable compilation) {
    Thread.currentThread().interrupt();
    try {
      assertThatThrownBy(compilation).isInstanceOf(CancellationException.class);
    } finally {
      assertThat(Thread.interrupted()).isTrue();
    }
  }

  /** A class that an interrupt keeps from being initialized would be lost to the JVM. */
  @Test
  void anInterruptOfTheFirstCompilationSpoilsNone() throws Exception {
    URL[] urls = {location(Constraints.class), location(JsonFactory.class)};
    try (URLClassLoader fresh = new URLClassLoader(urls, ClassLoader.getPlatformClassLoader())) {
      Method compile =
          fresh.loadClass(Constraints.class.getName()).getMethod("jsonSchema", String.class);
      String schema = "{\"type\":\"string\",\"format\":\"date\"}";
      Thread.currentThread().interrupt();
      try {
        assertThatThrownBy(() -> compile.invoke(null, schema))
            .hasCauseInstanceOf(CancellationException.class);
      } finally {
        assertThat(Thread.interrupted()).isTrue();
      }
      assertThat(compile.invoke(null, schema)).isNotNull();
    }
  }

  private static URL location(Class<?> type) {
    return type.getProtectionDomain().getCodeSource().getLocation();
  }

  static List<Integer> seeds() {
    return IntStream.range(0, 10).boxed().toList();
  }

  /** Syntax at random, much of it wrong, some of it deep. */
  @ParameterizedTest
  @MethodSource("seeds")
  void randomPatternsAreCompiledOrRefused(int seed) {
    Random random = new Random(seed);
    String[] parts = {
      "(",
      ")",
      "(?:",
      "(?=",
      "(?!",
      "[",
      "]",
      "[^",
      "-",
      "a",
      "b",
      "\\d",
      "\\",
      ".",
      "|",
      "*",
      "+",
      "?",
      "{3}",
      "{0,1000}",
      "{1000}",
      "{2,}",
      "^",
      "$",
      "é",
      "😀",
      "\ud800",
      "&&",
      "\\x41",
      "\\u0000",
      ","
    };
    int compiled = 0;
    for (int i = 0; i < 1000; i++) {
      StringBuilder pattern = new StringBuilder();
      for (int j = random.nextInt(12); j >= 0; j--) {
        pattern.append(parts[random.nextInt(parts.length)]);
      }
      try {
        walk(Constraints.regex(pattern.toString()));
        compiled++;
      } catch (IllegalArgumentException e) {
        assertThat(e.getMessage()).isNotBlank();
      } catch (IllegalStateException e) { // while it is read
        assertThat(e).hasMessageContaining("too ambiguous");
      } catch (RuntimeException | StackOverflowError e) {
        fail("/" + pattern + "/", e);
      }
    }
    assertThat(compiled).isGreaterThan(50);
  }
}
