package dev.gemma4j;

import dev.gemma4j.io.OutputFile;
import dev.gemma4j.loader.Checkpoint;
import dev.gemma4j.loader.GemmaConfig;
import dev.gemma4j.loader.Tensor;
import dev.gemma4j.model.Adapter;
import dev.gemma4j.model.KvCache;
import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.channels.Channels;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.zip.CRC32C;
import java.util.zip.CheckedInputStream;
import java.util.zip.CheckedOutputStream;
import org.jspecify.annotations.Nullable;

/**
 * A session in a file, whatever the layout of pages: big-endian {@code magic, version, fingerprint
 * of model and adapter [32 bytes], positions, ids [positions]}, then per position and layer the key
 * and the value, each [numKvHeads, headDim] in f32, and the CRC-32C of all that.
 */
final class SessionFile {
  private static final long MAGIC = 0x67656d6d61345345L; // "gemma4SE"
  private static final int VERSION = 1;
  private static final int HEADER = 8 + 4 + 32 + 4;
  private static final int SAMPLE = 64; // bytes at the beginning and the middle of each tensor

  private SessionFile() {}

  /**
   * What tells models apart: shape, run-time type, names and samples of weights, the adapter merged
   * into them ("" for none), and the pieces.
   */
  static byte[] fingerprint(Checkpoint checkpoint, String weights, String merged) {
    MessageDigest digest = sha256();
    update(digest, checkpoint.config() + weights + merged);
    for (Tensor tensor : checkpoint.tensors()) {
      update(digest, tensor.name() + tensor.type() + tensor.shape());
      long size = tensor.data().byteSize();
      for (long at : new long[] {0, size / 2}) {
        long n = Math.min(SAMPLE, size - at);
        digest.update(tensor.data().asSlice(at, n).asByteBuffer());
      }
    }
    try {
      for (int id = 0; id < checkpoint.tokenizer().vocabSize(); id++) {
        update(digest, checkpoint.tokenizer().piece(id));
      }
    } catch (MalformedFileException e) {
      update(digest, "no tokenizer");
    }
    return digest.digest();
  }

  /** What tells the sessions of one model apart. */
  static byte[] withAdapter(byte[] model, @Nullable Adapter adapter) {
    if (adapter == null) {
      return model;
    }
    MessageDigest digest = sha256();
    digest.update(model);
    update(digest, adapter.id());
    return digest.digest();
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e); // every JDK has it
    }
  }

  private static void update(MessageDigest digest, String text) {
    digest.update(text.getBytes(StandardCharsets.UTF_8));
    digest.update((byte) 0);
  }

  /** Leaves the old file or the new one. */
  static void write(Path path, byte[] fingerprint, int[] ids, KvCache cache, GemmaConfig config)
      throws IOException {
    OutputFile.write(
        path,
        file -> {
          CRC32C crc = new CRC32C();
          OutputStream bytes = new BufferedOutputStream(Channels.newOutputStream(file), 1 << 16);
          DataOutputStream out = new DataOutputStream(new CheckedOutputStream(bytes, crc));
          out.writeLong(MAGIC);
          out.writeInt(VERSION);
          out.write(fingerprint);
          out.writeInt(ids.length);
          for (int id : ids) {
            out.writeInt(id);
          }
          float[] key = new float[config.numKvHeads() * config.headDim()];
          float[] value = new float[key.length];
          for (int position = 0; position < ids.length; position++) {
            for (int layer = 0; layer < config.numLayers(); layer++) {
              cache.get(layer, position, key, value);
              write(key, out);
              write(value, out);
            }
          }
          out.writeInt((int) crc.getValue());
          out.flush();
        });
  }

  private static void write(float[] floats, DataOutputStream out) throws IOException {
    for (float f : floats) {
      out.writeFloat(f);
    }
  }

  /** Where what is read goes. */
  interface Target {
    /** Makes room. */
    KvCache begin(int[] ids);
  }

  static void read(
      Path path, byte[] fingerprint, int contextLength, GemmaConfig config, Target target)
      throws IOException {
    if (!Files.isRegularFile(path)) {
      throw malformed(path, "file", "none, or no regular file", "a saved session");
    }
    long size = Files.size(path);
    CRC32C crc = new CRC32C();
    try (InputStream file = Files.newInputStream(path);
        DataInputStream in =
            new DataInputStream(
                new CheckedInputStream(new BufferedInputStream(file, 1 << 16), crc))) {
      if (size < HEADER + 4 || in.readLong() != MAGIC) {
        throw malformed(path, "magic", "something else", "a saved session");
      }
      int version = in.readInt();
      if (version != VERSION) {
        throw malformed(path, "version", "" + version, "" + VERSION);
      }
      if (!Arrays.equals(in.readNBytes(32), fingerprint)) {
        throw malformed(
            path, "fingerprint", "that of another model or adapter", "that of the loaded one");
      }
      int count = in.readInt();
      if (count < 0 || count > contextLength) {
        throw malformed(path, "positions", "" + count, "0 to " + contextLength);
      }
      int width = config.numKvHeads() * config.headDim();
      long expected = HEADER + 4L * count + 8L * width * config.numLayers() * count + 4;
      if (size != expected) {
        throw malformed(path, "size", size + " bytes", expected + " for " + count + " positions");
      }
      int[] ids = new int[count];
      for (int i = 0; i < count; i++) {
        ids[i] = in.readInt();
        if (ids[i] < 0 || ids[i] >= config.vocabSize()) {
          throw malformed(path, "ids[" + i + "]", "" + ids[i], "below " + config.vocabSize());
        }
      }
      KvCache cache = target.begin(ids);
      float[] key = new float[width];
      float[] value = new float[width];
      for (int position = 0; position < count; position++) {
        for (int layer = 0; layer < config.numLayers(); layer++) {
          read(key, in);
          read(value, in);
          cache.put(layer, position, key, value, 0);
        }
      }
      int sum = (int) crc.getValue();
      if (in.readInt() != sum) {
        throw malformed(path, "checksum", "another", "that of the content");
      }
    } catch (EOFException e) {
      throw malformed(path, "size", "less than when it was opened", "a file that does not change");
    }
  }

  private static void read(float[] floats, DataInputStream in) throws IOException {
    for (int i = 0; i < floats.length; i++) {
      floats[i] = in.readFloat();
    }
  }

  private static IOException malformed(Path path, String field, String found, String expected) {
    return new MalformedFileException(path.toString(), field, found, expected);
  }
}
