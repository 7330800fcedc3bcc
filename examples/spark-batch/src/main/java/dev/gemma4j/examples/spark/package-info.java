/** Batch inference over a data set with Apache Spark. */
@NullMarked
package dev.gemma4j.examples.spark;

import org.jspecify.annotations.NullMarked;
