/** SentencePiece tokenizer for Gemma. */
module dev.gemma4j.tokenizer {
  requires com.google.protobuf;
  requires static transitive org.jspecify;

  exports dev.gemma4j.tokenizer;
}
