/** What Java does not say about memory; for the modules of this project only. */
@NullMarked
package dev.gemma4j.memory;

import org.jspecify.annotations.NullMarked;
