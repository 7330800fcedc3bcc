package dev.gemma4j;

/** How the keys and values of attention are kept, which is most of what a session costs. */
public enum KvType {
  /** Four bytes: exact. */
  F32,
  /** Two bytes, rounded to 11 bits; keys and values beyond 65504 would overflow. */
  F16,
  /** One byte and an eighth: 8-bit integers with one scale for 32 of them. */
  Q8
}
