package dev.gemma4j.tokenizer;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;

/**
 * SentencePiece's BPE step by step, with strings, on the whole text at once
 * (https://github.com/google/sentencepiece/blob/master/src/bpe_model.cc). Without a normaliser.
 */
final class ReferenceBpe {
  private final Tokenizer tokenizer;
  private final Map<Character, List<String>> userDefined = new HashMap<>(); // by their first

  ReferenceBpe(Tokenizer tokenizer) {
    this.tokenizer = tokenizer;
    for (int id = 0; id < tokenizer.vocabSize(); id++) {
      if (tokenizer.type(id) == PieceType.USER_DEFINED) {
        String piece = tokenizer.piece(id);
        userDefined.computeIfAbsent(piece.charAt(0), c -> new ArrayList<>()).add(piece);
      }
    }
    for (List<String> pieces : userDefined.values()) {
      pieces.sort(Comparator.comparing(String::length).reversed());
    }
  }

  private record Pair(int left, int right, int id, float score, int length) {}

  int[] encode(String raw) {
    return new Run(raw.replace(' ', '\u2581')).ids();
  }

  private final class Run {
    private final List<String> symbols = new ArrayList<>();
    private final List<Boolean> frozen = new ArrayList<>();
    private final List<Integer> previous = new ArrayList<>();
    private final List<Integer> next = new ArrayList<>();
    private final Map<String, String[]> parts = new HashMap<>();
    private final List<Integer> ids = new ArrayList<>();
    private final PriorityQueue<Pair> agenda =
        new PriorityQueue<>(Comparator.comparing(Pair::score).reversed().thenComparing(Pair::left));

    Run(String text) {
      for (int at = 0; at < text.length(); at += symbols.getLast().length()) {
        int start = at;
        String literal =
            userDefined.getOrDefault(text.charAt(at), List.of()).stream()
                .filter(p -> text.startsWith(p, start))
                .findFirst()
                .orElse("");
        frozen.add(!literal.isEmpty());
        symbols.add(literal.isEmpty() ? Character.toString(text.codePointAt(at)) : literal);
        previous.add(symbols.size() - 2);
        next.add(symbols.size());
      }
    }

    private int id(String piece) {
      int id = tokenizer.idOf(piece);
      return id < 0
          ? -1
          : switch (tokenizer.type(id)) {
            case NORMAL, USER_DEFINED, UNUSED -> id;
            default -> -1;
          };
    }

    private void offer(int left, int right) {
      if (left < 0 || right >= symbols.size() || frozen.get(left) || frozen.get(right)) {
        return;
      }
      String union = symbols.get(left) + symbols.get(right);
      int id = id(union);
      if (id >= 0) {
        agenda.add(new Pair(left, right, id, tokenizer.score(id), union.length()));
        if (tokenizer.type(id) == PieceType.UNUSED) {
          parts.put(union, new String[] {symbols.get(left), symbols.get(right)});
        }
      }
    }

    int[] ids() {
      for (int i = 1; i < symbols.size(); i++) {
        offer(i - 1, i);
      }
      while (!agenda.isEmpty()) {
        Pair top = agenda.remove();
        String left = symbols.get(top.left);
        String right = symbols.get(top.right);
        if (left.isEmpty() || right.isEmpty() || left.length() + right.length() != top.length) {
          continue;
        }
        symbols.set(top.left, left + right);
        symbols.set(top.right, "");
        next.set(top.left, next.get(top.right));
        if (next.get(top.left) < symbols.size()) {
          previous.set(next.get(top.left), top.left);
        }
        offer(previous.get(top.left), top.left);
        offer(top.left, next.get(top.left));
      }
      symbols.stream().filter(s -> !s.isEmpty()).forEach(this::emit);
      return ids.stream().mapToInt(i -> i).toArray();
    }

    private void emit(String symbol) {
      int id = id(symbol);
      if (id >= 0 && tokenizer.type(id) == PieceType.UNUSED && parts.containsKey(symbol)) {
        String[] two = parts.get(symbol);
        emit(two[0]);
        emit(two[1]);
      } else if (id >= 0) {
        ids.add(id);
      } else {
        for (byte b : symbol.getBytes(StandardCharsets.UTF_8)) {
          ids.add(tokenizer.idOf(String.format("<0x%02X>", b)));
        }
      }
    }
  }
}
