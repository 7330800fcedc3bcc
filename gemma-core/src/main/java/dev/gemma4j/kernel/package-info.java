/** The arithmetic, twice: plain loops and the Vector API. Arguments are checked by the callers. */
@NullMarked
package dev.gemma4j.kernel;

import org.jspecify.annotations.NullMarked;
