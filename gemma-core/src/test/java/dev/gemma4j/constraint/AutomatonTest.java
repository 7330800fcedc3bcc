package dev.gemma4j.constraint;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.ref.WeakReference;
import java.nio.charset.StandardCharsets;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class AutomatonTest {
  private final Constraint constraint = Constraints.jsonObject();

  /** The state after a text that begins an object in a nesting of its own. */
  private Constraint.State walk(int seed) {
    Random random = new Random(seed);
    StringBuilder text = new StringBuilder("{\"a\":");
    for (int i = 0; i < 30; i++) {
      text.append(random.nextBoolean() ? "[" : "{\"a\":");
    }
    Constraint.State state = constraint.start();
    for (byte b : text.append('1').toString().getBytes(StandardCharsets.UTF_8)) {
      state = state.next(b & 255);
      assertThat(state).isNotNull();
    }
    return state;
  }

  @Test
  void statesThatWereForgottenAreFreed() throws InterruptedException {
    WeakReference<Constraint.State> early = new WeakReference<>(walk(0));
    int seed = 1;
    for (int tries = 0; early.get() != null && tries < 20; tries++) {
      for (int i = 0; i < 100; i++) {
        walk(seed++);
      }
      System.gc();
      Thread.sleep(10);
    }
    assertThat(early.get()).as("of %d texts", seed).isNull();
    Constraint.State again = walk(0);
    assertThat(again.isAccepting()).isFalse();
    assertThat(again.next('x')).isNull();
  }
}
