package dev.gemma4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.gemma4j.constraint.Constraints;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.sampling.LogitsProcessor;
import dev.gemma4j.sampling.LogitsProcessors;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Texts on a session of the caller. */
@Timeout(60)
class SessionStreamTest {
  private static final String MODEL = "gemma-mqa-f32";
  private static final int[] IDS = new Random(5).ints(70, 3, 512).toArray();
  private static final int[] NONE = {};
  private static Gemma gemma;

  @BeforeAll
  static void load() {
    gemma = Goldens.load(MODEL);
  }

  @AfterAll
  static void close() {
    gemma.close();
  }

  private static GenerationOptions.Builder options() {
    return GenerationOptions.builder().seed(3).maxTokens(20).ignoreEos(true);
  }

  private static Generation run(Session session, int[] ids, GenerationOptions options) {
    try (TokenStream stream = gemma.stream(session, ids, options)) {
      stream.forEachRemaining(token -> {});
      return stream.result();
    }
  }

  private static int[] first(int[] ids, int count) {
    return Arrays.copyOf(ids, count);
  }

  private static int[] after(int[] ids, int count) {
    return Arrays.copyOfRange(ids, count, ids.length);
  }

  @Test
  void theTextIsThatOfGenerate() {
    List<GenerationOptions> all =
        List.of(
            options().build(),
            options().temperature(0).repetitionPenalty(1.3f).build(),
            options().temperature(0).speculation(Speculation.promptLookup(4)).build(),
            options().ignoreEos(false).constraint(Constraints.choice("glad", "angry")).build(),
            options().stop("a", "e").build());
    for (GenerationOptions options : all) {
      Generation expected = gemma.generate(Prompt.ofIds(IDS), options);
      try (Session session = gemma.newSession()) {
        session.append(first(IDS, 50));
        Generation found = run(session, after(IDS, 50), options);
        assertThat(found.tokens()).isEqualTo(expected.tokens());
        assertThat(found.text()).isEqualTo(expected.text());
        assertThat(found.finishReason()).isEqualTo(expected.finishReason());
        assertThat(found.usage().promptTokens()).isEqualTo(20);
        assertThat(found.usage().reusedPromptTokens()).isZero();
        // The last token was not run.
        int[] held = ChatTemplate.concat(IDS, first(found.ids(), found.ids().length - 1));
        assertThat(session.tokens()).isEqualTo(held);

        int[] last = after(found.ids(), found.ids().length - 1);
        int[] whole = ChatTemplate.concat(held, last);
        assertThat(run(session, last, options).tokens())
            .isEqualTo(gemma.generate(Prompt.ofIds(whole), options).tokens());
      }
    }
  }

  @Test
  void noIdsGoOnFromWhatTheSessionHolds(@TempDir Path directory) throws IOException {
    List<Integer> expected = gemma.generate(Prompt.ofIds(IDS), options().build()).tokens();
    Path file = directory.resolve("session");
    try (Session session = gemma.newSession()) {
      Logits logits = session.append(IDS);
      logits.set(logits.argmax(), Float.NEGATIVE_INFINITY); // nobody's business but the caller's
      session.save(file);
      assertThat(run(session, NONE, options().build()).tokens()).isEqualTo(expected);
      session.truncate(IDS.length);
      try (Session fork = session.fork()) {
        assertThat(run(fork, NONE, options().build()).tokens()).isEqualTo(expected);
      }
    }
    try (Session session = gemma.restore(file)) {
      Generation found = run(session, NONE, options().build());
      assertThat(found.tokens()).isEqualTo(expected);
      assertThat(found.usage().promptTokens()).isZero();
      assertThat(session.position()).isEqualTo(IDS.length + 19);
    }
  }

  @Test
  void theSessionGoesOnAfterOneThatWasCancelledOrFailed() {
    GenerationOptions options = options().build();
    int[] expected = gemma.generate(Prompt.ofIds(IDS), options).ids();
    LogitsProcessor broken =
        (logits, history) -> {
          if (history.size() == IDS.length + 3) {
            throw new IllegalStateException("not today");
          }
        };
    try (Session session = gemma.newSession()) {
      try (TokenStream stream = gemma.stream(session, IDS, options)) {
        stream.cancel();
        assertThat(stream.hasNext()).isFalse();
      }
      assertThat(session.position()).isZero();
      try (TokenStream stream = gemma.stream(session, IDS, options)) {
        for (int i = 0; i < 4; i++) {
          stream.next();
        }
      }
      int[] held = ChatTemplate.concat(IDS, first(expected, 3));
      assertThat(session.tokens()).isEqualTo(held);
      session.truncate(IDS.length);
      assertThatThrownBy(() -> run(session, NONE, options().processor(broken).build()))
          .hasMessage("not today");
      assertThat(session.tokens()).isEqualTo(held);
      assertThat(session.append(expected[3]).argmax()).isEqualTo(argmaxAfter(held, expected[3]));
    }
  }

  private static int argmaxAfter(int[] ids, int id) {
    try (Session session = gemma.newSession()) {
      session.append(ids);
      return session.append(id).argmax();
    }
  }

  @Test
  void theContextEndsIt() {
    LoadOptions small = LoadOptions.defaults().withContextLength(IDS.length + 2);
    try (Gemma narrow = Goldens.load(MODEL, small);
        Session session = narrow.newSession()) {
      try (TokenStream stream =
          narrow.stream(session, new int[IDS.length + 3], options().build())) {
        assertThatThrownBy(stream::hasNext).isInstanceOf(ContextLengthException.class);
      }
      try (TokenStream stream = narrow.stream(session, IDS, options().build())) {
        stream.forEachRemaining(token -> {});
        assertThat(stream.result().tokens()).hasSize(3);
        assertThat(stream.result().finishReason()).isEqualTo(FinishReason.LENGTH);
      }
      try (TokenStream stream = narrow.stream(session, NONE, options().build())) {
        stream.next(); // of the last logits
        assertThat(stream.hasNext()).isFalse();
      }
      assertThat(session.position()).isEqualTo(narrow.contextLength());
    }
  }

  @Test
  void itTakesMemoryAsSessionsDo() {
    long page;
    try (Session session = gemma.newSession()) {
      page = 2L * 32 * Float.BYTES * gemma.config().numLayers();
      page *= (long) gemma.config().numKvHeads() * gemma.config().headDim();
      session.append(2);
    }
    LoadOptions little =
        LoadOptions.defaults().withKvMemory(4 * page).withKvWait(Duration.ofDays(1));
    List<Integer> expected = gemma.generate(Prompt.ofIds(IDS), options().build()).tokens();
    try (Gemma full = Goldens.load(MODEL, little);
        Session session = full.newSession()) {
      try (Session other = full.newSession()) {
        session.append(first(IDS, 32));
        other.append(first(IDS, 64));
        try (TokenStream stream = full.stream(session, after(IDS, 32), options().build())) {
          assertThatThrownBy(stream::hasNext).isInstanceOf(KvMemoryException.class);
          assertThat(session.position()).isEqualTo(32);
          other.truncate(0);
          List<Integer> found = new ArrayList<>();
          stream.forEachRemaining(token -> found.add(token.id()));
          assertThat(found).isEqualTo(expected);
        }
        other.append(1); // what the text did not take is free
      }
      assertThat(full.generate(Prompt.ofIds(2), options().maxTokens(2).build()).tokens())
          .hasSize(2);
      try (Session fork = session.fork();
          Session all = full.newSession()) {
        all.append(new int[32]); // so that there is no page for a copy of the last
        int length = fork.position();
        try (TokenStream stream = full.stream(fork, NONE, options().build())) {
          assertThatThrownBy(stream::hasNext).isInstanceOf(KvMemoryException.class);
        }
        assertThat(fork.position()).isEqualTo(length);
        all.truncate(0);
        assertThat(fork.append(5).size()).isEqualTo(512);
      }
    }
  }

  @Test
  void whatCannotBeIsRefused() throws IOException {
    GenerationOptions options = options().build();
    try (Session session = gemma.newSession();
        Gemma other = Goldens.load(MODEL)) {
      assertThatThrownBy(() -> gemma.stream(session, NONE, options))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("no ids, and none in the session");
      assertThatThrownBy(() -> other.stream(session, IDS, options))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("a session is of another model");
      LoraAdapter adapter = gemma.loadAdapter(Goldens.resource("lora/every"));
      GenerationOptions adapted = options().adapter(adapter).build();
      assertThatThrownBy(() -> gemma.stream(session, IDS, adapted))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("the session runs with another or none");
      List<Integer> expected = gemma.generate(Prompt.ofIds(IDS), adapted).tokens();
      try (Session with = gemma.newSession(adapter)) {
        assertThat(run(with, IDS, adapted).tokens()).isEqualTo(expected);
        with.truncate(0);
        assertThat(run(with, IDS, options).tokens()).isEqualTo(expected);
      }
      Session closed = gemma.newSession();
      closed.close();
      try (TokenStream stream = gemma.stream(closed, IDS, options)) {
        assertThatThrownBy(stream::hasNext).hasMessage("session is closed");
      }
    }
  }

  @Test
  void aLoopOfOnesOwnMayUseProcessors() {
    List<Integer> expected =
        gemma
            .generate(Prompt.ofIds(IDS), options().temperature(0).repetitionPenalty(1.3f).build())
            .tokens();
    LogitsProcessor penalty = LogitsProcessors.repetitionPenalty(1.3f);
    List<Integer> found = new ArrayList<>();
    try (Session session = gemma.newSession()) {
      Logits logits = session.append(IDS);
      while (found.size() < expected.size()) {
        penalty.process(logits, session.history());
        found.add(logits.argmax());
        logits = session.append(found.getLast());
      }
      assertThat(session.history().size()).isEqualTo(session.position());
      assertThat(session.history().get(69)).isEqualTo(IDS[69]);
    }
    assertThat(found).isEqualTo(expected);
  }
}
