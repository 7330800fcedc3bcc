package dev.gemma4j.examples.server;

import com.sun.net.httpserver.Headers;
import com.sun.net.httpserver.HttpExchange;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Locale;

/** Who may call: who brings the key, and which sites' pages. */
record Access(ServerOptions options) {
  private static final String SCHEME = "Bearer ";

  /** Tells browsers that the pages of the allowed site may call and read the answers. */
  void share(HttpExchange exchange) {
    String origin = options.allowedOrigin();
    if (origin != null) {
      Headers answer = exchange.getResponseHeaders();
      answer.set("Access-Control-Allow-Origin", origin);
      answer.set("Access-Control-Expose-Headers", "Retry-After, X-Request-Id, X-Should-Retry");
      answer.set("Vary", "Origin, Access-Control-Request-Headers");
    }
  }

  /**
   * Answers a browser that asks whether a page may send a request, if it is one of the allowed
   * site. It may send what headers it wants: OpenAI's client has a dozen of its own.
   */
  boolean preflight(HttpExchange exchange) {
    Headers asked = exchange.getRequestHeaders();
    String origin = options.allowedOrigin();
    if (origin == null
        || !exchange.getRequestMethod().equals("OPTIONS")
        || !origin.equals(asked.getFirst("Origin"))) {
      return false;
    }
    Headers answer = exchange.getResponseHeaders();
    String headers = asked.getFirst("Access-Control-Request-Headers");
    if (headers != null) {
      answer.set("Access-Control-Allow-Headers", headers);
    }
    answer.set("Access-Control-Allow-Methods", "GET, POST");
    answer.set("Access-Control-Max-Age", "3600");
    return true;
  }

  /**
   * Without a key, anyone who reaches the server may use it, so other sites' pages must not reach
   * it, not even by a name of theirs that their name server makes lead here (DNS rebinding): then
   * the browser takes this server for the page's own, and only the name in Host and Origin tells.
   */
  void checkSite(HttpExchange exchange) {
    if (options.apiKey() != null) {
      return;
    }
    Headers asked = exchange.getRequestHeaders();
    String host = asked.getFirst("Host");
    if (host != null && !isOwn(host)) {
      throw refused("'" + name(host) + "' is no name of this server", "--allow-host");
    }
    String origin = asked.getFirst("Origin");
    if (origin != null
        && !origin.equals(options.allowedOrigin())
        && !origin.replaceFirst("^https?://", "").equals(host)) {
      throw refused("Pages of '" + origin + "' may not call", "--allow-origin");
    }
  }

  private boolean isOwn(String host) {
    String name = name(host);
    return name.equals("localhost")
        || name.matches("[0-9.]+|\\[.*]") // an address: no name server had a say
        || name.equals(options.host().toLowerCase(Locale.ROOT))
        || options.allowedHosts().contains(name);
  }

  /** Without the port. */
  private static String name(String host) {
    return host.replaceFirst(":[0-9]*$", "").toLowerCase(Locale.ROOT);
  }

  private static ApiException refused(String what, String option) {
    String message = what + "; start the server with " + option + ", or with a key";
    return new ApiException(403, "invalid_request_error", message, null, "forbidden");
  }

  void checkKey(HttpExchange exchange) {
    String key = options.apiKey();
    String given = String.valueOf(exchange.getRequestHeaders().getFirst("Authorization"));
    boolean bearer = given.regionMatches(true, 0, SCHEME, 0, SCHEME.length());
    // Compared in the same time whatever was given, so the time tells nothing of the key.
    if (key != null
        && !MessageDigest.isEqual(
            key.getBytes(StandardCharsets.UTF_8),
            (bearer ? given.substring(SCHEME.length()).strip() : "")
                .getBytes(StandardCharsets.UTF_8))) {
      exchange.getResponseHeaders().set("WWW-Authenticate", "Bearer");
      throw new ApiException(
          401, "invalid_request_error", "Incorrect API key provided", null, "invalid_api_key");
    }
  }
}
