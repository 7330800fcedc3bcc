package dev.gemma4j;

/** Where the weights of a loaded model lie. Both are outside the heap. */
public enum Memory {
  /**
   * In the file, mapped, as far as the kernels can use what is stored there: loading is quick, and
   * processes that run the same file share its pages. The file must not change while the model is
   * open.
   */
  MAPPED,

  /**
   * In memory of the model's own: the files are closed once the model is loaded, and may be
   * replaced, made shorter or deleted from then on. Takes as much memory as the weights are large.
   */
  COPIED
}
