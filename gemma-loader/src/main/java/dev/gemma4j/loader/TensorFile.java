package dev.gemma4j.loader;

import java.util.Map;

/**
 * The tensors of one file.
 *
 * @param tensors by the name in the file, in its order, those of known types
 * @param unreadable names of the others, with their type
 */
record TensorFile(
    Map<String, Tensor> tensors, Map<String, String> unreadable, Map<String, Object> metadata) {}
