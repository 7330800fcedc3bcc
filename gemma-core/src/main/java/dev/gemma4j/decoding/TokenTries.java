package dev.gemma4j.decoding;

import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.tokenizer.Tokenizer;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** A model's vocabulary as constraints need it, made on first use, and what they allowed of it. */
public final class TokenTries {
  private static final int MAX_CONSTRAINTS = 8;

  private final Tokenizer tokenizer;
  private @Nullable TokenTrie trie;
  private @Nullable TokenTrie trieAtStart;
  private final Map<Constraint, TokenMasks> masks =
      new LinkedHashMap<>(16, 0.75f, true) {
        private static final long serialVersionUID = 1;

        @Override
        protected boolean removeEldestEntry(Map.Entry<Constraint, TokenMasks> eldest) {
          return size() > MAX_CONSTRAINTS;
        }
      };

  /** Nothing is computed yet. */
  public TokenTries(Tokenizer tokenizer) {
    this.tokenizer = tokenizer;
  }

  Tokenizer tokenizer() {
    return tokenizer;
  }

  /** The masks of a constraint, common to all its generations, and to those of equal ones. */
  synchronized TokenMasks masks(Constraint constraint) {
    return masks.computeIfAbsent(constraint, unknown -> new TokenMasks(unknown, this));
  }

  synchronized TokenTrie get(boolean atStart) {
    boolean special = atStart && tokenizer.dropsLeadingSpace();
    TokenTrie found = special ? trieAtStart : trie;
    if (found == null) {
      found = new TokenTrie(tokenizer, special);
      if (special) {
        trieAtStart = found;
      } else {
        trie = found;
      }
    }
    return found;
  }
}
