/** An HTTP server that clients of OpenAI's API can talk to. */
@NullMarked
package dev.gemma4j.examples.server;

import org.jspecify.annotations.NullMarked;
