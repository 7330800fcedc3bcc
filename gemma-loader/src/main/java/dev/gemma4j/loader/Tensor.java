package dev.gemma4j.loader;

import java.lang.foreign.MemorySegment;
import java.util.List;

/** Stub of the agreed API; the loader branch replaces it. */
public record Tensor(
    String name, TensorType type, List<Long> shape, MemorySegment data, String file) {}
