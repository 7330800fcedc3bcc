package dev.gemma4j.model;

import dev.gemma4j.kernel.Kernels.KvLayout;
import dev.gemma4j.loader.GemmaConfig;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Keys and values of one sequence, in off-heap pages of {@link #PAGE_SIZE} positions that are
 * allocated as the sequence grows. A page holds all layers: [layer][key,
 * value][position][numKvHeads * headDim], f32. Forks share pages by reference count and copy one
 * when they first write to it.
 */
public final class KvCache implements AutoCloseable {
  /** Positions per page. */
  public static final int PAGE_SIZE = 32;

  private final GemmaConfig config;
  private final int kvDim;
  private Page[] pages = new Page[0];
  private MemorySegment[] segments = new MemorySegment[0];

  /** An empty cache. */
  public KvCache(GemmaConfig config) {
    this.config = config;
    this.kvDim = config.numKvHeads() * config.headDim();
  }

  private static final class Page {
    private final Arena arena = Arena.ofShared();
    private final AtomicInteger references = new AtomicInteger(1);
    private final MemorySegment data;

    Page(long bytes) {
      data = arena.allocate(bytes, 64);
    }

    void release() {
      if (references.decrementAndGet() == 0) {
        arena.close();
      }
    }
  }

  /** Makes positions [from, to) writable: allocates what is missing, copies what is shared. */
  public void reserve(int from, int to) {
    int needed = (to + PAGE_SIZE - 1) / PAGE_SIZE;
    for (int i = from / PAGE_SIZE; i < needed; i++) {
      if (i >= pages.length) {
        append(newPage());
      } else if (pages[i].references.get() > 1) {
        Page copy = newPage();
        copy.data.copyFrom(pages[i].data);
        pages[i].release();
        pages[i] = copy;
        segments[i] = copy.data;
      }
    }
  }

  private Page newPage() {
    return new Page(2L * config.numLayers() * PAGE_SIZE * kvDim * Float.BYTES);
  }

  private void append(Page page) {
    int n = pages.length;
    pages = Arrays.copyOf(pages, n + 1);
    segments = Arrays.copyOf(segments, n + 1);
    pages[n] = page;
    segments[n] = page.data;
  }

  /** Keeps the first {@code length} positions and frees the pages after them. */
  public void truncate(int length) {
    int keep = (length + PAGE_SIZE - 1) / PAGE_SIZE;
    for (int i = keep; i < pages.length; i++) {
      pages[i].release();
    }
    if (keep < pages.length) {
      pages = Arrays.copyOf(pages, keep);
      segments = Arrays.copyOf(segments, keep);
    }
  }

  /** A cache with the same content; pages are shared until one side writes. */
  public KvCache fork() {
    KvCache fork = new KvCache(config);
    for (Page page : pages) {
      page.references.incrementAndGet();
    }
    fork.pages = pages.clone();
    fork.segments = segments.clone();
    return fork;
  }

  /** Stores the key and value of one position of one layer, both [numKvHeads * headDim]. */
  void put(int layer, int position, float[] key, float[] value, int offset) {
    MemorySegment page = segments[position / PAGE_SIZE];
    long slot = (long) (position % PAGE_SIZE) * kvDim;
    copy(key, offset, page, keyOffset(layer) + slot);
    copy(value, offset, page, valueOffset(layer) + slot);
  }

  private void copy(float[] source, int offset, MemorySegment page, long at) {
    MemorySegment.copy(source, offset, page, ValueLayout.JAVA_FLOAT, at * Float.BYTES, kvDim);
  }

  /** Where the KV head's keys and values of a layer lie in each page. */
  KvLayout layout(int layer, int kvHead) {
    long head = (long) kvHead * config.headDim();
    return new KvLayout(
        PAGE_SIZE, config.headDim(), keyOffset(layer) + head, valueOffset(layer) + head, kvDim);
  }

  MemorySegment[] segments() {
    return segments;
  }

  private long keyOffset(int layer) {
    return 2L * layer * PAGE_SIZE * kvDim;
  }

  private long valueOffset(int layer) {
    return keyOffset(layer) + (long) PAGE_SIZE * kvDim;
  }

  /** Frees this sequence's hold on its pages. */
  @Override
  public void close() {
    truncate(0);
  }
}
