package dev.gemma4j.bench;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

class BuildsBenchmarkTest {
  private static final String ROOT = ".."; // tests run in the module's directory

  private final StringWriter out = new StringWriter();
  private final StringWriter err = new StringWriter();

  private int run(String... args) {
    return new CommandLine(new BuildsBenchmark())
        .setOut(new PrintWriter(out))
        .setErr(new PrintWriter(err))
        .execute(args);
  }

  @Test
  void comparesBuildsWithTheFirst() {
    String[] args = {ROOT, ROOT, "--shape", "128x256", "--mebibytes", "1", "--seconds", "1"};
    assertThat(run(args)).isZero();
    assertThat(out.toString().lines())
        .hasSize(3)
        .first()
        .asString()
        .startsWith("Q4_0 128x256, 1 vectors, ");
    assertThat(out.toString().lines().skip(1))
        .allMatch(line -> line.matches("\\.\\. +median +\\d+\\.\\d+ ms +\\d+\\.\\d GFLOP/s, .*"));
    assertThat(out.toString()).contains("1.000 times as fast as the first (1.000 to 1.000)");
  }

  @Test
  void saysWhatIsWrong(@TempDir Path dir) throws Exception {
    assertThat(run(dir.toString())).isEqualTo(2);
    assertThat(err.toString()).contains("target/classes is no directory: build that checkout");
    for (String module : new String[] {"bench", "core", "loader", "tokenizer"}) {
      Files.createDirectories(dir.resolve("gemma-" + module + "/target/classes"));
    }
    assertThat(run(dir.toString())).isEqualTo(2);
    assertThat(err.toString()).contains("it is older than this benchmark");
    assertThat(run(ROOT, "--shape", "128x100")).isEqualTo(2);
    assertThat(err.toString()).contains("--shape: found 128x100, expected rows x columns");
    assertThat(run(ROOT, "--batch", "0")).isEqualTo(2);
    assertThat(err.toString()).contains("are 1 at least");
    assertThat(out.toString()).isEmpty();
  }
}
