/** See the module's description. */
@NullMarked
package dev.gemma4j.tokenizer;

import org.jspecify.annotations.NullMarked;
