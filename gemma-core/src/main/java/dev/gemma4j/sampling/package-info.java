/** From logits to a token: samplers and logits processors. */
@NullMarked
package dev.gemma4j.sampling;

import org.jspecify.annotations.NullMarked;
