package dev.gemma4j.model;

import dev.gemma4j.kernel.KvLayout;
import dev.gemma4j.loader.GemmaConfig;
import dev.gemma4j.model.KvPool.Page;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Keys and values of one sequence, in off-heap pages of {@link #PAGE_SIZE} positions that are
 * allocated as the sequence grows. A page holds all layers: [layer][KV head][keys, values], each as
 * {@link KvLayout} says. Forks share pages by reference count and copy one when they first write to
 * it.
 */
public final class KvCache implements AutoCloseable {
  /** Positions per page. */
  public static final int PAGE_SIZE = 32;

  private final KvPool pool;
  private final @Nullable Adapter adapter;
  private final Shape shape;
  private Page[] pages = new Page[0];
  private MemorySegment[] segments = new MemorySegment[0];
  private KvPool.@Nullable Room room;
  private boolean dropped; // guarded by the pool, as are the pages, while this rests

  /**
   * An empty cache.
   *
   * @param adapter what all its keys and values are computed with, or null
   */
  public KvCache(KvPool pool, @Nullable Adapter adapter) {
    this.pool = pool;
    this.adapter = adapter;
    this.shape = pool.shape();
  }

  /** A cache whose pages are all the same one: where to write what nobody reads. */
  static KvCache sink(Shape shape, int positions) {
    KvCache sink = new KvCache(new KvPool(shape, 0, false), null);
    sink.segments = new MemorySegment[(positions + PAGE_SIZE - 1) / PAGE_SIZE];
    Arrays.fill(sink.segments, Arena.ofAuto().allocate(shape.pageBytes, 64));
    return sink;
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

  /** Whether pages are set aside for this sequence. */
  public boolean hasRoom() {
    return room != null;
  }

  /**
   * Sets aside what this sequence still needs, if that is there and nobody waits.
   *
   * @param least positions without which it is of no use
   * @param most positions to which it may grow
   * @return whether it has room now
   */
  public boolean tryRoom(long least, long most) {
    room = pool.tryRoom(pages(least) - pages.length, pages(most) - pages.length);
    return room != null;
  }

  /**
   * Waits until what this sequence needs can be set aside. It must be empty, lest somebody waits
   * for it meanwhile.
   *
   * @param least as {@link #tryRoom}
   * @param most as {@link #tryRoom}
   * @param nanos the longest wait
   * @param cancelled asked at first and at each {@link KvPool#wakeUp}, by whatever thread calls
   *     that
   * @throws KvPool.FullException when {@code least} is beyond the limit, or when the time is up
   * @throws CancellationException when cancelled, or when the thread is interrupted, which stays so
   */
  public void awaitRoom(int least, long most, long nanos, BooleanSupplier cancelled) {
    if (pages.length > 0) {
      throw new IllegalStateException("waits with " + pages.length + " pages");
    }
    room = pool.awaitRoom(pages(least), pages(most), nanos, cancelled);
  }

  /** Leaves to others what was set aside and not taken. */
  public void leaveRoom() {
    KvPool.Room left = room;
    if (left != null) {
      room = null;
      pool.leave(left);
    }
  }

  /** Lets others have the pages should they need them, until {@link #wake}. */
  public void rest() {
    leaveRoom();
    pool.rest(this);
  }

  /**
   * Ends a rest.
   *
   * @return whether the pages are still there; all are or none
   */
  public boolean wake() {
    pool.wake(this);
    boolean kept = !dropped;
    dropped = false;
    return kept;
  }

  /** Gives its pages to the pool, which asks for them while this rests. */
  Page[] drop() {
    Page[] all = pages;
    dropped |= all.length > 0; // it may come to rest again before it wakes
    pages = new Page[0];
    segments = new MemorySegment[0];
    return all;
  }

  Page[] pages() {
    return pages;
  }

  private static long pages(long positions) {
    return (positions + PAGE_SIZE - 1) / PAGE_SIZE;
  }

  /**
   * Makes positions [from, to) writable: allocates what is missing, copies what is shared.
   *
   * @throws KvPool.FullException when the pool has no room; nothing has changed then
   */
  public void reserve(int from, int to) {
    int first = from / PAGE_SIZE;
    int needed = (to + PAGE_SIZE - 1) / PAGE_SIZE;
    int missing = Math.max(0, needed - pages.length);
    for (int i = first; i < Math.min(needed, pages.length); i++) {
      missing += pool.isShared(pages[i]) ? 1 : 0;
    }
    if (missing == 0) {
      return;
    }
    List<Page> fresh = pool.allocate(missing, room);
    int used = 0;
    try {
      for (int i = first; i < needed; i++) {
        if (i >= pages.length) {
          append(fresh.get(used));
          used++;
        } else if (used < fresh.size() && pool.isShared(pages[i])) {
          Page shared = pages[i];
          Page copy = fresh.get(used);
          copy.data.copyFrom(shared.data);
          pages[i] = copy;
          segments[i] = copy.data;
          used++;
          pool.release(shared);
        }
      }
    } finally { // a page became ours alone meanwhile, or the heap is full
      pool.release(fresh.subList(used, fresh.size()));
    }
  }

  /**
   * Takes over the pages that an earlier prompt left behind, into an empty cache with room for all
   * ids.
   *
   * @return the positions that need not be computed, fewer than there are ids
   */
  public int reuse(int[] ids) {
    pool.find(adapter, ids, Objects.requireNonNull(room)).forEach(this::append);
    return pages.length * PAGE_SIZE;
  }

  /** Leaves the full pages to later prompts that begin with the same tokens. */
  public void remember(int[] tokens, int length) {
    pool.remember(adapter, tokens, length / PAGE_SIZE, pages);
  }

  private void append(Page page) {
    int n = pages.length;
    Page[] longer = Arrays.copyOf(pages, n + 1);
    segments = Arrays.copyOf(segments, n + 1);
    longer[n] = page;
    segments[n] = page.data;
    pages = longer;
  }

  /** Keeps the first {@code length} positions and frees the pages after them. */
  public void truncate(int length) {
    int keep = (length + PAGE_SIZE - 1) / PAGE_SIZE;
    if (keep < pages.length) {
      List<Page> rest = Arrays.asList(pages).subList(keep, pages.length);
      Page[] kept = Arrays.copyOf(pages, keep);
      segments = Arrays.copyOf(segments, keep);
      pages = kept;
      pool.release(rest);
    }
  }

  /** A cache with the same content and room; pages are shared until one side writes. */
  public KvCache fork() {
    KvCache fork = new KvCache(pool, adapter);
    for (Page page : pages) {
      pool.retain(page);
    }
    fork.pages = pages.clone();
    fork.segments = segments.clone();
    fork.room = room;
    if (room != null) {
      pool.join(room);
    }
    return fork;
  }

  /** Reads back the key and value of one position of one layer, both [numKvHeads, headDim]. */
  public void get(int layer, int position, float[] key, float[] value) {
    MemorySegment page = segments[position / PAGE_SIZE];
    int offset = 0;
    for (KvLayout layout : shape.layouts[layer]) {
      layout.get(page, position % PAGE_SIZE, key, value, offset);
      offset += shape.headDim;
    }
  }

  /** Stores the key and value of one position of one layer, both [numKvHeads, headDim]. */
  public void put(int layer, int position, float[] key, float[] value, int offset) {
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

  /** What the rows of this sequence run with, or null. */
  public @Nullable Adapter adapter() {
    return adapter;
  }

  MemorySegment[] segments() {
    return segments;
  }

  /** Frees this sequence's hold on its pages. */
  @Override
  public void close() {
    pool.wake(this);
    truncate(0);
    leaveRoom();
  }
}
