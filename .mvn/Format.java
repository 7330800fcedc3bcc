import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Runs google-java-format over every Java file of the project: {@code Format.java JAR
 * check|replace}.
 */
final class Format {
  public static void main(String[] args) throws IOException, InterruptedException {
    boolean check = args[1].equals("check");
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    // It lives for seconds: what C2 compiles costs more than it saves.
    command.addAll(List.of("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"));
    for (String pkg : List.of("api", "code", "file", "parser", "tree", "util")) {
      command.add("--add-exports=jdk.compiler/com.sun.tools.javac." + pkg + "=ALL-UNNAMED");
    }
    command.addAll(List.of("-jar", args[0]));
    command.addAll(check ? List.of("--dry-run", "--set-exit-if-changed") : List.of("--replace"));
    try (var files = Files.walk(Path.of(""))) {
      files
          .filter(f -> f.toString().endsWith(".java") && !f.toString().contains("target/"))
          .map(Path::toString)
          .sorted()
          .forEach(command::add);
    }
    int status = new ProcessBuilder(command).inheritIO().start().waitFor();
    if (status != 0 && check) {
      System.err.println(
          "The files above are not formatted; run: ./mvnw -N validate -Dformat=replace");
    }
    System.exit(status);
  }
}
