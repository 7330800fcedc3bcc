package dev.gemma4j.bench;

import dev.gemma4j.loader.TensorType;
import java.util.function.LongSupplier;

/** A build's matrix product, for {@link BuildsBenchmark}, which loads it once for each build. */
final class ProductProbe implements LongSupplier {
  private final BenchmarkPool threads = new BenchmarkPool();
  private final MatmulBenchmark products = new MatmulBenchmark();
  private final Rates rates = new Rates();

  ProductProbe(String type, String shape, int batch, int mebibytes, int threads) {
    this.threads.threads = threads;
    this.threads.kernels = "vector";
    this.threads.start();
    products.type = TensorType.valueOf(type);
    products.shape = shape;
    products.batch = batch;
    products.mebibytes = mebibytes;
    products.allocate(this.threads);
  }

  /** Nanoseconds of one product with the next matrix. */
  @Override
  public long getAsLong() {
    long start = System.nanoTime();
    products.matmul(threads, rates);
    return System.nanoTime() - start;
  }
}
