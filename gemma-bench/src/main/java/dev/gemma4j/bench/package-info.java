/** Synthetic checkpoints, and benchmarks that stand next to the machine's own limits. */
@NullMarked
package dev.gemma4j.bench;

import org.jspecify.annotations.NullMarked;
