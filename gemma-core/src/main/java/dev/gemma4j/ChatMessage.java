package dev.gemma4j;

/** One turn of a chat. */
public record ChatMessage(Role role, String text) {}
