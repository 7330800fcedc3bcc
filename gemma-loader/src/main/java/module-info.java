/** Reads Gemma checkpoints: safetensors directories, GGUF files and PyTorch checkpoints. */
module dev.gemma4j.loader {
  requires transitive dev.gemma4j.tokenizer;
  requires com.fasterxml.jackson.core;
  requires static transitive org.jspecify;

  exports dev.gemma4j.loader;
}
