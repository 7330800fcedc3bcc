/** What a generated text must look like: JSON of a schema, a regular expression, one of a list. */
@NullMarked
package dev.gemma4j.constraint;

import org.jspecify.annotations.NullMarked;
