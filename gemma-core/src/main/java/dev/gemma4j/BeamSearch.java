package dev.gemma4j;

import dev.gemma4j.constraint.Constraint;
import dev.gemma4j.decoding.ConstrainedText;
import dev.gemma4j.model.KvCache;
import dev.gemma4j.sampling.Logits;
import dev.gemma4j.sampling.LogitsProcessor;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** One run of {@link Search#beams}; closes the sessions of its unfinished texts. */
final class BeamSearch implements AutoCloseable {
  private final Gemma gemma;
  private final GenerationOptions options;
  private final Set<Integer> ends;
  private final int width;
  private final float lengthPenalty;
  private List<Beam> beams = new ArrayList<>();
  // The best of each text: it may come in several tokenisations, of which nobody sees a difference.
  private final Map<String, Finished> finished = new LinkedHashMap<>();
  private int longest; // the most tokens of a text, its end among them

  BeamSearch(
      Gemma gemma, GenerationOptions options, Set<Integer> ends, int width, float lengthPenalty) {
    this.gemma = gemma;
    this.options = options;
    this.ends = ends;
    this.width = width;
    this.lengthPenalty = lengthPenalty;
  }

  /** An unfinished text: its session holds the prompt and {@code ids}. */
  private record Beam(
      Session session, List<Integer> ids, double sum, @Nullable ConstrainedText constrained) {}

  /** A token after a beam. */
  private record Step(Beam beam, int id, double sum) {}

  private record Finished(String text, List<Integer> ids, double score, FinishReason reason) {}

  List<Generation> run(int[] prompt) {
    long start = System.nanoTime();
    Events.Prefill event = Events.prefill();
    Constraint constraint = options.constraint();
    Session session = gemma.newSession(options.adapter());
    beams.add(
        new Beam(
            session,
            List.of(),
            0,
            constraint == null ? null : gemma.constrain(constraint, ends, () -> false)));
    session.check(prompt);
    // The last token is not run, so that there may be one more than the context has positions left.
    longest = Math.min(options.maxTokens(), gemma.contextLength() - prompt.length + 1);
    if (longest == 0) { // then nothing is run, as in generating
      finish(List.of(), 0, 1, FinishReason.LENGTH);
      return best(prompt.length, 0, 0, 0);
    }
    // Each beam may have all tokens for itself, and copies of the pages where it begins and ends.
    long own = (long) longest + 2 * KvCache.PAGE_SIZE;
    session.awaitRoom(prompt.length, prompt.length + width * own, () -> false);
    long waited = System.nanoTime() - start;
    List<Logits> rows = List.of(session.append(prompt));
    long prefilled = System.nanoTime();
    long queued = waited + session.queuedNanos();
    if (event != null) {
      event.end(prompt.length, 0, queued);
    }
    for (int length = 1; length <= longest && !rows.isEmpty(); length++) {
      List<Step> live = choose(rows);
      boolean last = length == longest;
      if (last || !canImprove(live)) {
        for (Step step : last ? live : List.<Step>of()) {
          finish(append(step.beam().ids(), step.id()), step.sum(), length, FinishReason.LENGTH);
        }
        break;
      }
      rows = advance(live);
    }
    return best(prompt.length, queued, prefilled - start - queued, System.nanoTime() - prefilled);
  }

  private List<Generation> best(int promptTokens, long queued, long prefill, long decode) {
    return finished.values().stream()
        .sorted(Comparator.comparingDouble(Finished::score).reversed())
        .limit(width)
        .map(
            text ->
                new Generation(
                    text.text(),
                    text.ids(),
                    text.reason(),
                    new Usage(
                        promptTokens,
                        text.ids().size(),
                        Duration.ofNanos(prefill),
                        Duration.ofNanos(decode),
                        0,
                        0,
                        0,
                        Duration.ofNanos(queued),
                        Duration.ofNanos(queued + prefill)),
                    List.of()))
        .toList();
  }

  /** The best tokens that go on; those that end a text, when among the best, finish it. */
  private List<Step> choose(List<Logits> rows) {
    List<Step> steps = new ArrayList<>();
    for (int i = 0; i < beams.size(); i++) {
      Beam beam = beams.get(i);
      // Each beam has at most all ends to finish with, and then needs as many as there are beams.
      for (LogProbability best :
          TokenLogProbabilities.best(process(beam, rows.get(i)), width + ends.size())) {
        steps.add(new Step(beam, best.id(), beam.sum() + best.value()));
      }
    }
    steps.sort(Comparator.comparingDouble(Step::sum).reversed());
    List<Step> live = new ArrayList<>();
    for (int rank = 0; rank < steps.size() && live.size() < width; rank++) {
      Step step = steps.get(rank);
      if (!ends.contains(step.id())) {
        live.add(step);
      } else if (rank < width) {
        List<Integer> ids = step.beam().ids();
        finish(ids, step.sum(), ids.size() + 1, FinishReason.EOS);
      }
    }
    return live;
  }

  private float[] process(Beam beam, Logits row) {
    ConstrainedText constrained = beam.constrained();
    if (constrained != null) {
      constrained.restrict(row);
    }
    for (LogitsProcessor processor : options.processors()) {
      processor.process(row, beam.session().history());
    }
    if (constrained != null && !options.processors().isEmpty()) {
      constrained.restrict(row);
    }
    return row.logSoftmax();
  }

  private void finish(List<Integer> ids, double sum, int length, FinishReason reason) {
    String text = gemma.tokenizer().decode(ids.stream().mapToInt(id -> id).toArray());
    Finished one = new Finished(text, ids, sum / Math.pow(length, lengthPenalty), reason);
    finished.merge(text, one, (a, b) -> a.score() >= b.score() ? a : b);
  }

  /** Whether some unfinished text may still become one of the best, as long as it may grow. */
  private boolean canImprove(List<Step> live) {
    if (finished.size() < width || live.isEmpty()) {
      return !live.isEmpty();
    }
    double worst =
        finished.values().stream()
            .map(Finished::score)
            .sorted(Comparator.reverseOrder())
            .skip(width - 1)
            .findFirst()
            .orElseThrow();
    // Sums only fall; dividing them by the greatest length is what raises them most.
    int now = live.getFirst().beam().ids().size() + 1;
    int best = lengthPenalty > 0 ? longest : now;
    return live.getFirst().sum() / Math.pow(best, lengthPenalty) > worst;
  }

  private List<Logits> advance(List<Step> live) {
    List<Beam> before = beams;
    beams = new ArrayList<>();
    List<Session> sessions = new ArrayList<>();
    try {
      for (Step step : live) {
        ConstrainedText constrained = step.beam().constrained();
        ConstrainedText next = constrained == null ? null : constrained.fork();
        if (next != null) {
          next.append(step.id());
        }
        Session session = step.beam().session().fork();
        sessions.add(session);
        beams.add(new Beam(session, append(step.beam().ids(), step.id()), step.sum(), next));
      }
    } finally {
      before.forEach(beam -> beam.session().close());
    }
    return gemma.decode(sessions, live.stream().mapToInt(Step::id).toArray());
  }

  private static List<Integer> append(List<Integer> ids, int id) {
    List<Integer> longer = new ArrayList<>(ids);
    longer.add(id);
    return List.copyOf(longer);
  }

  @Override
  public void close() {
    beams.forEach(beam -> beam.session().close());
  }
}
