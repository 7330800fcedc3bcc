/** Reads Gemma checkpoints: safetensors directories, GGUF files and PyTorch checkpoints. */
@SuppressWarnings("module") // dev.gemma4j is built after it
module dev.gemma4j.loader {
  requires transitive dev.gemma4j.tokenizer;
  requires com.fasterxml.jackson.core;
  requires static transitive org.jspecify;

  exports dev.gemma4j.loader;
  exports dev.gemma4j.io to
      dev.gemma4j;
}
