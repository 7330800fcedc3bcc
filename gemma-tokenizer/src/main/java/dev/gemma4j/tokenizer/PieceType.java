package dev.gemma4j.tokenizer;

/** What a piece of the vocabulary is for; the order is that of the SentencePiece format, from 1. */
public enum PieceType {
  NORMAL,
  UNKNOWN,
  /** Never produced from text. */
  CONTROL,
  /** Always one token wherever its text stands. */
  USER_DEFINED,
  UNUSED,
  /** Stands for one byte. */
  BYTE
}
