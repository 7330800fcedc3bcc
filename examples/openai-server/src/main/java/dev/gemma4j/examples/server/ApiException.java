package dev.gemma4j.examples.server;

import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** A request that is answered with an error in OpenAI's form. */
final class ApiException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  final int status;
  private final String type;
  private final @Nullable String param;
  private final @Nullable String code;

  ApiException(
      int status, String type, String message, @Nullable String param, @Nullable String code) {
    super(message);
    this.status = status;
    this.type = type;
    this.param = param;
    this.code = code;
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
