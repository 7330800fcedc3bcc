package dev.gemma4j.bench;

import dev.gemma4j.loader.TensorType;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.WritableByteChannel;
import java.util.HashMap;
import java.util.Map;
import java.util.SplittableRandom;

/**
 * Random weights in any type that runs as stored, as fast as a disk takes them: a pool of 16 MiB is
 * made once for each type and spread, and every tensor is a walk round it from a place of its own.
 * Uniform, not normal: speed does not depend on the values, and the sums behave alike.
 */
final class RandomWeights {
  private static final int POOL_BYTES = 16 << 20;
  private static final double MEAN_SCALE = 47.5; // of a block's part, an integer from 32 to 63

  private final SplittableRandom random;
  private final Map<Kind, ByteBuffer> pools = new HashMap<>();

  private record Kind(TensorType type, double std) {}

  RandomWeights(long seed) {
    random = new SplittableRandom(seed);
  }

  /** The spread that keeps activations near 1: one over the root of the columns. */
  static double std(long cols) {
    return 1 / Math.sqrt(cols);
  }

  /** Writes that many elements of spread {@code std} around 0. */
  void write(WritableByteChannel out, TensorType type, double std, long elements)
      throws IOException {
    ByteBuffer pool = pool(type, std);
    int at = start(pool, type);
    for (long left = type.byteSize(elements); left > 0; ) {
      int n = (int) Math.min(left, pool.capacity() - at);
      Channels.writeFully(out, pool.slice(at, n));
      left -= n;
      at = 0;
    }
  }

  /** Fills a segment that holds whole blocks. */
  void fill(MemorySegment target, TensorType type, double std) {
    ByteBuffer pool = pool(type, std);
    MemorySegment source = MemorySegment.ofBuffer(pool);
    long at = start(pool, type);
    for (long done = 0; done < target.byteSize(); ) {
      long n = Math.min(target.byteSize() - done, pool.capacity() - at);
      MemorySegment.copy(source, at, target, done, n);
      done += n;
      at = 0;
    }
  }

  /** That many floats of spread {@code std} around {@code mean}. */
  float[] floats(int count, double mean, double std) {
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = (float) (mean + uniform(std));
    }
    return values;
  }

  private int start(ByteBuffer pool, TensorType type) {
    return random.nextInt(pool.capacity() / type.blockBytes()) * type.blockBytes();
  }

  private ByteBuffer pool(TensorType type, double std) {
    return pools.computeIfAbsent(new Kind(type, std), this::newPool);
  }

  private ByteBuffer newPool(Kind kind) {
    int blocks = POOL_BYTES / kind.type().blockBytes();
    ByteBuffer pool =
        ByteBuffer.allocateDirect(blocks * kind.type().blockBytes()).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < blocks; i++) {
      put(pool, kind.type(), kind.std());
    }
    return pool.flip().order(ByteOrder.LITTLE_ENDIAN);
  }

  private void put(ByteBuffer pool, TensorType type, double std) {
    switch (type) {
      case F32 -> pool.putFloat((float) uniform(std));
      case F16 -> pool.putShort(Float.floatToFloat16((float) uniform(std)));
      // Cutting the mantissa off instead of rounding it does no harm to a random number.
      case BF16 -> pool.putShort((short) (Float.floatToRawIntBits((float) uniform(std)) >>> 16));
      case Q8_0 -> {
        pool.putShort(scale(std, 127 / Math.sqrt(3)));
        for (int i = 0; i < 32; i++) {
          pool.put((byte) random.nextInt(-127, 128));
        }
      }
      case Q4_0 -> {
        pool.putShort(scale(std, 16 / Math.sqrt(12)));
        putRandom(pool, 16);
      }
      case Q4_K -> {
        // value = d * scale * q - dmin * min: equal scales and minima and dmin = 7.5 d centre it
        short d = scale(std, MEAN_SCALE * 16 / Math.sqrt(12));
        pool.putShort(d);
        pool.putShort(Float.floatToFloat16(7.5f * Float.float16ToFloat(d)));
        putScales(pool);
        putRandom(pool, 128);
      }
      case Q6_K -> {
        putRandom(pool, 128 + 64);
        for (int i = 0; i < 16; i++) {
          pool.put((byte) random.nextInt(32, 64));
        }
        pool.putShort(scale(std, MEAN_SCALE * 64 / Math.sqrt(12)));
      }
      default -> throw new IllegalArgumentException("cannot write " + type);
    }
  }

  /** Eight scales of 6 bits and minima equal to them, packed as Q4_K has them. */
  private void putScales(ByteBuffer pool) {
    int[] scales = random.ints(8, 32, 64).toArray();
    for (int pass = 0; pass < 2; pass++) { // the scales' bytes, then the minima's
      for (int i = 0; i < 4; i++) {
        pool.put((byte) (scales[i] | scales[i + 4] >> 4 << 6));
      }
    }
    for (int i = 4; i < 8; i++) {
      pool.put((byte) (scales[i] & 15 | scales[i] << 4));
    }
  }

  private void putRandom(ByteBuffer pool, int bytes) {
    for (int i = 0; i < bytes; i += Long.BYTES) {
      pool.putLong(random.nextLong());
    }
  }

  /** A scale near the one that gives integers of spread {@code quantStd} the spread asked for. */
  private short scale(double std, double quantStd) {
    return Float.floatToFloat16((float) (std / quantStd * random.nextDouble(0.8, 1.2)));
  }

  private double uniform(double std) {
    double reach = std * Math.sqrt(3);
    return random.nextDouble(-reach, reach);
  }
}
