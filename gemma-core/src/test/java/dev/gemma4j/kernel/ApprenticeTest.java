package dev.gemma4j.kernel;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class ApprenticeTest {
  private final Apprentice apprentice = new Apprentice();

  @Test
  void vectorsTakeNoLongerThanWhatStandsInForThem() {
    Apprentice.Operation operation = apprentice.operation();
    double plain = 0;
    double vectors = 0;
    int turns = 0;
    for (int i = 0; i < 10_000; i++) {
      boolean turn = operation.turn(10);
      operation.done(turn, 10, turn ? 50_000 : 1_000);
      plain += turn ? 0 : 1_000;
      vectors += turn ? 50_000 : 0;
      turns += turn ? 1 : 0;
      assertThat(vectors).isLessThanOrEqualTo(plain);
    }
    assertThat(turns).isBetween(150, 200); // 50 times as long, and as long in all
    assertThat(operation.ready()).isFalse();
  }

  @Test
  void vectorsServeAllOnceTheyWereTheFasterOnesTwice() {
    Apprentice.Operation operation = apprentice.operation();
    assertThat(operation.turn(1)).as("nothing is known yet").isFalse();
    operation.done(false, 1, 1_000);
    operation.done(true, 1, 100);
    operation.done(true, 1, 90_000);
    operation.done(true, 1, 100);
    assertThat(operation.ready()).as("interrupted by a slow one").isFalse();
    operation.done(true, 1, 100);
    assertThat(operation.ready()).isTrue();
  }

  @Test
  void workIsWhatCounts() {
    Apprentice.Operation operation = apprentice.operation();
    operation.done(false, 100, 100_000);
    operation.done(true, 1, 10_000); // ten times as long for the same
    assertThat(operation.turn(1)).isTrue();
    assertThat(operation.turn(9)).isTrue();
    assertThat(operation.turn(10)).as("more than is left").isFalse();
    assertThat(operation.turn(0)).isFalse();
    operation.done(false, 0, 10);
    operation.done(true, 0, 10);
    assertThat(operation.turn(9)).as("no work tells nothing").isTrue();
  }

  @Test
  void operationsShareTheTime() {
    Apprentice.Operation products = apprentice.operation();
    Apprentice.Operation norms = apprentice.operation();
    norms.done(false, 1, 10);
    assertThat(norms.turn(1)).isFalse();
    products.done(false, 1, 100_000);
    assertThat(norms.turn(1)).isTrue();
  }

  @Test
  void oneIsDoneWithItByItself() {
    Apprentice.Operation products = apprentice.operation();
    Apprentice.Operation norms = apprentice.operation();
    products.graduate();
    assertThat(products.ready()).isTrue();
    assertThat(norms.ready()).isFalse();
  }
}
