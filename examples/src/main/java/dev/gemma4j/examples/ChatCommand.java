package dev.gemma4j.examples;

import dev.gemma4j.Chat;
import dev.gemma4j.ChatMessage;
import dev.gemma4j.ContextLengthException;
import dev.gemma4j.Gemma;
import dev.gemma4j.Generation;
import dev.gemma4j.GenerationOptions;
import dev.gemma4j.KvMemoryException;
import dev.gemma4j.Prompt;
import dev.gemma4j.Role;
import dev.gemma4j.TokenStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@CommandLine.Command(
    name = "chat",
    description = "Talk to an instruction-tuned model, a line at a time; an empty input ends.")
final class ChatCommand extends Command {
  @Mixin ModelOptions model = new ModelOptions();
  @Mixin GenerateOptions options = new GenerateOptions();

  @Option(
      names = "--system",
      paramLabel = "TEXT",
      description = "Goes before the first message; with --jsonl unless a line has its own.")
  String system = "";

  @Option(names = "--json", description = "Answer MESSAGE with one JSON object.")
  boolean json;

  @Option(names = "--jsonl", description = "Answer one JSON object a line: messages.")
  boolean jsonl;

  @Parameters(
      arity = "0..1",
      paramLabel = "MESSAGE",
      description = "Answer just this; without it, a conversation.")
  @Nullable String message;

  ChatCommand(Io io) {
    super(io);
  }

  @Override
  public Integer call() throws IOException {
    checkJsonLines();
    checked(options::build);
    try (Gemma gemma = model.load()) {
      options.adapter = model.adapter(gemma);
      GenerationOptions chosen = options.build();
      if (jsonl) {
        Set<String> keys = new HashSet<>(GenerateOptions.KEYS);
        keys.add("messages");
        return io.jsonLines(
            request -> {
              request.allow(keys);
              Prompt asked = Prompt.chat(withSystem(request.messages("messages")));
              GenerationOptions with = options.with(request);
              return GenerateOptions.json(gemma.generate(asked, with), with, gemma.tokenizer());
            });
      }
      if (json) {
        List<ChatMessage> messages = List.of(new ChatMessage(Role.USER, argumentOrInput(message)));
        Generation generation = gemma.generate(Prompt.chat(withSystem(messages)), chosen);
        io.json(GenerateOptions.json(generation, chosen, gemma.tokenizer()));
        return status(generation);
      }
      try (Chat chat = gemma.chat(system, chosen)) {
        return message != null ? answer(gemma, chat, message) : converse(gemma, chat);
      }
    }
  }

  /** The messages after --system, unless they bring a system text of their own. */
  private List<ChatMessage> withSystem(List<ChatMessage> messages) {
    if (system.isEmpty() || messages.stream().anyMatch(each -> each.role() == Role.SYSTEM)) {
      return messages;
    }
    List<ChatMessage> all = new ArrayList<>(List.of(new ChatMessage(Role.SYSTEM, system)));
    all.addAll(messages);
    return all;
  }

  private int converse(Gemma gemma, Chat chat) throws IOException {
    Lines lines = io.lines();
    int result = 0;
    while (true) {
      if (io.isTerminal()) {
        io.err().print("> ");
        io.err().flush();
      }
      String line = lines.next();
      if (line == null && io.isTerminal()) { // Ctrl-D
        io.err().println();
      }
      if (line == null || line.isBlank()) {
        return result;
      }
      try {
        int status = answer(gemma, chat, line);
        if (status != 0) {
          return status;
        }
      } catch (ContextLengthException | KvMemoryException e) {
        if (isFull(chat)) {
          throw e;
        }
        io.flush();
        io.err().println("gemma: " + Main.message(e) + "; a shorter message may fit");
        io.err().flush();
        result = Main.BAD_INPUT;
      }
    }
  }

  /** Whether no message fits any more. */
  private static boolean isFull(Chat chat) {
    try {
      chat.stream("").close(); // unread, so that the message is taken back
      return false;
    } catch (ContextLengthException e) {
      return true;
    }
  }

  private int answer(Gemma gemma, Chat chat, String text) throws IOException {
    try (TokenStream stream = chat.stream(text)) {
      int status = print(stream);
      if (!options.raw) {
        io.out().println();
      }
      io.flush();
      io.err().print(GenerateOptions.table(stream.result(), gemma.tokenizer()));
      io.err().flush();
      return status;
    }
  }
}
