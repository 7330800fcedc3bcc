package dev.gemma4j.bench;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import org.junit.jupiter.api.Test;
import picocli.CommandLine;

class SoakTest {
  private static final String DEMO = "../examples/src/main/resources/dev/gemma4j/examples/demo";

  @Test
  void nothingIsWrongInTwoShortRounds() {
    StringWriter out = new StringWriter();
    int status =
        new CommandLine(new Soak())
            .setOut(new PrintWriter(out))
            .execute("--seconds", "4", "--rounds", "2", DEMO);
    assertThat(status).as(out.toString()).isZero();
    assertThat(out.toString()).contains(" 0 faults").doesNotContain("FORK=0");
  }
}
