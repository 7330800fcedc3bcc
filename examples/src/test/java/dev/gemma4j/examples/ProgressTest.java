package dev.gemma4j.examples;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import me.tongfei.progressbar.DelegatingProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import org.junit.jupiter.api.Test;

class ProgressTest {
  @Test
  void anInterruptOutlivesTheBar() {
    PrintStream before = System.err;
    ByteArrayOutputStream err = new ByteArrayOutputStream();
    System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
    try {
      ProgressBar bar =
          new ProgressBarBuilder()
              .setInitialMax(2)
              .setConsumer(new DelegatingProgressBarConsumer(line -> {}))
              .build();
      Thread.currentThread().interrupt();
      Progress.close(bar);
      assertThat(Thread.interrupted()).isTrue();
      assertThat(err.toString(StandardCharsets.UTF_8)).isEmpty();
    } finally {
      System.setErr(before);
    }
  }
}
