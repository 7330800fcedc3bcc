package dev.gemma4j.sampling;

/** The tokens of a sequence so far, the prompt included. */
public interface TokenHistory {
  /** How many. */
  int size();

  /** The id at an index in [0, size). */
  int get(int index);
}
