package dev.gemma4j.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The pages of all sequences of a model: counts them against a limit, and remembers full ones by
 * the tokens that they and all pages before them hold, and the adapter that computed them, so that
 * a prompt that begins like an earlier one need not be computed again. Remembered pages that no
 * sequence uses make room, the one used least recently first, when a page is needed.
 */
public final class KvPool {
  private final KvCache.Shape shape;
  private final long maxPages;
  private final boolean remember;

  // All guarded by this, as are the fields of pages.
  private final Map<Key, Node> nodes = new HashMap<>();
  // From the one used least recently on. A page is touched before those in front of it, so that
  // they are younger than it, and what goes first is never in front of what stays.
  private final LinkedHashSet<Node> byUse = new LinkedHashSet<>();
  private long pages;
  private long idle; // remembered pages that no sequence uses

  /**
   * @param limit in bytes, for all pages
   * @param remember whether pages are kept for later prompts
   */
  public KvPool(KvCache.Shape shape, long limit, boolean remember) {
    this.shape = shape;
    this.maxPages = limit / shape.pageBytes();
    this.remember = remember;
  }

  /** Too many pages. */
  public static final class FullException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final long asked;
    private final long available;

    FullException(long asked, long available) {
      super(asked + " bytes asked, " + available + " available");
      this.asked = asked;
      this.available = available;
    }

    public long asked() {
      return asked;
    }

    public long available() {
      return available;
    }
  }

  /** A fixed number of positions of all layers; immutable once a second one refers to it. */
  static final class Page {
    private final Arena arena = Arena.ofShared();
    private int references = 1;
    private boolean remembered;
    final MemorySegment data;

    Page(long bytes) {
      data = arena.allocate(bytes, 64);
    }
  }

  /** A page's adapter ("" for none) and tokens, and the node of the page before it. */
  private record Key(String adapter, @Nullable Node before, List<Integer> tokens) {}

  /** A remembered page. Compared by identity. */
  private static final class Node {
    final Key key;
    final Page page;

    Node(Key key, Page page) {
      this.key = key;
      this.page = page;
    }
  }

  KvCache.Shape shape() {
    return shape;
  }

  /** Pages of sequences and remembered ones, in bytes. */
  public synchronized long usedBytes() {
    return pages * shape.pageBytes();
  }

  /** New pages, all or none; makes room for them first. */
  synchronized List<Page> allocate(int count) {
    long available = maxPages - pages + idle;
    if (count > available) {
      throw new FullException(count * shape.pageBytes(), available * shape.pageBytes());
    }
    List<Page> result = new ArrayList<>();
    try {
      for (int i = 0; i < count; i++) {
        if (pages == maxPages) {
          forgetOldest();
        }
        result.add(new Page(shape.pageBytes()));
        pages++;
      }
    } catch (OutOfMemoryError e) { // the JVM's own limit of off-heap memory
      result.forEach(this::release);
      throw e;
    }
    return result;
  }

  private void forgetOldest() {
    for (Iterator<Node> i = byUse.iterator(); i.hasNext(); ) {
      Node node = i.next();
      if (node.page.references == 1) {
        i.remove();
        nodes.remove(node.key);
        node.page.remembered = false;
        idle--;
        release(node.page);
        return;
      }
    }
    throw new IllegalStateException("no idle page, expected " + idle);
  }

  synchronized boolean isShared(Page page) {
    return page.references > 1;
  }

  synchronized void retain(Page page) {
    if (page.remembered && page.references == 1) {
      idle--;
    }
    page.references++;
  }

  synchronized void release(Page page) {
    page.references--;
    if (page.remembered && page.references == 1) {
      idle++;
    }
    if (page.references == 0) {
      pages--;
      page.arena.close();
    }
  }

  /** The pages that hold the beginning of a prompt, retained; at least one token is left over. */
  synchronized List<Page> find(@Nullable Adapter adapter, int[] ids) {
    List<Node> path = new ArrayList<>();
    Node node = null;
    for (int end = KvCache.PAGE_SIZE; end < ids.length; end += KvCache.PAGE_SIZE) {
      node = nodes.get(key(adapter, node, ids, end));
      if (node == null) {
        break;
      }
      path.add(node);
    }
    touch(path);
    List<Page> found = new ArrayList<>();
    for (Node each : path) {
      retain(each.page);
      found.add(each.page);
    }
    return found;
  }

  /** Remembers a sequence's full pages, the tokens of which are given from the beginning. */
  synchronized void remember(@Nullable Adapter adapter, int[] tokens, int full, Page[] held) {
    if (!remember) {
      return;
    }
    List<Node> path = new ArrayList<>();
    Node node = null;
    for (int i = 0; i < full; i++) {
      Key key = key(adapter, node, tokens, (i + 1) * KvCache.PAGE_SIZE);
      Node known = nodes.get(key);
      if (known == null) {
        if (held[i].remembered) {
          return; // under other tokens, which cannot be
        }
        known = new Node(key, held[i]);
        held[i].remembered = true;
        held[i].references++;
        nodes.put(key, known);
      }
      node = known;
      path.add(known);
    }
    touch(path);
  }

  private void touch(List<Node> path) {
    for (Node node : path.reversed()) {
      byUse.remove(node);
      byUse.add(node);
    }
  }

  // By the adapter's content, so that a page does not keep its memory, and it may be loaded again.
  private static Key key(@Nullable Adapter adapter, @Nullable Node before, int[] ids, int end) {
    List<Integer> tokens = Arrays.stream(ids, end - KvCache.PAGE_SIZE, end).boxed().toList();
    return new Key(adapter == null ? "" : adapter.id(), before, tokens);
  }
}
