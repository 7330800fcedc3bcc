package dev.gemma4j.bench;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;

class SoakTest {
  private static final String DEMO = "../examples/src/main/resources/dev/gemma4j/examples/demo";

  @ParameterizedTest
  @ValueSource(longs = {0, 1_000_000}) // bytes for keys and values, of which one text takes 0.6 MB
  void nothingIsWrongInTwoShortRounds(long kvMemory) {
    StringWriter out = new StringWriter();
    int status =
        new CommandLine(new Soak())
            .setOut(new PrintWriter(out))
            .execute("--seconds", "2", "--rounds", "2", "--kv-memory", "" + kvMemory, DEMO);
    assertThat(status).as(out.toString()).isZero();
    assertThat(out.toString()).contains(" 0 faults").doesNotContain("FORK=0");
    String none = " 0 sessions refused";
    if (kvMemory == 0) {
      assertThat(out.toString()).contains(none);
    } else {
      assertThat(out.toString()).doesNotContain(none);
    }
  }
}
