package dev.gemma4j.examples.server;

import dev.gemma4j.Gemma;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.examples.DemoModel;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.channels.UnresolvedAddressException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Starts the server from the command line. */
@Command(
    name = "openai-server",
    mixinStandardHelpOptions = true,
    showDefaultValues = true,
    description = "Serves a Gemma model to clients of OpenAI's API. Key: GEMMA_API_KEY.")
final class Main implements Callable<Integer> {
  @Spec @Nullable CommandSpec spec;

  @Option(names = "--model", description = "A model's directory or file; else the demo model.")
  @Nullable Path model;

  @Option(
      names = "--adapter",
      paramLabel = "NAME=DIR",
      description = "A LoRA adapter (PEFT) to serve as model NAME too; repeatable.")
  List<String> adapters = new ArrayList<>();

  @Option(names = "--host", defaultValue = "127.0.0.1")
  String host = "";

  @Option(names = "--port", defaultValue = "8080")
  int port;

  @Option(names = "--max-concurrent", defaultValue = "8", description = "Then 429.")
  int maxConcurrent;

  @Option(
      names = "--kv-memory",
      defaultValue = "0",
      description = "Bytes for keys and values of all requests; 0: half of the heap's limit.")
  long kvMemory;

  @Option(
      names = "--kv-wait",
      defaultValue = "30",
      description = "Seconds to wait for room for keys and values; then 503.")
  int kvWait;

  @Option(names = "--max-tokens", defaultValue = "1024", description = "Of one request.")
  int maxTokens;

  @Option(names = "--max-body", defaultValue = "1048576", description = "Bytes.")
  int maxBody;

  @Option(names = "--timeout", defaultValue = "300", description = "Seconds.")
  int timeout;

  @Option(names = "--drain", defaultValue = "30", description = "Seconds.")
  int drain;

  @Option(names = "--allow-origin", description = "Of the pages of another site that may call.")
  @Nullable String allowOrigin;

  @Option(
      names = "--allow-host",
      paramLabel = "NAME",
      description = "A name of this server, for use without a key; repeatable.")
  List<String> allowHosts = new ArrayList<>();

  @Option(
      names = "--read-timeout",
      defaultValue = "30",
      description = "Seconds for a request to arrive; then its connection is closed.")
  int readTimeout;

  @Option(
      names = "--max-connections",
      defaultValue = "500",
      description = "More are closed at once. Keep it below the limit of open files (ulimit -n).")
  int maxConnections;

  /** Runs until the process is asked to end. */
  public static void main(String[] args) {
    System.exit(execute(new PrintWriter(System.err, true), args));
  }

  /**
   * Runs; what is wrong is told in one line.
   *
   * @return the exit status: 1 bad model, adapter or address, 2 wrong usage
   */
  static int execute(PrintWriter err, String... args) {
    CommandLine line = new CommandLine(new Main());
    line.setParameterExceptionHandler(
        (e, a) -> {
          err.println("openai-server: " + message(e) + "; see --help");
          return 2;
        });
    line.setExecutionExceptionHandler(
        (e, command, result) -> {
          boolean known =
              e instanceof IOException
                  || e instanceof UncheckedIOException
                  || e instanceof IllegalArgumentException
                  || e instanceof IllegalStateException;
          if (!known) {
            throw e; // a defect of ours
          }
          err.println("openai-server: " + message(e));
          return 1;
        });
    return line.execute(args);
  }

  private static String message(Exception e) {
    String message = e.getMessage();
    return message == null ? e.getClass().getSimpleName() : message.replace('\n', ' ');
  }

  /** Checks the numbers, of which each could otherwise make a server that answers nobody. */
  private void check() {
    within("--port", port, 0, 65535);
    within("--max-concurrent", maxConcurrent, 1, Integer.MAX_VALUE);
    within("--kv-memory", kvMemory, 0, Long.MAX_VALUE);
    within("--kv-wait", kvWait, 0, Integer.MAX_VALUE);
    within("--max-tokens", maxTokens, 1, Integer.MAX_VALUE);
    within("--max-body", maxBody, 1, 1 << 30);
    within("--timeout", timeout, 1, Integer.MAX_VALUE);
    within("--drain", drain, 0, Integer.MAX_VALUE);
    within("--read-timeout", readTimeout, 1, Integer.MAX_VALUE);
    within("--max-connections", maxConnections, 1, Integer.MAX_VALUE);
  }

  private void within(String option, long found, long low, long high) {
    if (found < low || found > high) {
      throw wrong(option, Long.toString(found), "a number in [" + low + ", " + high + "]");
    }
  }

  /** The settings of the JDK's server, which reads them once. */
  private void configure() {
    // Else small events wait for acknowledgements.
    System.setProperty("sun.net.httpserver.nodelay", "true");
    System.setProperty("sun.net.httpserver.maxReqTime", Integer.toString(readTimeout));
    // For answers that --timeout knows nothing of, as the page, and that a client does not read.
    System.setProperty("sun.net.httpserver.maxRspTime", Long.toString(timeout + 5L));
    System.setProperty("jdk.httpserver.maxConnections", Integer.toString(maxConnections));
    // What is read of a body that is refused. A client that still sends when the connection
    // closes does not see the answer.
    System.setProperty("sun.net.httpserver.drainAmount", Integer.toString(32 << 20));
  }

  @Override
  public Integer call() throws IOException, InterruptedException {
    check();
    configure();
    String key = key(System.getenv("GEMMA_API_KEY"));
    Path path = model;
    String name = path == null ? "gemma-demo" : String.valueOf(path.getFileName());
    Map<String, Path> directories = directories(name);
    ServerOptions options =
        new ServerOptions(
            host,
            port,
            name,
            key,
            allowOrigin,
            allowHosts.stream().map(each -> each.toLowerCase(Locale.ROOT)).toList(),
            maxBody,
            maxConcurrent,
            maxTokens,
            Duration.ofSeconds(timeout),
            Duration.ofSeconds(drain));
    LoadOptions load =
        LoadOptions.defaults().withKvMemory(kvMemory).withKvWait(Duration.ofSeconds(kvWait));
    Gemma gemma = path == null ? DemoModel.load(load) : Gemma.load(path, load);
    Map<String, LoraAdapter> loaded = new LinkedHashMap<>();
    for (Map.Entry<String, Path> each : directories.entrySet()) {
      loaded.put(each.getKey(), gemma.loadAdapter(each.getValue()));
    }
    OpenAiServer server = start(gemma, loaded, options);
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  server.close();
                  gemma.close();
                }));
    String names = String.join(", ", loaded.keySet());
    System.err.println(
        "Serving "
            + name
            + (names.isEmpty() ? "" : ", " + names)
            + " at http://"
            + host
            + ":"
            + server.port()
            + "/");
    new CountDownLatch(1).await();
    return 0;
  }

  /** Without the space around it, which clients cannot send. */
  @Nullable String key(@Nullable String given) {
    if (given == null) {
      return null;
    }
    String key = given.strip();
    if (key.isEmpty()) {
      throw wrong("GEMMA_API_KEY", "an empty key", "a key, or none set");
    }
    if (!key.matches("[!-~]+")) {
      throw wrong("GEMMA_API_KEY", "a key that clients cannot send", "visible ASCII characters");
    }
    return key;
  }

  private static OpenAiServer start(
      Gemma gemma, Map<String, LoraAdapter> loaded, ServerOptions options) throws IOException {
    try {
      return OpenAiServer.start(gemma, loaded, options);
    } catch (IOException | UnresolvedAddressException e) { // which do not say where
      String where = options.host() + ":" + options.port();
      throw new IOException("cannot listen on " + where + ": " + message(e), e);
    }
  }

  /** The adapters' directories by their names, of which each must be another. */
  Map<String, Path> directories(String ofModel) {
    Map<String, Path> directories = new LinkedHashMap<>();
    for (String adapter : adapters) {
      int equals = adapter.indexOf('=');
      if (equals < 1 || equals == adapter.length() - 1) {
        throw wrong("--adapter", adapter, "NAME=DIR");
      }
      String name = adapter.substring(0, equals);
      if (name.equals(ofModel) || directories.containsKey(name)) {
        throw wrong("--adapter", adapter, "a name that nothing else has");
      }
      directories.put(name, Path.of(adapter.substring(equals + 1)));
    }
    return directories;
  }

  private ParameterException wrong(String option, String found, String expected) {
    CommandSpec own = Objects.requireNonNull(spec);
    return new ParameterException(
        own.commandLine(), option + ": found " + found + ", expected " + expected);
  }
}
