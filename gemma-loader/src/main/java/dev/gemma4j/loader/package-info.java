/** See the module's description. */
@NullMarked
package dev.gemma4j.loader;

import org.jspecify.annotations.NullMarked;
