package dev.gemma4j.sampling;

import java.util.random.RandomGenerator;

/** See {@link Samplers#mirostat}. For one text at a time. */
final class Mirostat implements Sampler {
  private static final double LOG_2 = Math.log(2);

  private final float tau;
  private final float eta;
  private double mu; // the most surprise that is possible now, in bits

  Mirostat(float tau, float eta) {
    this.tau = tau;
    this.eta = eta;
    this.mu = 2 * tau;
  }

  @Override
  public Sampler newText() {
    return new Mirostat(tau, eta);
  }

  @Override
  public int sample(Logits logits, RandomGenerator random) {
    float[] logs = logits.logSoftmax();
    int best = logits.argmax();
    double mass = 0;
    for (int id = 0; id < logs.length; id++) {
      mass += isKept(logs, id, best) ? Math.exp(logs[id]) : 0;
    }
    double left = random.nextDouble() * mass;
    int chosen = best;
    for (int id = 0; id < logs.length; id++) {
      if (isKept(logs, id, best) && logs[id] > Float.NEGATIVE_INFINITY) {
        chosen = id;
        left -= Math.exp(logs[id]);
        if (left < 0) {
          break;
        }
      }
    }
    double surprise = -(logs[chosen] - Math.log(mass)) / LOG_2;
    mu -= eta * (surprise - tau);
    return chosen;
  }

  private boolean isKept(float[] logs, int id, int best) {
    return id == best || -logs[id] / LOG_2 <= mu;
  }
}
