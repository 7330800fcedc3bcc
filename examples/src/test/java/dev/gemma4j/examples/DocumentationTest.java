package dev.gemma4j.examples;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The documents show code that runs, quote the source as it is, and link to what exists. */
class DocumentationTest {
  private static final Path ROOT = Path.of("..");
  private static final Pattern BLOCK = Pattern.compile("(?s)```java\n(.*?)```");
  private static final Pattern REGION =
      Pattern.compile("(?s)// (?:guide|README begins)\n(.*?)\n *// (?:end|README ends)\n");
  private static final Pattern LINK = Pattern.compile("\\]\\(([^)#]+)(#[^)]*)?\\)");
  private static final Pattern HEADING = Pattern.compile("(?m)^#+ (.*)$");

  private static List<String> matches(Pattern pattern, String text) {
    return pattern.matcher(text).results().map(match -> match.group(1)).toList();
  }

  private static String read(String file) throws IOException {
    return Files.readString(ROOT.resolve(file));
  }

  /** What is between the marks of a program, as a document shows it. */
  private static List<String> regions(String program) throws IOException {
    return matches(REGION, read("examples/src/" + program)).stream()
        .map(region -> region.stripIndent().strip() + "\n")
        .toList();
  }

  @Test
  void theGuidesCodeIsTested() throws IOException {
    List<String> tested = regions("test/java/dev/gemma4j/examples/UserGuideTest.java");
    assertThat(matches(BLOCK, read("docs/user-guide.md"))).isNotEmpty().isSubsetOf(tested);
  }

  @Test
  void theReadmesCodeIsTested() throws IOException {
    List<String> tested = new ArrayList<>();
    tested.addAll(regions("test/java/dev/gemma4j/examples/UserGuideTest.java"));
    tested.addAll(regions("main/java/dev/gemma4j/examples/QuickStart.java"));
    tested.addAll(regions("main/java/dev/gemma4j/examples/StructuredOutput.java"));
    assertThat(matches(BLOCK, read("README.md"))).isNotEmpty().isSubsetOf(tested);
  }

  /** Each block follows a link to the file that it quotes; indentation does not count. */
  @Test
  void quotationsAreInTheSource() throws IOException {
    String text = read("docs/how-it-works.md");
    Matcher block = BLOCK.matcher(text);
    int count = 0;
    while (block.find()) {
      String before = text.substring(0, block.start());
      List<String> sources =
          matches(LINK, before).stream().filter(link -> link.endsWith(".java")).toList();
      String source = Files.readString(ROOT.resolve("docs").resolve(sources.getLast()));
      assertThat(lines(source)).as(sources.getLast()).contains(lines(block.group(1)));
      count++;
    }
    assertThat(count).isGreaterThan(5);
  }

  private static String lines(String code) {
    return code.lines().map(String::strip).collect(Collectors.joining("\n"));
  }

  @Test
  void linksLeadSomewhere() throws IOException {
    List<Path> documents;
    try (Stream<Path> files = Files.walk(ROOT)) {
      documents =
          files
              .filter(file -> file.toString().endsWith(".md"))
              .filter(file -> !file.toString().matches(".*(/target/|/node_modules/|/\\.).*"))
              .toList();
    }
    assertThat(documents).hasSizeGreaterThan(8);
    for (Path document : documents) {
      for (MatchResult link : LINK.matcher(Files.readString(document)).results().toList()) {
        if (link.group(1).contains(":")) { // another site's
          continue;
        }
        Path target = document.resolveSibling(link.group(1));
        assertThat(target).as("link of " + document).exists();
        if (link.group(2) != null) {
          assertThat(anchors(target)).as("link of " + document).contains(link.group(2));
        }
      }
    }
  }

  /** Of headings, as GitHub makes them. */
  private static Set<String> anchors(Path document) throws IOException {
    return matches(HEADING, Files.readString(document)).stream()
        .map(heading -> heading.toLowerCase().replaceAll("[^\\p{L}\\p{N} _-]", ""))
        .map(heading -> "#" + heading.replace(' ', '-'))
        .collect(Collectors.toCollection(HashSet::new));
  }
}
