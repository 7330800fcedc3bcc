package dev.gemma4j.examples.server;

import dev.gemma4j.ContextLengthException;
import dev.gemma4j.KvMemoryException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** A request that is answered with an error in OpenAI's form. */
final class ApiException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  final int status;
  private final String type;
  private final @Nullable String param;
  private final @Nullable String code;

  /** Seconds after which the same request may be answered; null when there is no such hope. */
  final @Nullable Integer retryAfter;

  ApiException(
      int status, String type, String message, @Nullable String param, @Nullable String code) {
    this(status, type, message, param, code, null);
  }

  private ApiException(
      int status,
      String type,
      String message,
      @Nullable String param,
      @Nullable String code,
      @Nullable Integer retryAfter) {
    super(message);
    this.status = status;
    this.type = type;
    this.param = param;
    this.code = code;
    this.retryAfter = retryAfter;
  }

  /**
   * The answer to a request that failed with this.
   *
   * @param prompt the field that holds the request's text
   */
  static ApiException of(Throwable e, String prompt) {
    String message = String.valueOf(e.getMessage());
    return switch (e) {
      case ApiException answer -> answer;
      case ContextLengthException tooLong -> tooLong(message, prompt);
      case KvMemoryException never when never.asked() > never.limit() -> tooLong(message, prompt);
      case KvMemoryException now -> busy(503, "server_error", message, "out_of_memory");
      case IllegalArgumentException wrong -> badRequest(message, null);
      default -> new ApiException(500, "server_error", "internal error", null, null);
    };
  }

  private static ApiException tooLong(String message, String prompt) {
    return new ApiException(
        400, "invalid_request_error", message, prompt, "context_length_exceeded");
  }

  /** The client may come back in a second. */
  static ApiException busy(int status, String type, String message, String code) {
    return new ApiException(status, type, message, null, code, 1);
  }

  /**
   * A model that is not there.
   *
   * @param names of those that are
   */
  static ApiException unknownModel(String name, List<String> names) {
    return new ApiException(
        404,
        "invalid_request_error",
        "The model '"
            + name
            + "' does not exist; this server has '"
            + String.join("', '", names)
            + "'",
        "model",
        "model_not_found");
  }

  static ApiException badRequest(String message, @Nullable String param) {
    return new ApiException(400, "invalid_request_error", message, param, null);
  }

  Map<String, Object> json() {
    Map<String, @Nullable Object> error = new LinkedHashMap<>();
    error.put("message", getMessage());
    error.put("type", type);
    error.put("param", param);
    error.put("code", code);
    return Map.of("error", error);
  }
}
