package dev.gemma4j.decoding;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.core.JsonParseException;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.constraint.Constraints;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.tokenizer.PieceType;
import dev.gemma4j.tokenizer.Tokenizer;
import dev.gemma4j.tokenizer.Vocabulary;
import dev.gemma4j.tokenizer.Vocabulary.Piece;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CountDownLatch;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Whatever a model prefers, what it may choose makes a valid text. */
class ConstrainedTextTest {
  private static final int EOS = 1;
  private static final JsonMapper JSON =
      JsonMapper.builder()
          .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
          .build();

  private static Tokenizer tokenizer;

  @BeforeAll
  static void load() throws IOException {
    tokenizer =
        Tokenizer.parse(
            Objects.requireNonNull(
                    Vocabulary.class.getResourceAsStream(
                        "/dev/gemma4j/forward/gemma-mqa-f32/tokenizer.model"))
                .readAllBytes(),
            "tokenizer.model");
  }

  private static ConstrainedText start(Constraint constraint, Tokenizer tokenizer) {
    return new ConstrainedText(constraint, new TokenTries(tokenizer), Set.of(EOS), () -> false);
  }

  /** What is possible, by asking for all logits. */
  private static List<Integer> possible(ConstrainedText text, int vocabSize) {
    Logits logits = Logits.of(new float[vocabSize]);
    text.restrict(logits);
    List<Integer> ids = new ArrayList<>();
    List<Integer> allowed = new ArrayList<>();
    for (int id = 0; id < vocabSize; id++) {
      if (text.allows(id)) {
        allowed.add(id);
      }
      if (logits.get(id) == 0) {
        ids.add(id);
      }
    }
    assertThat(allowed).isEqualTo(ids);
    return ids;
  }

  /**
   * A text of random tokens, null when it did not end in time. Tokens that may bring it to an end
   * are preferred a little.
   */
  private static @Nullable String random(
      Constraint constraint, Tokenizer tokenizer, Random random) {
    ConstrainedText text = start(constraint, tokenizer);
    BitSet ends = new BitSet(); // tokens with a quote or a closing bracket
    for (int id = 0; id < tokenizer.vocabSize(); id++) {
      String piece = tokenizer.piece(id);
      ends.set(id, id == EOS || piece.chars().anyMatch(c -> "\"]}".indexOf(c) >= 0));
    }
    List<Integer> ids = new ArrayList<>();
    while (ids.size() < 200) {
      List<Integer> possible = possible(text, tokenizer.vocabSize() + 3);
      if (text.isComplete()) {
        assertThat(possible).containsExactly(EOS);
        return decode(tokenizer, ids);
      }
      assertThat(possible).isNotEmpty();
      assertThat(possible.getLast()).isLessThan(tokenizer.vocabSize());
      List<Integer> ending = possible.stream().filter(ends::get).toList();
      List<Integer> from = !ending.isEmpty() && random.nextInt(10) < 4 ? ending : possible;
      int id = from.get(random.nextInt(from.size()));
      if (id == EOS) {
        return decode(tokenizer, ids);
      }
      text.append(id);
      ids.add(id);
    }
    return null;
  }

  private static String decode(Tokenizer tokenizer, List<Integer> ids) {
    return tokenizer.decode(ids.stream().mapToInt(i -> i).toArray());
  }

  @Test
  void everyTokenThatCanGoOnMayAndNoOther() {
    Random random = new Random(3);
    for (String regex : List.of("[a-z ]{3,9}", "(é|€|\\d+)*x", ".*")) {
      ConstrainedText text = start(Constraints.regex(regex), tokenizer);
      Constraint.State state = Constraints.regex(regex).start();
      for (int step = 0; step < 8 && !text.isComplete(); step++) {
        List<Integer> expected = new ArrayList<>();
        for (int id = 0; id < tokenizer.vocabSize(); id++) {
          boolean steers = tokenizer.type(id) == PieceType.UNKNOWN || tokenizer.isMarker(id);
          if (id == EOS ? state.isAccepting() : !steers && after(state, id) != null) {
            expected.add(id);
          }
        }
        assertThat(possible(text, tokenizer.vocabSize())).isEqualTo(expected);
        expected.remove((Integer) EOS);
        int id = expected.get(random.nextInt(expected.size()));
        text.append(id);
        state = after(state, id);
      }
    }
  }

  private static Constraint.@Nullable State after(Constraint.State state, int id) {
    Constraint.State at = state;
    for (byte b : tokenizer.bytes(id)) {
      at = at == null ? null : at.next(b & 0xff);
    }
    return at;
  }

  @Test
  void randomTextsMatchTheirPattern() {
    Random random = new Random(4);
    for (String regex :
        List.of(
            "\\d{4}-\\d\\d-\\d\\d",
            "(yes|no|maybe)( [a-z]{1,5}){0,3}\\.",
            "[^a-zA-Z0-9]{2,6}",
            "([€-😀]|é|\\w){1,8}!?",
            " *a* ",
            "[\\x00-\\x7f]{0,30}")) {
      int ended = 0;
      for (int i = 0; i < 50; i++) {
        String text = random(Constraints.regex(regex), tokenizer, random);
        if (text != null) {
          assertThat(text).matches(Pattern.compile(regex, Pattern.DOTALL));
          ended++;
        }
      }
      assertThat(ended).as(regex).isGreaterThan(40);
    }
  }

  @Test
  void randomTextsAreValidForRandomSchemas() throws IOException {
    Random random = new Random(5);
    int ended = 0;
    for (int i = 0; i < 300; i++) {
      RandomSchemas schemas = new RandomSchemas(random);
      JsonNode schema = JSON.readTree(schemas.schema(3).toString());
      Constraint constraint = Constraints.jsonSchema(schema.toString());
      for (int j = 0; j < 6; j++) {
        String text = random(constraint, tokenizer, random);
        if (text == null) {
          continue;
        }
        try {
          assertThat(RandomSchemas.isValid(schema, JSON.readTree(text)))
              .as("%s for %s", text, schema)
              .isTrue();
          ended++;
        } catch (JsonParseException e) { // in a map a name may come twice
          assertThat(e).hasMessageContaining("Duplicate field");
        }
      }
    }
    assertThat(ended).isGreaterThan(1300);
  }

  /** A vocabulary without byte pieces whose decoding drops the first space. */
  private static Tokenizer spaced(boolean removeExtra, String... pieces) throws IOException {
    List<Piece> all = new ArrayList<>();
    all.add(new Piece("<pad>", 0, PieceType.CONTROL));
    all.add(new Piece("<eos>", 0, PieceType.CONTROL));
    all.add(new Piece("<unk>", 0, PieceType.UNKNOWN));
    for (String piece : pieces) {
      all.add(new Piece(piece, 0, PieceType.NORMAL));
    }
    Vocabulary.Normalization rules =
        new Vocabulary.Normalization(true, removeExtra, true, new byte[0]);
    return Tokenizer.of(
        new Vocabulary(all, Vocabulary.Algorithm.BPE, rules, -1, EOS, 0, true), "test");
  }

  @Test
  void aSpaceThatDecodingDropsDoesNotCount() throws IOException {
    for (boolean removeExtra : new boolean[] {false, true}) {
      Tokenizer tokenizer = spaced(removeExtra, "▁", "▁a", "a", "▁▁a", "b", "▁b");
      Set<String> seen = new TreeSet<>();
      Random random = new Random(6);
      for (int i = 0; i < 200; i++) {
        seen.add(random(Constraints.choice("a b", "b", " a"), tokenizer, random));
      }
      assertThat(seen).containsExactly(" a", "a b", "b");
    }
  }

  @Test
  void aVocabularyThatCannotGoOnSaysSo() throws IOException {
    Tokenizer tokenizer = spaced(false, "a", "b");
    assertThatThrownBy(() -> start(Constraints.choice("c"), tokenizer).prepare())
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("no token of the vocabulary");
    ConstrainedText text = start(Constraints.choice("ac", "b"), tokenizer);
    assertThatThrownBy(() -> text.append(3)).hasMessageContaining("no token of the vocabulary");
  }

  /** As many opening brackets as closing ones, which no regular expression can say. */
  private record Balance(int depth) implements Constraint.State {
    @Override
    public @Nullable Balance next(int b) {
      return b == '('
          ? new Balance(depth + 1)
          : b == ')' && depth > 0 ? new Balance(depth - 1) : null;
    }

    @Override
    public boolean isAccepting() {
      return depth == 0;
    }
  }

  @Test
  void aConstraintOfTheUsersOwnIsKept() {
    Random random = new Random(7);
    int ended = 0;
    for (int i = 0; i < 50; i++) {
      String text = random(() -> new Balance(0), tokenizer, random);
      if (text != null) {
        assertThat(text).matches("[()]*");
        assertThat(text.chars().filter(c -> c == '(').count() * 2).isEqualTo(text.length());
        ended++;
      }
    }
    assertThat(ended).isGreaterThan(20);
  }

  /** Remembers the text, which must not have the same byte twice in a row. */
  private record SoFar(String text) implements Constraint.State {
    @Override
    public @Nullable SoFar next(int b) {
      return text.endsWith("" + (char) b) ? null : new SoFar(text + (char) b);
    }

    @Override
    public boolean isAccepting() {
      return true;
    }
  }

  @Test
  void aStateForEachTextIsNotKept() {
    StateTable states = new StateTable();
    int[] path = new int[3];
    states.begin(new SoFar(""), path);
    for (int first = 0; first < 256; first++) {
      path[1] = states.next(path, 0, first, () -> false);
      for (int second = 0; second < 256; second++) {
        path[2] = states.next(path, 1, second, () -> false);
        assertThat(path[2]).isLessThanOrEqualTo(StateTable.MAX_KEPT);
        assertThat(path[2] == StateTable.DEAD).isEqualTo(first == second);
        if (first != second) {
          assertThat(states.next(path, 2, second, () -> false)).isEqualTo(StateTable.DEAD);
        }
      }
    }
  }

  @Test
  @Timeout(60)
  void whoWaitsForWhatAnotherComputesMayBeCancelled() throws InterruptedException {
    CountDownLatch asked = new CountDownLatch(1);
    CountDownLatch answer = new CountDownLatch(1);
    Constraint.State slow =
        new Constraint.State() {
          @Override
          public Constraint.State next(int b) {
            asked.countDown();
            try {
              answer.await();
            } catch (InterruptedException e) {
              throw new AssertionError(e);
            }
            return this;
          }

          @Override
          public boolean isAccepting() {
            return true;
          }
        };
    Constraint constraint = () -> slow;
    TokenTries tries = new TokenTries(tokenizer);
    Thread other =
        Thread.startVirtualThread(
            new ConstrainedText(constraint, tries, Set.of(EOS), () -> false)::prepare);
    asked.await();
    ConstrainedText waiting = new ConstrainedText(constraint, tries, Set.of(EOS), () -> true);
    assertThatThrownBy(waiting::prepare).isInstanceOf(CancellationException.class);
    answer.countDown();
    other.join();
    waiting.prepare(); // known by now
  }

  @Test
  void bytesOfPiecesAreWhatDecodingPrints() {
    for (int id = 0; id < tokenizer.vocabSize(); id++) {
      String text = new String(tokenizer.bytes(id), StandardCharsets.UTF_8);
      assertThat(tokenizer.decode(id)).isEqualTo(text);
    }
  }

  /** A constraint that equals all others of its kind, though their states do not, and counts. */
  private static final class Counted implements Constraint {
    private final Constraint letters = Constraints.regex("[a-z]*");
    private int asked;

    private record Place(Counted of, State state) implements State {
      @Override
      public @Nullable State next(int b) {
        of.asked++;
        State reached = state.next(b);
        return reached == null ? null : new Place(of, reached);
      }

      @Override
      public boolean isAccepting() {
        return state.isAccepting();
      }
    }

    @Override
    public State start() {
      return new Place(this, letters.start());
    }

    @Override
    public int hashCode() {
      return 1;
    }

    @Override
    public boolean equals(@Nullable Object other) {
      return other instanceof Counted;
    }
  }

  @Test
  void whatATextFoundOutATextOfAnEqualConstraintKnows() {
    Counted first = new Counted();
    Counted second = new Counted();
    TokenTries tries = new TokenTries(tokenizer);
    List<Integer> found =
        possible(
            new ConstrainedText(first, tries, Set.of(EOS), () -> false), tokenizer.vocabSize());
    assertThat(first.asked).isPositive();
    ConstrainedText again = new ConstrainedText(second, tries, Set.of(EOS), () -> false);
    assertThat(possible(again, tokenizer.vocabSize())).isEqualTo(found);
    again.append(found.stream().filter(id -> id != EOS).findFirst().orElseThrow());
    assertThat(second.asked).isZero();
  }

  @Test
  void constraintsOfTheSameTextAreEqual() {
    List<Constraint> one = constraints();
    List<Constraint> other = constraints();
    assertThat(one).isEqualTo(other).doesNotHaveDuplicates();
    assertThat(one.stream().map(Object::hashCode))
        .containsExactlyElementsOf(other.stream().map(Object::hashCode).toList());
  }

  private static List<Constraint> constraints() {
    return List.of(
        Constraints.regex("a"),
        Constraints.regex("b"),
        Constraints.choice("a"),
        Constraints.choice("a", "b"),
        Constraints.jsonSchema("{\"type\": \"integer\"}"),
        Constraints.jsonSchema("{\"type\": \"null\"}"),
        Constraints.jsonObject());
  }
}
