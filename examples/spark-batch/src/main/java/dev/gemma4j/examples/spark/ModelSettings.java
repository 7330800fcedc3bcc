package dev.gemma4j.examples.spark;

import dev.gemma4j.KernelType;
import dev.gemma4j.KvType;
import dev.gemma4j.LoadOptions;
import dev.gemma4j.WeightType;
import java.io.Serializable;
import java.time.temporal.ChronoUnit;
import org.jspecify.annotations.Nullable;

/**
 * The model that answers.
 *
 * @param path as executors see it; null for the demo model
 * @param context the most positions of a row; 0 for what the model was made for
 */
record ModelSettings(
    @Nullable String path, WeightType weights, KvType kv, int context, KernelType kernels)
    implements Serializable {
  LoadOptions loadOptions(Resources resources) {
    LoadOptions options =
        LoadOptions.defaults()
            .withKvMemory(resources.kvMemory())
            .withKvWait(ChronoUnit.FOREVER.getDuration()); // until the task ends
    if (resources.threads() != 0) {
      options = options.withThreads(resources.threads());
    }
    return options.withWeights(weights).withKv(kv).withContextLength(context).withKernels(kernels);
  }
}
