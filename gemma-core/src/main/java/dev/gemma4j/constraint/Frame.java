package dev.gemma4j.constraint;

import org.jspecify.annotations.Nullable;

/** A place in a network: a node, and where to go on when its rule ends. Equal by content. */
final class Frame {
  final Node node;
  final @Nullable Frame caller;
  private final int hash;

  Frame(Node node, @Nullable Frame caller) {
    this.node = node;
    this.caller = caller;
    this.hash = 31 * (caller == null ? 17 : caller.hash) + node.index;
  }

  @Override
  public int hashCode() {
    return hash;
  }

  @Override
  public boolean equals(@Nullable Object other) {
    // A loop, as deeply nested JSON makes long chains; mostly these meet in a common caller.
    Frame a = this;
    Frame b = other instanceof Frame frame ? frame : null;
    while (a != b) {
      if (a == null || b == null || a.hash != b.hash || a.node != b.node) {
        return false;
      }
      a = a.caller;
      b = b.caller;
    }
    return true;
  }
}
