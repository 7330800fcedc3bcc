package dev.gemma4j.examples.spark;

import java.io.Serializable;

/**
 * What an executor gives to its model; answers do not depend on it.
 *
 * @param threads of a forward pass; 0 for the executor's cores
 * @param parallel rows at a time, which share passes
 * @param kvMemory bytes of keys and values of all rows; 0 for half of the heap
 */
record Resources(int threads, int parallel, long kvMemory) implements Serializable {}
