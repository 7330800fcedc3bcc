package dev.gemma4j;

import static dev.gemma4j.ForwardGoldenTest.assertClose;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assumptions.assumeThat;

import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SessionFileTest {
  private static final int[] IDS = new Random(1).ints(45, 0, 512).toArray();

  @TempDir private Path directory = Path.of("");

  private Path save(Gemma gemma) throws IOException {
    Path file = directory.resolve("session");
    try (Session session = gemma.newSession()) {
      session.append(IDS);
      session.save(file);
      session.save(file); // replaces
    }
    return file;
  }

  @Test
  void aRestoredSessionContinuesAsTheSavedOne() throws IOException {
    for (KvType kv : new KvType[] {KvType.F32, KvType.F16}) {
      try (Gemma gemma = Goldens.load("gemma-gqa-f32", LoadOptions.defaults().withKv(kv));
          Session session = gemma.newSession()) {
        Path file = save(gemma);
        try (var files = Files.list(directory)) {
          assertThat(files).containsExactly(file);
        }
        session.append(IDS);
        float[] expected = session.append(7).toArray();
        try (Session restored = gemma.restore(file)) {
          assertThat(restored.tokens()).isEqualTo(IDS);
          // Not bit by bit: the JIT may add the lanes of a vector in another order.
          assertClose(restored.append(7).toArray(), expected, kv + " restored");
        }
      }
    }
  }

  @Test
  void copiedWeightsAreTheSameModel() throws IOException {
    LoadOptions copied = LoadOptions.defaults().withMemory(Memory.COPIED);
    try (Gemma mapped = Goldens.load("gemma-gqa-f32");
        Gemma gemma = Goldens.load("gemma-gqa-f32", copied);
        Session restored = gemma.restore(save(mapped))) {
      assertThat(restored.tokens()).isEqualTo(IDS);
    }
  }

  @Test
  void anotherModelIsRefused() throws IOException {
    try (Gemma gemma = Goldens.load("gemma-gqa-f32");
        Gemma other = Goldens.load("gemma-gqa-bf16");
        Gemma rounded =
            Goldens.load("gemma-gqa-f32", LoadOptions.defaults().withWeights(WeightType.Q8_0))) {
      Path file = save(gemma);
      for (Gemma wrong : new Gemma[] {other, rounded}) {
        assertThatThrownBy(() -> wrong.restore(file))
            .isInstanceOf(MalformedFileException.class)
            .hasMessageContaining("fingerprint")
            .hasMessageContaining(file.toString());
      }
    }
  }

  @Test
  void damagedFilesAreRefused() throws IOException {
    try (Gemma gemma = Goldens.load("gemma-gqa-f32")) {
      byte[] good = Files.readAllBytes(save(gemma));
      Random random = new Random(2);
      for (int round = 0; round < 60; round++) {
        byte[] bad = good.clone();
        if (round % 3 == 0) {
          bad = Arrays.copyOf(bad, random.nextInt(bad.length));
        } else {
          int range = round % 3 == 1 ? 60 : bad.length;
          bad[random.nextInt(range)] ^= (byte) (1 + random.nextInt(255));
        }
        refused(gemma, bad, "");
      }
      refused(gemma, Arrays.copyOf(good, good.length + 1), "size");
      byte[] huge = good.clone();
      ByteBuffer.wrap(huge).putInt(44, Integer.MAX_VALUE);
      refused(gemma, huge, "positions");
      assertThatThrownBy(() -> gemma.restore(directory)).isInstanceOf(IOException.class);
    }
  }

  private void refused(Gemma gemma, byte[] content, String field) throws IOException {
    Path file = Files.write(directory.resolve("bad"), content);
    assertThatThrownBy(() -> gemma.restore(file))
        .isInstanceOf(MalformedFileException.class)
        .hasMessageContaining(field);
  }

  @Test
  void whoMayReadTheFileIsUpToTheUmask() throws IOException {
    Path other = Files.createFile(directory.resolve("other"));
    try (Gemma gemma = Goldens.load("gemma-gqa-f32")) {
      Path file = save(gemma);
      assumeThat(file.getFileSystem().supportedFileAttributeViews()).contains("posix");
      assertThat(Files.getPosixFilePermissions(file))
          .isEqualTo(Files.getPosixFilePermissions(other));
    }
  }

  @Test
  void aTargetThatCannotBeWrittenIsNamed() throws IOException {
    try (Gemma gemma = Goldens.load("gemma-gqa-f32");
        Session session = gemma.newSession()) {
      session.append(1);
      Path missing = directory.resolve("none");
      assertThatThrownBy(() -> session.save(missing.resolve("file")))
          .isInstanceOf(IOException.class)
          .hasMessage(
              missing.resolve("file") + ": cannot be written: there is no directory " + missing);
      Path taken = Files.createDirectory(directory.resolve("taken"));
      Files.createFile(taken.resolve("file"));
      assertThatThrownBy(() -> session.save(taken))
          .isInstanceOf(IOException.class)
          .hasMessage(taken + ": cannot be written: it is no regular file");
      try (var files = Files.list(directory)) {
        assertThat(files).containsExactly(taken);
      }
    }
  }
}
