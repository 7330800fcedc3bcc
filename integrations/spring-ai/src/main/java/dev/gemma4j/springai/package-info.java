/** Gemma as a chat model of Spring AI. */
@NullMarked
package dev.gemma4j.springai;

import org.jspecify.annotations.NullMarked;
