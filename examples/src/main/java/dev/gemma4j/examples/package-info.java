/** The {@code gemma} command, example programs and the demo model. */
@NullMarked
package dev.gemma4j.examples;

import org.jspecify.annotations.NullMarked;
