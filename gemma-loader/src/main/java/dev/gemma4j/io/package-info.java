/** Files and memory as Java does not offer them; for the modules of this project only. */
@NullMarked
package dev.gemma4j.io;

import org.jspecify.annotations.NullMarked;
