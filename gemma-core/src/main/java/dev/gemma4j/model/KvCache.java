package dev.gemma4j.model;

import dev.gemma4j.kernel.KvLayout;
import dev.gemma4j.loader.GemmaConfig;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Keys and values of one sequence, in off-heap pages of {@link #PAGE_SIZE} positions that are
 * allocated as the sequence grows. A page holds all layers: [layer][KV head][keys, values], each as
 * {@link KvLayout} says. Forks share pages by reference count and copy one when they first write to
 * it.
 */
public final class KvCache implements AutoCloseable {
  /** Positions per page. */
  public static final int PAGE_SIZE = 32;

  private final Shape shape;
  private Page[] pages = new Page[0];
  private MemorySegment[] segments = new MemorySegment[0];

  /** An empty cache. */
  public KvCache(Shape shape) {
    this.shape = shape;
  }

  /** What lies where in the pages of a model, for all its sequences. */
  public static final class Shape {
    private final int headDim;
    private final KvLayout[][] layouts; // [layer][KV head]
    private final long pageBytes;

    /** Keys and values stored as a type. */
    public Shape(GemmaConfig config, KvLayout.Type type) {
      headDim = config.headDim();
      layouts = new KvLayout[config.numLayers()][config.numKvHeads()];
      long bytes = KvLayout.bytes(type, PAGE_SIZE, headDim);
      long at = 0;
      for (KvLayout[] heads : layouts) {
        for (int head = 0; head < heads.length; head++, at += 2 * bytes) {
          heads[head] = new KvLayout(type, PAGE_SIZE, headDim, at, at + bytes);
        }
      }
      pageBytes = at;
    }

    /** Bytes of one page. */
    public long pageBytes() {
      return pageBytes;
    }

    KvLayout layout(int layer, int kvHead) {
      return layouts[layer][kvHead];
    }
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
    return new Page(shape.pageBytes);
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
    KvCache fork = new KvCache(shape);
    for (Page page : pages) {
      page.references.incrementAndGet();
    }
    fork.pages = pages.clone();
    fork.segments = segments.clone();
    return fork;
  }

  /** Stores the key and value of one position of one layer, both [numKvHeads, headDim]. */
  void put(int layer, int position, float[] key, float[] value, int offset) {
    MemorySegment page = segments[position / PAGE_SIZE];
    for (KvLayout layout : shape.layouts[layer]) {
      layout.put(page, position % PAGE_SIZE, key, value, offset);
      offset += shape.headDim;
    }
  }

  /** Where the KV head's keys and values of a layer lie in each page. */
  KvLayout layout(int layer, int kvHead) {
    return shape.layout(layer, kvHead);
  }

  MemorySegment[] segments() {
    return segments;
  }

  /** Frees this sequence's hold on its pages. */
  @Override
  public void close() {
    truncate(0);
  }
}
