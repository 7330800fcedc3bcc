package dev.gemma4j;

/** Hears how far a long load has come. Called by the loading thread. */
@FunctionalInterface
public interface ProgressListener {
  /**
   * Some progress.
   *
   * @param stage what is being done, for people
   * @param done of total
   */
  void progress(String stage, long done, long total);
}
