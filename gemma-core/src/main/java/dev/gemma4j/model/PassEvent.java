package dev.gemma4j.model;

import jdk.jfr.Category;
import jdk.jfr.Event;
import jdk.jfr.EventType;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** One pass over the weights: a step of decoding, a part of prompts, or both. */
@Name("dev.gemma4j.Pass")
@Label("Forward Pass")
@Category("Gemma")
@StackTrace(false)
final class PassEvent extends Event {
  private static final EventType TYPE = EventType.getEventType(PassEvent.class);

  @Label("Rows")
  int rows;

  @Label("Sequences")
  int sequences;

  @Label("Waiting Requests")
  int waiting;

  static boolean isOn() {
    return TYPE.isEnabled();
  }
}
