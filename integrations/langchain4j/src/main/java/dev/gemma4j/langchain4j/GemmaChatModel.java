package dev.gemma4j.langchain4j;

import dev.gemma4j.Gemma;
import dev.gemma4j.LoraAdapter;
import dev.langchain4j.exception.InvalidRequestException;
import dev.langchain4j.exception.UnsupportedFeatureException;
import dev.langchain4j.model.chat.Capability;
import dev.langchain4j.model.chat.ChatModel;
import dev.langchain4j.model.chat.listener.ChatModelListener;
import dev.langchain4j.model.chat.request.ChatRequest;
import dev.langchain4j.model.chat.request.ChatRequestParameters;
import dev.langchain4j.model.chat.request.DefaultChatRequestParameters;
import dev.langchain4j.model.chat.response.ChatResponse;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * A Gemma as LangChain4j's {@link ChatModel}. Safe for any number of threads; an interrupt ends an
 * answer early. A JSON schema as response format is enforced. Of parameters of another class than
 * {@link GemmaChatRequestParameters} counts what all classes have. Tools, images and the name of
 * another model throw an {@link UnsupportedFeatureException}; what the model cannot take otherwise,
 * such as a chat longer than its context, an {@link InvalidRequestException}. System messages go in
 * front of the user turn that follows them, for Gemma has no system turn.
 */
public final class GemmaChatModel implements ChatModel {
  private final Gemma gemma;
  private final GemmaChatRequestParameters defaults;
  private final List<ChatModelListener> listeners;
  private final @Nullable LoraAdapter adapter;

  /** A model with {@linkplain dev.gemma4j.GenerationOptions#defaults Gemma's defaults}. */
  public GemmaChatModel(Gemma gemma) {
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
  public GemmaChatModel(
      Gemma gemma, ChatRequestParameters defaults, List<ChatModelListener> listeners) {
    this(gemma, Conversion.defaults(defaults), listeners, null);
  }

  private GemmaChatModel(
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
  public GemmaChatModel withAdapter(LoraAdapter value) {
    return new GemmaChatModel(gemma, defaults, listeners, value);
  }

  @Override
  public ChatResponse doChat(ChatRequest request) {
    try {
      return Conversion.response(
          gemma.generate(
              Conversion.prompt(request), Conversion.options(request, defaults, adapter)),
          defaults);
    } catch (RuntimeException e) {
      throw Conversion.exception(e);
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
