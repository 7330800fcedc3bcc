package dev.gemma4j.loader;

import dev.gemma4j.loader.Unpickler.Tuple;
import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Reads the tensors of a file that torch.save wrote: a zip file with a pickle, data.pkl, which says
 * how tensors lie in the entries data/0, data/1 and so on (<a
 * href="https://github.com/pytorch/pytorch/blob/main/torch/serialization.py">format</a>).
 */
final class TorchReader implements Unpickler.Builder {
  private static final String STATE = "model_state_dict";
  private static final int MAX_DIMENSIONS = 16;

  /** A storage class: what its elements are called in errors, their size, and their type here. */
  private record Element(String name, int bytes, @Nullable TensorType type) {}

  private static final Map<String, Element> STORAGES =
      Map.ofEntries(
          Map.entry("torch.FloatStorage", new Element("F32", 4, TensorType.F32)),
          Map.entry("torch.HalfStorage", new Element("F16", 2, TensorType.F16)),
          Map.entry("torch.BFloat16Storage", new Element("BF16", 2, TensorType.BF16)),
          Map.entry("torch.DoubleStorage", new Element("F64", 8, null)),
          Map.entry("torch.CharStorage", new Element("I8", 1, null)),
          Map.entry("torch.ByteStorage", new Element("U8", 1, null)),
          Map.entry("torch.ShortStorage", new Element("I16", 2, null)),
          Map.entry("torch.IntStorage", new Element("I32", 4, null)),
          Map.entry("torch.LongStorage", new Element("I64", 8, null)),
          Map.entry("torch.BoolStorage", new Element("BOOL", 1, null)),
          Map.entry("torch.ComplexFloatStorage", new Element("C64", 8, null)),
          Map.entry("torch.ComplexDoubleStorage", new Element("C128", 16, null)));

  /** The functions that make dicts and tensors. */
  private enum Function {
    ORDERED_DICT,
    TENSOR,
    PARAMETER
  }

  private static final Map<String, Function> FUNCTIONS =
      Map.of(
          "collections.OrderedDict", Function.ORDERED_DICT,
          "torch._utils._rebuild_tensor_v2", Function.TENSOR,
          "torch._utils._rebuild_parameter", Function.PARAMETER);

  private record Storage(Element element, MemorySegment data) {}

  private record Part(Element element, List<Long> shape, MemorySegment data) {}

  private final Path path;
  private final String file;
  private final Map<String, MemorySegment> entries;
  private final String prefix;

  private TorchReader(Path path, Map<String, MemorySegment> entries) throws IOException {
    this.path = path;
    this.file = path.toString();
    this.entries = entries;
    String pickle = null;
    for (String name : entries.keySet()) {
      if (name.matches("[^/]*/data\\.pkl")) {
        if (pickle != null) {
          throw new MalformedFileException(
              file, "entry " + name, "one besides " + pickle, "one data.pkl");
        }
        pickle = name;
      }
    }
    if (pickle == null) {
      throw new MalformedFileException(
          file, "data.pkl", "no such entry", "one, as torch.save writes it");
    }
    this.prefix = pickle.substring(0, pickle.indexOf('/') + 1);
  }

  static TensorFile read(Path path, Arena arena) throws IOException {
    String file = path.toString();
    return InputFile.parse(
        path,
        arena,
        bytes -> {
          if (bytes.byteSize() > 0 && bytes.get(ValueLayout.JAVA_BYTE, 0) == (byte) 0x80) {
            throw new MalformedFileException(
                file,
                "format",
                "a bare pickle, as torch.save wrote before version 1.6",
                "a zip file (load it in Python and save it again)");
          }
          return new TorchReader(path, ZipArchive.entries(file, bytes)).read();
        });
  }

  private MemorySegment entry(String name) throws MalformedFileException {
    MemorySegment entry = entries.get(prefix + name);
    if (entry == null) {
      throw new MalformedFileException(
          file, "entry " + prefix + name, "nothing", "one, as data.pkl names it");
    }
    return entry;
  }

  private TensorFile read() throws MalformedFileException {
    if (entries.containsKey(prefix + "byteorder")) {
      MemorySegment entry = entry("byteorder");
      byte[] order =
          entry.asSlice(0, Math.min(16, entry.byteSize())).toArray(ValueLayout.JAVA_BYTE);
      String text = new String(order, StandardCharsets.ISO_8859_1);
      if (!text.equals("little")) {
        throw new MalformedFileException(file, "byteorder", text, "little");
      }
    }
    Object root = Unpickler.load(file, entry("data.pkl"), this);
    if (root instanceof Map<?, ?> map && map.containsKey(STATE)) {
      root = map.get(STATE);
    }
    if (!(root instanceof Map<?, ?> state)) {
      throw new MalformedFileException(file, STATE, "something else", "a dict of tensors");
    }
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    Map<String, String> unreadable = new LinkedHashMap<>();
    for (Map.Entry<?, ?> member : state.entrySet()) {
      String name = String.valueOf(member.getKey());
      if (member.getValue()
          instanceof Part(Element element, List<Long> shape, MemorySegment data)) {
        if (element.type() == null) {
          unreadable.put(name, element.name());
        } else {
          tensors.put(name, new Tensor(name, element.type(), shape, data, path));
        }
      }
    }
    return new TensorFile(tensors, unreadable, Map.of());
  }

  @Override
  public Object global(String name) throws MalformedFileException {
    if (FUNCTIONS.containsKey(name)) {
      return FUNCTIONS.get(name);
    }
    if (STORAGES.containsKey(name)) {
      return STORAGES.get(name);
    }
    throw new MalformedFileException(file, "data.pkl", name, "nothing but dicts and tensors");
  }

  @Override
  public Object call(Object function, Tuple arguments) throws MalformedFileException {
    List<Object> a = arguments.items();
    if (function == Function.ORDERED_DICT && a.isEmpty()) {
      return new LinkedHashMap<String, Object>();
    }
    if (function == Function.PARAMETER && !a.isEmpty() && a.getFirst() instanceof Part) {
      return a.getFirst();
    }
    if (function == Function.TENSOR
        && a.size() >= 4
        && a.get(0) instanceof Storage storage
        && a.get(1) instanceof Long offset
        && a.get(2) instanceof Tuple shape
        && a.get(3) instanceof Tuple strides) {
      return tensor(storage, offset, longs(shape), longs(strides));
    }
    throw new MalformedFileException(
        file, "data.pkl", "a call of other arguments", "a dict's or a tensor's");
  }

  private List<Long> longs(Tuple tuple) throws MalformedFileException {
    List<Long> longs = new ArrayList<>();
    for (Object item : tuple.items()) {
      if (!(item instanceof Long number) || number < 0 || longs.size() == MAX_DIMENSIONS) {
        throw new MalformedFileException(
            file,
            "data.pkl",
            "another shape",
            "at most " + MAX_DIMENSIONS + " sizes, none below 0");
      }
      longs.add(number);
    }
    return longs;
  }

  private Part tensor(Storage storage, long offset, List<Long> shape, List<Long> strides)
      throws MalformedFileException {
    String found = "shape " + shape + ", strides " + strides + ", offset " + offset;
    Element element = storage.element();
    long available = storage.data().byteSize() / element.bytes();
    try {
      long count = 1;
      boolean contiguous = shape.size() == strides.size();
      for (int i = shape.size() - 1; i >= 0 && contiguous; i--) {
        contiguous = shape.get(i) <= 1 || strides.get(i) == count;
        count = Math.multiplyExact(count, shape.get(i));
      }
      if (!contiguous) {
        throw new MalformedFileException(
            file, "tensor", found, "one whose elements lie in order, without gaps");
      }
      if (offset >= 0 && count <= available && offset <= available - count) {
        long start = offset * element.bytes();
        return new Part(element, shape, storage.data().asSlice(start, count * element.bytes()));
      }
    } catch (ArithmeticException e) {
      // falls through: no such tensor exists
    }
    throw new MalformedFileException(
        file, "tensor", found, "one within a storage of " + available + " elements");
  }

  /** A storage's id: ("storage", class, key, device, number of elements). */
  @Override
  public Object persistent(Object id) throws MalformedFileException {
    if (id instanceof Tuple(List<Object> items)
        && items.size() == 5
        && items.get(0).equals("storage")
        && items.get(1) instanceof Element element
        && items.get(2) instanceof String key
        && items.get(4) instanceof Long count) {
      MemorySegment data = entry("data/" + key);
      if (data.byteSize() % element.bytes() != 0 || data.byteSize() / element.bytes() != count) {
        throw new MalformedFileException(
            file,
            "entry " + prefix + "data/" + key,
            data.byteSize() + " bytes",
            count + " elements of " + element.name());
      }
      return new Storage(element, data);
    }
    throw new MalformedFileException(file, "data.pkl", "another persistent id", "a storage's");
  }
}
