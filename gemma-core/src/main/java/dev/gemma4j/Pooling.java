package dev.gemma4j;

/** How the hidden states of a text's tokens become one vector. */
public enum Pooling {
  /** Their mean, the beginning-of-text token's among them. */
  MEAN,
  /** The last token's, which alone has seen the whole text. */
  LAST
}
