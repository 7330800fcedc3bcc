/** Runs Gemma models inside a Java application. Start with {@link dev.gemma4j.Gemma}. */
@NullMarked
package dev.gemma4j;

import org.jspecify.annotations.NullMarked;
