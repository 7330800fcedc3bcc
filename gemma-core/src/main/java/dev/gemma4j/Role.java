package dev.gemma4j;

/** Who speaks in a chat. */
public enum Role {
  /** Instructions; Gemma has no such turn, so they go in front of the first user turn. */
  SYSTEM,
  USER,
  MODEL
}
