package dev.gemma4j.kernel;

/**
 * Lets vector kernels be compiled by their own work: while plain loops serve an operation, vectors
 * serve some of its calls, and in all take no longer than those did, until they are the faster
 * ones.
 */
final class Apprentice {
  /** How many times longer than a plain loop's a vector's work takes in the interpreter, about. */
  private static final int GUESS = 200;

  // Threads write these without a lock: what is lost now and then does not matter.
  private double credit;

  /** One of the kernels. */
  final class Operation {
    private volatile boolean ready;
    private double plain; // nanoseconds for one of what is counted as work, at best
    private double late; // the same by vectors, the last time
    private int wins;

    /** Whether vectors serve all calls. */
    boolean ready() {
      return ready;
    }

    /** Vectors serve all calls from now on. */
    void graduate() {
      ready = true;
    }

    /** Whether vectors serve a call with so much work. */
    boolean turn(double work) {
      return work > 0 && plain > 0 && work * (late > 0 ? late : GUESS * plain) <= credit;
    }

    /** Such a call has taken so long. */
    void done(boolean turn, double work, long nanos) {
      if (work == 0) { // a thread's share of little
        return;
      }
      double rate = nanos / work;
      if (!turn) {
        plain = plain > 0 ? Math.min(plain, rate) : rate;
        credit += nanos;
        return;
      }
      credit -= nanos;
      late = rate;
      // Compiled for sure: before that it is ten times as long and more. And twice, as the thread
      // may have had to wait during the other calls.
      wins = rate < 2 * plain ? wins + 1 : 0;
      if (wins == 2) {
        graduate();
      }
    }
  }

  Operation operation() {
    return new Operation();
  }
}
