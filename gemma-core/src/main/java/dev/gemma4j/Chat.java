package dev.gemma4j;

import dev.gemma4j.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A conversation in the template of the instruction-tuned checkpoints. The cache is kept between
 * turns, so each costs only its own tokens, unless others needed the memory meanwhile: then it is
 * computed again. One thread at a time; {@link #close} may come from any.
 */
public final class Chat implements AutoCloseable {
  private final Gemma gemma;
  private final Session session;
  private final GenerationOptions options;
  private final List<ChatMessage> messages = new ArrayList<>();
  private final String system;
  private int end; // of what is settled; tokens behind it are of the message under way
  private volatile @Nullable TokenStream pending; // the answer under way
  private int pendingStart;
  private @Nullable TokenStream answer; // the last one that is settled
  private int answerStart;
  private volatile boolean closed;

  Chat(Gemma gemma, String system, GenerationOptions options) {
    // Fails early on a model that cannot chat.
    ChatTemplate.bos(gemma.tokenizer());
    ChatTemplate.endOfTurn(gemma.tokenizer());
    this.gemma = gemma;
    this.system = system.strip();
    this.options = options;
    this.session = gemma.newSession(options.adapter());
    if (!this.system.isEmpty()) {
      messages.add(new ChatMessage(Role.SYSTEM, this.system));
    }
  }

  /**
   * Sends a user's message and returns the answer. An interrupt ends it early, and stays set: the
   * answer is what there was until then, which only {@link #stream} tells from a whole one, as it
   * does one that maxTokens cut.
   *
   * @throws ContextLengthException when the conversation does not fit; the message is not added
   * @throws KvMemoryException when there is no room for keys and values; the message is not added
   * @throws IllegalStateException as {@link #stream}
   */
  public String send(String text) {
    try (TokenStream stream = stream(text)) {
      stream.forEachRemaining(token -> {});
      return stream.result().text();
    }
  }

  /**
   * Sends a user's message and streams the answer. An answer that was cut short stays as it is; a
   * message that was not yet read when the answer failed or was cancelled is taken back. When this
   * method throws, the message is not added.
   *
   * @throws ContextLengthException when the conversation does not fit
   * @throws IllegalStateException when the chat or the model is closed, or another thread is
   *     reading the last answer
   */
  public TokenStream stream(String text) {
    Tokenizer tokenizer = gemma.tokenizer();
    if (closed) {
      throw new IllegalStateException("chat is closed");
    }
    if (gemma.isClosed()) {
      throw new IllegalStateException("model is closed");
    }
    settle();
    if (session.position() > end) {
      session.truncate(end);
    }
    boolean first = session.position() == 0;
    String preface = first && !system.isEmpty() ? system + "\n\n" : "";
    int[] ids = ChatTemplate.question(preface + text.strip(), tokenizer);
    if (first) {
      ids = ChatTemplate.concat(ChatTemplate.bos(tokenizer), ids);
    } else {
      ids = ChatTemplate.concat(pendingIds(tokenizer), ids);
    }
    if (ids.length > gemma.contextLength() - session.position()) {
      throw new ContextLengthException(session.position(), ids.length, gemma.contextLength());
    }
    TokenStream stream =
        new TokenStream(gemma, session, TokenStream.After.REST, ids, gemma.endIds(true), options);
    // Only now, as what the options bring may fail to begin a text.
    messages.add(new ChatMessage(Role.USER, text));
    pendingStart = end + ids.length;
    pending = stream;
    if (closed) { // by another thread, that did not see the stream
      close();
    }
    return stream;
  }

  /** What the last answer still lacks in the cache: its last token, unless it was never run. */
  private int[] pendingIds(Tokenizer tokenizer) {
    TokenStream last = answer;
    int[] closing = ChatTemplate.closing(tokenizer);
    if (last == null) {
      return closing;
    }
    List<Integer> tokens = last.tokens();
    int cached = Math.max(0, session.position() - answerStart);
    int[] missing =
        tokens.subList(Math.min(cached, tokens.size()), tokens.size()).stream()
            .mapToInt(Integer::intValue)
            .toArray();
    return ChatTemplate.concat(missing, closing);
  }

  /**
   * Records the answer under way, cancelling it if it was left half-way, or takes its message back.
   */
  private void settle() {
    TokenStream last = pending;
    if (last == null) {
      return;
    }
    last.close();
    if (!last.hasEnded()) {
      throw new IllegalStateException(
          "chat is used by two threads at once: another one is reading an answer, which ends now");
    }
    pending = null;
    if (session.position() < pendingStart) {
      messages.removeLast();
      return;
    }
    messages.add(new ChatMessage(Role.MODEL, last.text()));
    answer = last;
    answerStart = pendingStart;
    end = session.position();
  }

  /**
   * The turns so far, the system text first if there is one. A message whose answer is still under
   * way is not among them; that answer goes on.
   */
  public List<ChatMessage> messages() {
    TokenStream last = pending;
    if (last == null || last.hasEnded()) {
      settle();
      return List.copyOf(messages);
    }
    return List.copyOf(messages.subList(0, messages.size() - 1));
  }

  /**
   * Cancels the answer under way, if there is one, and frees the cache; while another thread is
   * computing a token of it, that one does so, after the layer under way. Harmless when repeated.
   */
  @Override
  public void close() {
    closed = true;
    TokenStream last = pending;
    if (last == null) {
      session.close();
    } else {
      last.closeWithSession();
    }
  }
}
