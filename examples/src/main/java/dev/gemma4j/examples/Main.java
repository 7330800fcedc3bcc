package dev.gemma4j.examples;

import dev.gemma4j.ContextLengthException;
import dev.gemma4j.KvMemoryException;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.lang.reflect.Constructor;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** The {@code gemma} command. */
@CommandLine.Command(
    name = "gemma",
    description = "Runs Gemma language models on the JVM.",
    exitCodeListHeading = "Exit status:%n",
    exitCodeList = {
      "  0:Done.",
      "  1:Bad input or model, or the output cannot be written.",
      "  2:Wrong usage.",
      "130:Interrupted.",
      "141:Nobody reads the output any more."
    })
public final class Main implements Runnable {
  static final int BAD_INPUT = 1;
  private static final int WRONG_USAGE = 2;
  private static final int PIPE_CLOSED = 141; // as of a tool that SIGPIPE ends: 128 + 13
  private static final long GRACE_MILLIS = 1000;

  @Spec private @Nullable CommandSpec spec;

  @Option(
      names = {"-h", "--help"},
      usageHelp = true,
      description = "Print this help.")
  private boolean help;

  private Main() {}

  @Override
  public void run() {
    throw new ParameterException(
        java.util.Objects.requireNonNull(spec).commandLine(), "expected a command");
  }

  /** Knows whether the command waits for somebody to type, which nothing interrupts. */
  private static final class Input extends FilterInputStream {
    private volatile boolean waiting;

    Input(InputStream in) {
      super(in);
    }

    @Override
    public int read(byte[] bytes, int from, int count) throws IOException {
      waiting = true;
      try {
        return super.read(bytes, from, count);
      } finally {
        waiting = false;
      }
    }
  }

  /** Runs a command and exits with its status. */
  public static void main(String[] args) {
    Thread main = Thread.currentThread();
    Input in = new Input(System.in);
    System.setIn(in);
    standardError();
    AtomicBoolean ended = new AtomicBoolean();
    // On Ctrl-C the JVM runs its hooks and exits with 130: time for the generation to end cleanly.
    Thread hook =
        new Thread(
            () -> {
              if (ended.compareAndSet(false, true)) {
                main.interrupt();
                if (in.waiting) { // then there is nothing to end
                  if (Io.isTerminal(in)) {
                    System.err.println();
                  }
                  return;
                }
                try {
                  main.join(GRACE_MILLIS);
                } catch (InterruptedException e) {
                  Thread.currentThread().interrupt();
                }
              }
            });
    Runtime.getRuntime().addShutdownHook(hook);
    // Not System.out, which keeps to itself what went wrong.
    OutputStream out = new FileOutputStream(FileDescriptor.out);
    int status = run(args, in, out, System.err);
    if (ended.compareAndSet(false, true)) { // else the JVM is ending, with a status of its own
      System.exit(status);
    }
  }

  /**
   * Writes errors where the launcher says: to what it was given itself, not through its filter of
   * the JVM's warning, which may still hold them when this process has ended.
   */
  private static void standardError() {
    Integer number = Integer.getInteger("gemma.stderr");
    if (number == null) { // started without it
      return;
    }
    try {
      Constructor<FileDescriptor> file = FileDescriptor.class.getDeclaredConstructor(int.class);
      file.setAccessible(true); // nothing public makes one of a number
      OutputStream err = new FileOutputStream(file.newInstance(number));
      System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
    } catch (ReflectiveOperationException | RuntimeException e) {
      // through the filter, then
    }
  }

  /**
   * Runs a command.
   *
   * @return the exit status: 0 done, 1 bad input or model or output that cannot be written, 2 wrong
   *     usage, 130 interrupted, 141 nobody reads the output any more
   */
  public static int run(String[] args, InputStream in, OutputStream out, PrintStream err) {
    Io io = Io.of(in, out, err);
    CommandLine commands = new CommandLine(new Main());
    commands.setExpandAtFiles(false); // a prompt may begin with @
    for (Command command :
        new Command[] {
          new GenerateCommand(io),
          new ChatCommand(io),
          new TokenizeCommand(io),
          new DetokenizeCommand(io),
          new LogitsCommand(io),
          new ScoreCommand(io),
          new EmbedCommand(io),
          new InspectCommand(io),
          new QuantizeCommand(io),
          new BenchCommand(io)
        }) {
      commands.addSubcommand(command);
    }
    commands.setPosixClusteredShortOptionsAllowed(false); // -hello is no -h
    commands.setOut(new PrintWriter(io.out(), true, StandardCharsets.UTF_8));
    commands.setErr(new PrintWriter(io.err(), true, StandardCharsets.UTF_8));
    commands.setParameterExceptionHandler(
        (e, a) -> {
          io.err().println("gemma: " + message(e) + "; see gemma --help");
          return WRONG_USAGE;
        });
    commands.setExecutionExceptionHandler((e, command, result) -> failed(e, command, io));
    try {
      int status = commands.execute(args);
      io.flush();
      return status;
    } catch (Io.OutputException e) {
      return failed(e, io);
    } finally {
      io.out().flush();
      io.err().flush();
    }
  }

  private static int failed(Io.OutputException e, Io io) {
    if (Thread.currentThread().isInterrupted()) {
      return Command.INTERRUPTED;
    }
    if (e.pipeClosed) { // as when head has its lines; tools say nothing then
      return PIPE_CLOSED;
    }
    io.err().println("gemma: " + message(e));
    return BAD_INPUT;
  }

  /** One line for what the input or the model can be blamed for; the rest is a defect of ours. */
  private static int failed(Exception e, CommandLine command, Io io) throws Exception {
    if (Thread.currentThread().isInterrupted()) { // then what failed is no news
      return Command.INTERRUPTED;
    }
    boolean known =
        e instanceof IOException
            || e instanceof UncheckedIOException
            || e instanceof ContextLengthException
            || e instanceof KvMemoryException
            || e instanceof IllegalArgumentException
            || e instanceof IllegalStateException;
    if (!known) {
      throw e;
    }
    if (e instanceof Io.OutputException) {
      return BAD_INPUT; // the last flush tells
    }
    io.out().flush();
    io.err().println("gemma: " + message(e));
    if (command.getCommand() instanceof Command c && c.verbose) {
      e.printStackTrace(io.err());
    }
    return BAD_INPUT;
  }

  static String message(Exception e) {
    String message = e.getMessage();
    if (message == null) {
      return e.getClass().getSimpleName();
    }
    if (e instanceof FileSystemException f && f.getReason() == null) {
      message += ": " + reason(f); // for it is just the path
    }
    return Io.visible(message.replace('\n', ' ')); // it may quote a request or an argument
  }

  /** Why a file could not be read or written. */
  static String reason(IOException e) {
    return switch (e) {
      case NoSuchFileException missing -> "no such file or directory";
      case AccessDeniedException denied -> "permission denied";
      case FileAlreadyExistsException there -> "it exists already";
      case NotDirectoryException file -> "not a directory";
      case FileSystemException f when f.getReason() != null -> f.getReason();
      case CharacterCodingException coding -> "not UTF-8";
      default ->
          e.getMessage() == null || e instanceof FileSystemException
              ? e.getClass().getSimpleName()
              : e.getMessage();
    };
  }
}
