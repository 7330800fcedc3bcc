/** Weights, key/value cache and the forward pass. */
@NullMarked
package dev.gemma4j.model;

import org.jspecify.annotations.NullMarked;
