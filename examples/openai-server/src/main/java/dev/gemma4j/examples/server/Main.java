package dev.gemma4j.examples.server;

import dev.gemma4j.Gemma;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.examples.DemoModel;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** Starts the server from the command line. */
@Command(
    name = "openai-server",
    mixinStandardHelpOptions = true,
    showDefaultValues = true,
    description = "Serves a Gemma model to clients of OpenAI's API. Key: GEMMA_API_KEY.")
final class Main implements Callable<Integer> {
  @Option(names = "--model", description = "A model's directory or file; else the demo model.")
  @Nullable Path model;

  @Option(names = "--host", defaultValue = "127.0.0.1")
  String host = "";

  @Option(names = "--port", defaultValue = "8080")
  int port;

  @Option(names = "--max-concurrent", defaultValue = "8", description = "Then 429.")
  int maxConcurrent;

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

  /** Runs until the process is asked to end. */
  public static void main(String[] args) {
    // Read once by the JDK's server; else small events wait for acknowledgements.
    System.setProperty("sun.net.httpserver.nodelay", "true");
    System.exit(new CommandLine(new Main()).execute(args));
  }

  @Override
  public Integer call() throws IOException, InterruptedException {
    Path path = model;
    String name = path == null ? "gemma-demo" : String.valueOf(path.getFileName());
    ServerOptions options =
        new ServerOptions(
            host,
            port,
            name,
            System.getenv("GEMMA_API_KEY"),
            allowOrigin,
            maxBody,
            maxConcurrent,
            maxTokens,
            Duration.ofSeconds(timeout),
            Duration.ofSeconds(drain));
    LoadOptions load = LoadOptions.defaults();
    Gemma gemma = path == null ? DemoModel.load(load) : Gemma.load(path, load);
    OpenAiServer server = OpenAiServer.start(gemma, options);
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  server.close();
                  gemma.close();
                }));
    System.err.println("Serving " + name + " at http://" + host + ":" + server.port() + "/");
    new CountDownLatch(1).await();
    return 0;
  }
}
