package dev.gemma4j.model;

import jdk.jfr.FlightRecorder;

/** The flight recorder, asked before an event is made. */
public final class Recorder {
  private Recorder() {}

  /**
   * Whether something may be recorded. Making an event starts the flight recorder's own classes,
   * which takes a quarter of the time in which a small model has its first token.
   */
  public static boolean isOn() {
    return FlightRecorder.isInitialized();
  }
}
