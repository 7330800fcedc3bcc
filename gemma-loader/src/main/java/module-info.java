/** Reads Gemma checkpoints: safetensors directories and GGUF files. */
module dev.gemma4j.loader {
  requires transitive dev.gemma4j.tokenizer;
  requires com.fasterxml.jackson.core;
  requires static transitive org.jspecify;

  exports dev.gemma4j.loader;
}
