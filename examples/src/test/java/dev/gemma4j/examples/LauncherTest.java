package dev.gemma4j.examples;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Instant;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** When the gemma script builds, in a checkout whose Maven and Java only tell that they ran. */
@EnabledOnOs(OS.LINUX)
class LauncherTest {
  @TempDir Path root;

  @BeforeEach
  void checkout() throws IOException {
    Files.copy(Path.of("../gemma"), root.resolve("gemma"));
    write("pom.xml", "");
    write("examples/pom.xml", "");
    Files.createDirectories(root.resolve("examples/src/main"));
    write("jdk/release", "JAVA_VERSION=\"25\"\n");
    write("jdk/bin/java", "#!/bin/sh\necho run\n");
    write(
        "mvnw",
        """
        #!/bin/sh
        echo build >&2
        [ -e examples/target/classes/Some.class ] && echo incremental >&2
        mkdir -p examples/target/classes examples/target/lib
        : >examples/target/classes/Some.class
        : >examples/target/examples-0.1.0-SNAPSHOT.jar
        [ -e fail ] && kill -9 $$
        sleep 0.3
        """);
    for (String script : new String[] {"gemma", "jdk/bin/java", "mvnw"}) {
      assertThat(root.resolve(script).toFile().setExecutable(true)).isTrue();
    }
  }

  private void write(String file, String text) throws IOException {
    Files.createDirectories(root.resolve(file).getParent());
    Files.writeString(root.resolve(file), text);
  }

  private Process start() throws IOException {
    ProcessBuilder builder = new ProcessBuilder(root.resolve("gemma").toString());
    builder.environment().put("JAVA_HOME", root.resolve("jdk").toString());
    return builder.redirectErrorStream(true).start();
  }

  private static String output(Process process) throws IOException {
    return new String(process.getInputStream().readAllBytes()).strip();
  }

  @Test
  void buildsOnceForAll() throws IOException {
    Process first = start();
    Process second = start();
    assertThat(output(first) + "\n" + output(second))
        .containsOnlyOnce("gemma: building\nbuild")
        .contains("run\n")
        .endsWith("run");
    assertThat(output(start())).isEqualTo("run");
    Files.setLastModifiedTime(
        root.resolve("pom.xml"), FileTime.from(Instant.now().plusSeconds(10)));
    assertThat(output(start())).isEqualTo("gemma: building\nbuild\nincremental\nrun");
  }

  @Test
  void runsWithoutAHomeAndGivesItsOwnStandardError() throws Exception {
    output(start());
    write("jdk/bin/java", "#!/bin/sh\necho told >&3\necho \"$@\"\n");
    ProcessBuilder builder = new ProcessBuilder(root.resolve("gemma").toString(), "tokenize");
    builder.environment().put("JAVA_HOME", root.resolve("jdk").toString());
    builder.environment().remove("HOME");
    Path error = root.resolve("error");
    Process process = builder.redirectError(error.toFile()).start();
    assertThat(output(process))
        .contains("-Dgemma.stderr=3 -Dgemma.progress=false")
        .endsWith("Main tokenize");
    assertThat(process.waitFor()).isZero();
    assertThat(error).hasContent("told");
  }

  @Test
  void buildsAllAgainAfterABuildThatWasInterrupted() throws IOException {
    write("fail", "");
    assertThat(output(start())).startsWith("gemma: building\nbuild").doesNotContain("run");
    Files.delete(root.resolve("fail"));
    assertThat(output(start())).isEqualTo("gemma: building\nbuild\nrun");
    assertThat(output(start())).isEqualTo("run");
  }
}
