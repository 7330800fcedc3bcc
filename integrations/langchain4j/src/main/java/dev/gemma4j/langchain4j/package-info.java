/** Gemma as a chat model of LangChain4j. */
@NullMarked
package dev.gemma4j.langchain4j;

import org.jspecify.annotations.NullMarked;
