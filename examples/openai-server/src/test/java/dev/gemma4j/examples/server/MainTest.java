package dev.gemma4j.examples.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;

@Timeout(60)
class MainTest {
  /** One line of what went wrong. */
  private static String failing(int status, String... args) {
    StringWriter err = new StringWriter();
    assertThat(Main.execute(new PrintWriter(err), args)).as(err.toString()).isEqualTo(status);
    assertThat(err.toString()).startsWith("openai-server: ").containsOnlyOnce("\n");
    return err.toString();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "--port=65536",
        "--max-concurrent=0",
        "--max-concurrent=-1",
        "--kv-memory=-1",
        "--kv-wait=-1",
        "--max-tokens=0",
        "--max-body=2147483647",
        "--max-body=-1",
        "--timeout=0",
        "--drain=-1",
        "--read-timeout=0",
        "--max-connections=0",
        "--timeout=soon",
      })
  void anOptionThatMakesNoServerIsRefused(String option) {
    assertThat(failing(2, option)).contains(option.split("=")[0]);
  }

  @Test
  void whatCannotBeLoadedOrListenedToIsToldInALine() throws IOException {
    assertThat(failing(1, "--model", "/no/such/model")).contains("/no/such/model");
    try (ServerSocket busy = new ServerSocket(0, 1, InetAddress.getByName("127.0.0.1"))) {
      assertThat(failing(1, "--port", Integer.toString(busy.getLocalPort())))
          .contains("cannot listen on 127.0.0.1:" + busy.getLocalPort());
    }
  }

  @Test
  void adaptersAreNamedOnTheCommandLine() {
    Main main = new Main();
    CommandLine line = new CommandLine(main);
    line.parseArgs("--adapter", "law=a/b=c", "--adapter", "tales=d");
    assertThat(main.directories("base"))
        .containsExactly(Map.entry("law", Path.of("a/b=c")), Map.entry("tales", Path.of("d")));
    for (String second : List.of("law=x", "base=x", "x", "=x", "x=")) {
      line.parseArgs("--adapter", "law=a", "--adapter", second);
      assertThatThrownBy(() -> main.directories("base"))
          .isInstanceOf(CommandLine.ParameterException.class)
          .hasMessageContaining("--adapter: found " + second + ", expected ");
    }
  }

  @Test
  void aKeyIsWhatAClientCanSend() {
    Main main = new Main();
    new CommandLine(main);
    assertThat(main.key(" s3cret\n")).isEqualTo("s3cret");
    assertThat(main.key(null)).isNull();
    for (String none : List.of("two words", "schl\u00fcssel", "a\tb")) {
      assertThatThrownBy(() -> main.key(none))
          .isInstanceOf(CommandLine.ParameterException.class)
          .hasMessageContaining("GEMMA_API_KEY");
    }
  }

  /** In a process of its own: the JDK's server reads its settings once. */
  private static ProcessBuilder server(String... args) {
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-cp",
                System.getProperty("java.class.path"),
                Main.class.getName()));
    command.addAll(List.of(args));
    return new ProcessBuilder(command).redirectErrorStream(true);
  }

  @Test
  void anEmptyKeyIsNoKey() throws Exception {
    ProcessBuilder keyed = server("--port=0");
    keyed.environment().put("GEMMA_API_KEY", "");
    Process process = keyed.start();
    String told = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor()).isEqualTo(2);
    assertThat(told).startsWith("openai-server: GEMMA_API_KEY").containsOnlyOnce("\n");
  }

  @Test
  @Timeout(120) // it waits for several limits
  void clientsThatAreSlowOrManyOrSendTooMuch() throws Exception {
    Process process =
        server(
                "--port=0",
                "--read-timeout=4",
                "--timeout=1",
                "--max-connections=8",
                "--max-body=1000")
            .start();
    try (BufferedReader told = process.inputReader()) {
      String line = "";
      while (!line.startsWith("Serving ")) {
        line = told.readLine();
        assertThat(line).isNotNull();
      }
      URI uri = URI.create(line.substring(line.indexOf("http://")));
      String head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n";
      String json = "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
      assertThat(closes(uri, head, head + json)).isTrue(); // they wait for the same time
      assertThatThrownBy(() -> askAndNeverRead(uri)).isInstanceOf(SocketException.class);
      HttpRequest large =
          HttpRequest.newBuilder(uri.resolve("/v1/completions"))
              .header("Content-Type", "application/json")
              .POST(HttpRequest.BodyPublishers.ofByteArray(new byte[5_000_000]))
              .build();
      try (HttpClient client = HttpClient.newHttpClient()) {
        assertThat(client.send(large, HttpResponse.BodyHandlers.ofString()).statusCode())
            .isEqualTo(413);
      }
      List<Socket> open = new ArrayList<>();
      for (int i = 0; i < 8; i++) {
        open.add(new Socket(uri.getHost(), uri.getPort()));
      }
      assertThat(closes(uri, "")).isTrue();
      for (Socket each : open) {
        each.close();
      }
    } finally {
      process.destroy();
      process.waitFor();
    }
  }

  private static void askAndNeverRead(URI uri) throws IOException {
    byte[] request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".getBytes(StandardCharsets.UTF_8);
    try (Socket client = new Socket(uri.getHost(), uri.getPort())) {
      while (true) {
        client.getOutputStream().write(request); // waits when all buffers are full
      }
    }
  }

  /** Whether the server closes the connections of clients that send this each, and no more. */
  private static boolean closes(URI uri, String... sent) throws IOException {
    List<Socket> clients = new ArrayList<>();
    try {
      for (String each : sent) {
        Socket client = new Socket(uri.getHost(), uri.getPort());
        clients.add(client);
        client.getOutputStream().write(each.getBytes(StandardCharsets.UTF_8));
      }
      boolean closed = true;
      for (Socket client : clients) {
        closed &= ends(client);
      }
      return closed;
    } finally {
      for (Socket client : clients) {
        client.close();
      }
    }
  }

  private static boolean ends(Socket client) throws IOException {
    try {
      return client.getInputStream().read() == -1;
    } catch (SocketException e) {
      return true; // reset
    }
  }
}
