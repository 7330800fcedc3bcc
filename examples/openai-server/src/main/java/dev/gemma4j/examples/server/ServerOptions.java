package dev.gemma4j.examples.server;

import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * How the server serves.
 *
 * @param model the model's name in the API
 * @param apiKey what requests below /v1 must bring as a bearer token; null for nothing
 * @param allowedOrigin of the pages of other sites that may call; null for none
 * @param allowedHosts names of this server, in lower case, beside localhost, host and addresses;
 *     without a key, requests to another name are refused
 * @param maxBodyBytes of a request
 * @param maxConcurrent requests that generate at a time; more get 429
 * @param maxTokens that one request may ask for, and what a chat gets that asks for nothing
 * @param timeout of one request
 * @param drain how long a stopping server waits for requests before it cancels them
 */
record ServerOptions(
    String host,
    int port,
    String model,
    @Nullable String apiKey,
    @Nullable String allowedOrigin,
    List<String> allowedHosts,
    int maxBodyBytes,
    int maxConcurrent,
    int maxTokens,
    Duration timeout,
    Duration drain) {}
