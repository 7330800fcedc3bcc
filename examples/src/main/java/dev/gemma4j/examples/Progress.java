package dev.gemma4j.examples;

import dev.gemma4j.ProgressListener;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;
import org.jspecify.annotations.Nullable;

/** A bar on the terminal once something has taken a moment. */
final class Progress implements ProgressListener, AutoCloseable {
  private static final long PATIENCE_NANOS = 500_000_000;

  /** The launcher knows of standard error, a JVM only of the other two. */
  private static final boolean TERMINAL =
      System.console() != null
          && System.console().isTerminal()
          && !"false".equals(System.getProperty("gemma.progress"));

  private final String task;
  private final long start = System.nanoTime();
  private @Nullable ProgressBar bar;

  Progress(String task) {
    this.task = task;
  }

  @Override
  public void progress(String stage, long done, long total) {
    if (bar == null && TERMINAL && System.nanoTime() - start > PATIENCE_NANOS && done < total) {
      bar =
          new ProgressBarBuilder()
              .setTaskName(task)
              .setInitialMax(total)
              .setStyle(ProgressBarStyle.UNICODE_BLOCK) // without colours, which NO_COLOR forbids
              .build();
    }
    if (bar != null) {
      bar.setExtraMessage(stage).stepTo(done);
    }
  }

  @Override
  public void close() {
    if (bar != null) {
      close(bar);
    }
  }

  /** An interrupt, as of Ctrl-C, would be swallowed there, with a stack trace on the terminal. */
  static void close(ProgressBar bar) {
    boolean interrupted = Thread.interrupted();
    try {
      bar.close();
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }
}
