package dev.gemma4j.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/**
 * The pages of all sequences of a model: counts them against a limit, and remembers full ones by
 * the tokens that they and all pages before them hold, and the adapter that computed them, so that
 * a prompt that begins like an earlier one need not be computed again. Remembered pages that no
 * sequence uses make room, the one used least recently first, when a page is needed.
 *
 * <p>A text waits before its first page until there is {@link Room} for all pages that it can come
 * to need, and never again: who holds pages waits for nobody, and who waits holds none, so that no
 * two can wait for each other. Rooms are given in the order in which they were asked for; a small
 * one does not overtake a large one, which so gets its turn.
 */
public final class KvPool {
  private final KvCache.Shape shape;
  private final long maxPages;
  private final boolean remember;

  // All guarded by this, as are the fields of pages; who waits reads whether it is closed.
  private final Map<Key, Node> nodes = new HashMap<>();
  // From the one used least recently on. A page is touched before those in front of it, so that
  // they are younger than it, and what goes first is never in front of what stays.
  private final LinkedHashSet<Node> byUse = new LinkedHashSet<>();
  private long pages;
  private long idle; // remembered pages that no sequence uses
  private long promised; // pages that rooms have not taken yet
  private long taken; // pages in use that open rooms have taken
  private final ArrayDeque<Waiter> waiting = new ArrayDeque<>();
  private final LinkedHashSet<KvCache> resting = new LinkedHashSet<>(); // the oldest first
  private volatile boolean closed;

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
    private final long least;
    private final long available;

    FullException(long asked, long least, long available) {
      super(asked + " bytes asked, " + available + " available");
      this.asked = asked;
      this.least = least;
      this.available = available;
    }

    public long asked() {
      return asked;
    }

    /** Bytes without which nothing can be done; less than asked for when a text may grow. */
    public long least() {
      return least;
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
    private @Nullable Room room; // of which it was taken, while it is in use
    final MemorySegment data;

    Page(long bytes) {
      data = arena.allocate(bytes, 64);
    }

    /** The sequences that refer to it. */
    int users() {
      return references - (remembered ? 1 : 0);
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

  /** Pages set aside for a text, which takes them as it grows. Its sequences share it. */
  static final class Room {
    private int sequences = 1;
    private long left;
    private long taken; // in use; given back to the room when they no longer are

    private Room(long pages) {
      left = pages;
    }
  }

  /** Somebody who asks for room, and the room when it is given. */
  private static final class Waiter {
    final Thread thread = Thread.currentThread();
    final long least;
    final long most;
    final BooleanSupplier cancelled;
    volatile @Nullable Room room;

    Waiter(long least, long most, BooleanSupplier cancelled) {
      this.least = least;
      this.most = most;
      this.cancelled = cancelled;
    }

    boolean isCancelled() {
      return cancelled.getAsBoolean() || thread.isInterrupted();
    }
  }

  KvCache.Shape shape() {
    return shape;
  }

  /** Pages of sequences and remembered ones, in bytes. */
  public synchronized long usedBytes() {
    return pages * shape.pageBytes();
  }

  private long available() {
    return maxPages - pages + idle - promised;
  }

  /** What is asked for and what there is, in bytes. */
  private FullException full(long count, long least, long available) {
    long bytes = shape.pageBytes();
    return new FullException(count * bytes, least * bytes, available * bytes);
  }

  /**
   * Room for a text, if it is there and nobody waits for some; else null.
   *
   * @param least pages without which the text cannot begin
   * @param most pages that it can come to need; fewer are set aside where that is more than can be
   *     there beside what sequences without a room hold
   */
  synchronized @Nullable Room tryRoom(long least, long most) {
    return waiting.isEmpty() ? room(least, most) : null;
  }

  /**
   * Waits for room as {@link #tryRoom} gives it.
   *
   * @param nanos the longest wait
   * @param cancelled asked at first and at each {@link #wakeUp}, by whatever thread calls that
   * @throws FullException at once when the limit is below {@code least}, which it asks for then; or
   *     when the time is up, and then it asks for all that would have been set aside
   * @throws CancellationException when cancelled, or when the thread is interrupted, which stays so
   * @throws IllegalStateException when closed
   */
  Room awaitRoom(long least, long most, long nanos, BooleanSupplier cancelled) {
    Waiter waiter = new Waiter(least, most, cancelled);
    long start = System.nanoTime();
    long left = nanos;
    try {
      enter(waiter);
      // Not in this monitor, so that who gets room wakes alone, however many wait.
      while (waiter.room == null && !closed && left > 0 && !waiter.isCancelled()) {
        LockSupport.parkNanos(this, left);
        left = nanos - (System.nanoTime() - start);
      }
    } catch (Throwable t) { // such as a stack at its end
      withdraw(waiter);
      throw t;
    }
    return settle(waiter);
  }

  private synchronized void enter(Waiter waiter) {
    if (waiter.least > maxPages) {
      throw full(waiter.least, waiter.least, available());
    }
    waiting.add(waiter);
    admit();
  }

  /** Room for who waits no longer, or why there is none. */
  private synchronized Room settle(Waiter waiter) {
    Room room = waiter.room;
    if (room != null) {
      return room;
    }
    FullException full =
        full(wanted(waiter.least, waiter.most), waiter.least, available()); // before others get it
    withdraw(waiter);
    if (closed) {
      throw new IllegalStateException("model is closed");
    }
    if (waiter.isCancelled()) {
      throw new CancellationException("cancelled");
    }
    throw full;
  }

  /** Ends a wait in vain. */
  private synchronized void withdraw(Waiter waiter) {
    Room room = waiter.room;
    if (room != null) {
      leave(room);
    } else {
      waiting.remove(waiter);
      admit(); // those behind it
    }
  }

  private @Nullable Room room(long least, long most) {
    long wanted = wanted(least, most);
    if (!makeAvailable(wanted)) {
      return null;
    }
    promised += wanted;
    return new Room(wanted);
  }

  /** The pages to set aside. */
  private long wanted(long least, long most) {
    long others = pages - idle - taken; // of sequences that may keep them as long as they like
    return Math.max(least, Math.min(most, maxPages - others + atRest()));
  }

  /** Pages in use that nobody uses but resting sequences, which may share them. */
  private long atRest() {
    Map<Page, Integer> users = new HashMap<>();
    for (KvCache cache : resting) {
      for (Page page : cache.pages()) {
        users.merge(page, 1, Integer::sum);
      }
    }
    long count = 0;
    for (Map.Entry<Page, Integer> entry : users.entrySet()) {
      count += entry.getKey().users() == entry.getValue() ? 1 : 0;
    }
    return count;
  }

  /** Takes the pages of resting sequences if it must, and if that is enough. */
  private boolean makeAvailable(long count) {
    if (count > available() && count <= available() + atRest()) {
      while (count > available()) {
        dropOldest();
      }
    }
    return count <= available();
  }

  private void dropOldest() {
    for (Page page : resting.removeFirst().drop()) {
      unuse(page);
    }
  }

  /** Says that a sequence can do without its pages, should others need them. */
  synchronized void rest(KvCache cache) {
    resting.add(cache);
    if (closed) {
      dropOldest();
    }
    admit();
  }

  /** Says that a sequence needs its pages again, if it still has them. */
  synchronized void wake(KvCache cache) {
    resting.remove(cache);
  }

  /** Gives room to those who wait, in their order. */
  private void admit() {
    for (Waiter first = waiting.peek(); first != null; first = waiting.peek()) {
      first.room = room(first.least, first.most);
      if (first.room == null) {
        break;
      }
      waiting.remove();
      LockSupport.unpark(first.thread);
    }
  }

  synchronized void join(Room room) {
    room.sequences++;
  }

  /** Says that a sequence needs no more of the room; what the last one leaves is for others. */
  synchronized void leave(Room room) {
    room.sequences--;
    if (room.sequences == 0) {
      promised -= room.left;
      taken -= room.taken;
      admit();
    }
  }

  /** Ends the waits of those who were cancelled meanwhile; the others sleep on. */
  public synchronized void wakeUp() {
    for (Waiter waiter : waiting) {
      if (closed || waiter.isCancelled()) {
        LockSupport.unpark(waiter.thread);
      }
    }
  }

  /**
   * Ends all waiting and frees the pages that no sequence needs, remembered ones and those of
   * resting sequences; the others are freed with their sequences.
   */
  public synchronized void close() {
    closed = true;
    byUse.forEach(this::forget);
    byUse.clear();
    while (!resting.isEmpty()) {
      dropOldest();
    }
    wakeUp();
  }

  /**
   * New pages, all or none; makes place for them first.
   *
   * @param room of which they are taken as far as it goes
   */
  synchronized List<Page> allocate(int count, @Nullable Room room) {
    long own = room == null ? 0 : Math.min(count, room.left);
    if (!makeAvailable(count - own)) {
      throw full(count, count, available() + own);
    }
    List<Page> result = new ArrayList<>(count);
    try {
      for (int i = 0; i < count; i++) {
        if (pages == maxPages) {
          forgetOldest();
        }
        Page page = new Page(shape.pageBytes());
        result.add(page);
        pages++;
        if (room != null && room.left > 0) {
          take(page, room);
        }
      }
    } catch (RuntimeException | Error e) { // such as no memory left on the machine
      release(result);
      throw e;
    }
    return result;
  }

  private void take(Page page, Room room) {
    page.room = room;
    room.left--;
    promised--;
    room.taken++;
    taken++;
  }

  /** A page that is no longer in use is the room's again. */
  private void giveBack(Page page) {
    Room room = page.room;
    page.room = null;
    if (room != null && room.sequences > 0) {
      room.taken--;
      taken--;
      room.left++;
      promised++;
    }
  }

  private void forgetOldest() {
    for (Iterator<Node> i = byUse.iterator(); i.hasNext(); ) {
      Node node = i.next();
      if (node.page.references == 1) {
        i.remove();
        forget(node);
        return;
      }
    }
    throw new IllegalStateException("no idle page, expected " + idle);
  }

  private void forget(Node node) {
    nodes.remove(node.key);
    idle -= node.page.references == 1 ? 1 : 0;
    node.page.remembered = false;
    unuse(node.page);
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

  void release(Page page) {
    release(List.of(page));
  }

  synchronized void release(List<Page> released) {
    released.forEach(this::unuse);
    admit(); // once, as it looks at all that rests
  }

  private void unuse(Page page) {
    page.references--;
    if (page.remembered && page.references == 1) {
      idle++;
      giveBack(page);
    }
    if (page.references == 0) {
      giveBack(page);
      pages--;
      page.arena.close();
    }
  }

  /**
   * The pages that hold the beginning of a prompt, retained; at least one token is left over.
   *
   * @param room for the whole prompt, which needs less of it then
   */
  synchronized List<Page> find(@Nullable Adapter adapter, int[] ids, Room room) {
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
      if (each.page.references == 1) {
        take(each.page, room);
      } else { // somebody else's, for whom it counts
        room.left--;
        promised--;
      }
      retain(each.page);
      found.add(each.page);
    }
    admit();
    return found;
  }

  /** Remembers a sequence's full pages, the tokens of which are given from the beginning. */
  synchronized void remember(@Nullable Adapter adapter, int[] tokens, int full, Page[] held) {
    if (!remember || closed) {
      return;
    }
    List<Node> path = new ArrayList<>();
    Node node = null;
    for (int i = 0; i < full; i++) {
      Key key = key(adapter, node, tokens, (i + 1) * KvCache.PAGE_SIZE);
      Node known = nodes.get(key);
      if (known == null) {
        if (held[i].remembered) {
          // Behind pages that hold the same but are not these, and were forgotten meanwhile; it
          // makes room in its turn.
          break;
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
