/** What happens to logits on the way to a token: constraints over a vocabulary. Internal. */
@NullMarked
package dev.gemma4j.decoding;

import org.jspecify.annotations.NullMarked;
