package dev.gemma4j.langchain4j;

import dev.gemma4j.Gemma;
import dev.gemma4j.LoraAdapter;
import dev.gemma4j.Token;
import dev.gemma4j.TokenStream;
import dev.langchain4j.internal.InternalStreamingChatResponseHandlerUtils;
import dev.langchain4j.model.chat.Capability;
import dev.langchain4j.model.chat.StreamingChatModel;
import dev.langchain4j.model.chat.listener.ChatModelListener;
import dev.langchain4j.model.chat.request.ChatRequest;
import dev.langchain4j.model.chat.request.ChatRequestParameters;
import dev.langchain4j.model.chat.request.DefaultChatRequestParameters;
import dev.langchain4j.model.chat.response.StreamingChatResponseHandler;
import dev.langchain4j.model.chat.response.StreamingHandle;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * A Gemma as LangChain4j's {@link StreamingChatModel}; it understands and refuses what {@link
 * GemmaChatModel} does. The handler is called on a virtual thread of its own for each request, and
 * hears of refusals too. Its {@link StreamingHandle} cancels the generation at once, after which
 * the handler hears no more.
 */
public final class GemmaStreamingChatModel implements StreamingChatModel {
  private final Gemma gemma;
  private final GemmaChatRequestParameters defaults;
  private final List<ChatModelListener> listeners;
  private final @Nullable LoraAdapter adapter;

  /** A model with {@linkplain dev.gemma4j.GenerationOptions#defaults Gemma's defaults}. */
  public GemmaStreamingChatModel(Gemma gemma) {
    this(gemma, DefaultChatRequestParameters.EMPTY, List.of());
  }

  /**
   * A model.
   *
   * @param gemma stays the caller's to close
   * @param defaults for what a request does not say; their model name is what this model goes by,
   *     "gemma" unless set
   * @param listeners hear of each request, response and error
   * @throws dev.langchain4j.exception.LangChain4jException when Gemma cannot do what the defaults
   *     say
   */
  public GemmaStreamingChatModel(
      Gemma gemma, ChatRequestParameters defaults, List<ChatModelListener> listeners) {
    this(gemma, Conversion.defaults(defaults), listeners, null);
  }

  private GemmaStreamingChatModel(
      Gemma gemma,
      GemmaChatRequestParameters defaults,
      List<ChatModelListener> listeners,
      @Nullable LoraAdapter adapter) {
    this.gemma = gemma;
    this.defaults = defaults;
    this.listeners = List.copyOf(listeners);
    this.adapter = adapter;
  }

  /**
   * The same with a LoRA adapter; both share the Gemma, and its passes.
   *
   * @param value what {@link Gemma#loadAdapter} of this Gemma read; one of another is refused when
   *     it is used
   */
  public GemmaStreamingChatModel withAdapter(LoraAdapter value) {
    return new GemmaStreamingChatModel(gemma, defaults, listeners, value);
  }

  @Override
  public void doChat(ChatRequest request, StreamingChatResponseHandler handler) {
    Thread.ofVirtual().name("gemma-stream").start(() -> run(request, handler));
  }

  private void run(ChatRequest request, StreamingChatResponseHandler handler) {
    try (TokenStream stream =
        gemma.stream(Conversion.prompt(request), Conversion.options(request, defaults, adapter))) {
      Handle handle = new Handle(stream);
      while (stream.hasNext()) {
        Token token = stream.next();
        if (!token.text().isEmpty() && !handle.isCancelled()) {
          InternalStreamingChatResponseHandlerUtils.onPartialResponse(
              handler, token.text(), handle);
        }
      }
      if (!handle.isCancelled()) {
        InternalStreamingChatResponseHandlerUtils.onCompleteResponse(
            handler, Conversion.response(stream.result(), defaults));
      }
    } catch (RuntimeException e) {
      handler.onError(Conversion.exception(e));
    } catch (Error e) { // of the handler too: nobody else would hear that the stream has ended
      handler.onError(e);
    }
  }

  private static final class Handle implements StreamingHandle {
    private final TokenStream stream;
    private volatile boolean cancelled;

    Handle(TokenStream stream) {
      this.stream = stream;
    }

    @Override
    public void cancel() {
      cancelled = true;
      stream.cancel();
    }

    @Override
    public boolean isCancelled() {
      return cancelled;
    }
  }

  @Override
  public ChatRequestParameters defaultRequestParameters() {
    return defaults;
  }

  @Override
  public List<ChatModelListener> listeners() {
    return listeners;
  }

  @Override
  public Set<Capability> supportedCapabilities() {
    return Set.of(Capability.RESPONSE_FORMAT_JSON_SCHEMA);
  }
}
