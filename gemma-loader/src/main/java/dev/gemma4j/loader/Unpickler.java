package dev.gemma4j.loader;

import dev.gemma4j.tokenizer.MalformedFileException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Runs a pickle, which is a program (<a
 * href="https://github.com/python/cpython/blob/main/Lib/pickletools.py">opcodes</a>), as far as it
 * builds plain data. Whatever else it names is up to {@link Builder}; it can call nothing.
 *
 * <p>Objects are String, Long, Double, Boolean, {@link #NONE}, {@link Tuple}, ArrayList,
 * LinkedHashMap (with String keys) and what the builder makes.
 */
final class Unpickler {
  /** What a pickle's globals and persistent ids stand for. */
  interface Builder {
    /** The function or class of a name; refuses all but those it knows. */
    Object global(String name) throws MalformedFileException;

    Object call(Object global, Tuple arguments) throws MalformedFileException;

    Object persistent(Object id) throws MalformedFileException;
  }

  record Tuple(List<Object> items) {}

  static final Object NONE = new Object();
  private static final Object MARK = new Object();

  /** Ten times the largest model's; every byte may make an object. */
  private static final int MAX_BYTES = 1 << 20;

  private static final int MAX_LONG_BYTES = 8;

  private final String file;
  private final ByteBuffer in;
  private final Builder builder;
  private final List<Object> stack = new ArrayList<>();
  private final Map<Integer, Object> memo = new HashMap<>();
  private int at; // of the opcode

  private Unpickler(String file, ByteBuffer in, Builder builder) {
    this.file = file;
    this.in = in;
    this.builder = builder;
  }

  static Object load(String file, MemorySegment pickle, Builder builder)
      throws MalformedFileException {
    if (pickle.byteSize() > MAX_BYTES) {
      throw new MalformedFileException(
          file, "pickle", pickle.byteSize() + " bytes", "at most " + MAX_BYTES);
    }
    byte[] bytes = pickle.toArray(ValueLayout.JAVA_BYTE);
    ByteBuffer in = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    return new Unpickler(file, in, builder).run();
  }

  private MalformedFileException malformed(String found, String expected) {
    return new MalformedFileException(file, "pickle offset " + at, found, expected);
  }

  private Object run() throws MalformedFileException {
    while (true) {
      at = in.position();
      int opcode = Byte.toUnsignedInt(take(1).get());
      if (opcode == '.') {
        return pop();
      }
      step(opcode);
    }
  }

  private void step(int opcode) throws MalformedFileException {
    switch (opcode) {
      case 0x80 -> take(1); // protocol
      case '(' -> push(MARK);
      case 'N' -> push(NONE);
      case 0x88 -> push(true);
      case 0x89 -> push(false);
      case 'K' -> push((long) Byte.toUnsignedInt(take(1).get()));
      case 'M' -> push((long) Short.toUnsignedInt(take(2).getShort()));
      case 'J' -> push((long) take(4).getInt());
      case 0x8a -> push(longInteger(Byte.toUnsignedInt(take(1).get())));
      case 'G' -> push(Double.longBitsToDouble(Long.reverseBytes(take(8).getLong())));
      case 'X' -> push(text(take(4).getInt()));
      case '}' -> push(new LinkedHashMap<String, Object>());
      case ']' -> push(new ArrayList<>());
      case ')' -> push(new Tuple(List.of()));
      case 't' -> push(new Tuple(popToMark()));
      case 0x85 -> push(new Tuple(popLast(1)));
      case 0x86 -> push(new Tuple(popLast(2)));
      case 0x87 -> push(new Tuple(popLast(3)));
      case 'q' -> memo.put(Byte.toUnsignedInt(take(1).get()), top());
      case 'r' -> memo.put(take(4).getInt(), top());
      case 'h' -> push(recall(Byte.toUnsignedInt(take(1).get())));
      case 'j' -> push(recall(take(4).getInt()));
      case 'a' -> append(popLast(1));
      case 'e' -> append(popToMark());
      case 's' -> put(popLast(2));
      case 'u' -> put(popToMark());
      case 'c' -> push(builder.global(line() + "." + line()));
      case 'Q' -> push(builder.persistent(pop()));
      case 'R' -> call();
      case 'b' -> build();
      default -> throw malformed("opcode " + name(opcode), "one that builds plain data");
    }
  }

  /** The next n bytes, which it steps over. */
  private ByteBuffer take(int n) throws MalformedFileException {
    if (n < 0 || n > in.remaining()) {
      throw malformed(Integer.toUnsignedString(n) + " bytes", "the " + in.remaining() + " left");
    }
    ByteBuffer bytes = in.slice(in.position(), n).order(ByteOrder.LITTLE_ENDIAN);
    in.position(in.position() + n);
    return bytes;
  }

  private String text(int length) throws MalformedFileException {
    try {
      CharBuffer text = StandardCharsets.UTF_8.newDecoder().decode(take(length));
      return text.toString();
    } catch (CharacterCodingException e) {
      throw malformed("bytes that are no UTF-8", "UTF-8");
    }
  }

  private long longInteger(int length) throws MalformedFileException {
    if (length > MAX_LONG_BYTES) {
      throw malformed("an integer of " + length + " bytes", "at most " + MAX_LONG_BYTES);
    }
    ByteBuffer bytes = take(length);
    long value = 0;
    for (int i = 0; i < length; i++) {
      value |= (bytes.get(i) & 0xffL) << 8 * i;
    }
    int unused = 64 - 8 * length;
    return length == 0 ? 0 : value << unused >> unused;
  }

  private String line() throws MalformedFileException {
    int length = 0;
    while (length < in.remaining() && in.get(in.position() + length) != '\n') {
      length++;
    }
    String line = text(length);
    take(1);
    return line;
  }

  private void push(Object object) {
    stack.add(object);
  }

  private Object top() throws MalformedFileException {
    if (stack.isEmpty()) {
      throw malformed("an empty stack", "an object");
    }
    return stack.getLast();
  }

  private Object pop() throws MalformedFileException {
    Object top = top();
    stack.removeLast();
    return top;
  }

  private List<Object> popLast(int n) throws MalformedFileException {
    if (stack.size() < n) {
      throw malformed("a stack of " + stack.size(), "at least " + n);
    }
    List<Object> last = stack.subList(stack.size() - n, stack.size());
    List<Object> result = List.copyOf(last);
    last.clear();
    return result;
  }

  private List<Object> popToMark() throws MalformedFileException {
    int n = 0;
    while (n < stack.size() && stack.get(stack.size() - 1 - n) != MARK) {
      n++;
    }
    if (n == stack.size()) {
      throw malformed("no mark", "one on the stack");
    }
    List<Object> result = popLast(n);
    stack.removeLast();
    return result;
  }

  private Object recall(int index) throws MalformedFileException {
    Object object = memo.get(index);
    if (object == null) {
      throw malformed("memo " + Integer.toUnsignedString(index), "one that was stored");
    }
    return object;
  }

  private void append(List<Object> items) throws MalformedFileException {
    if (!(top() instanceof ArrayList<?>)) {
      throw malformed("items for what is no list", "a list");
    }
    @SuppressWarnings("unchecked") // no other lists are made
    ArrayList<Object> list = (ArrayList<Object>) top();
    list.addAll(items);
  }

  private void put(List<Object> items) throws MalformedFileException {
    if (!(top() instanceof LinkedHashMap<?, ?>) || items.size() % 2 != 0) {
      throw malformed("items for what is no dict, or no pairs", "a dict and pairs");
    }
    @SuppressWarnings("unchecked") // no other maps are made
    LinkedHashMap<String, Object> map = (LinkedHashMap<String, Object>) top();
    for (int i = 0; i < items.size(); i += 2) {
      if (!(items.get(i) instanceof String key)) {
        throw malformed("a key that is no text", "a text");
      }
      map.put(key, items.get(i + 1));
    }
  }

  private void call() throws MalformedFileException {
    List<Object> call = popLast(2);
    if (!(call.get(1) instanceof Tuple arguments)) {
      throw malformed("arguments that are no tuple", "a tuple");
    }
    push(builder.call(call.get(0), arguments));
  }

  /** Attributes of a dict, such as a state_dict's _metadata; nobody asks for them. */
  private void build() throws MalformedFileException {
    pop();
    if (!(top() instanceof LinkedHashMap<?, ?>)) {
      throw malformed("attributes for what is no dict", "a dict");
    }
  }

  private static final String NAMES =
      "0POP 1POP_MARK 2DUP FFLOAT IINT LLONG SSTRING TBINSTRING USHORT_BINSTRING VUNICODE PPERSID "
          + "dDICT gGET iINST lLIST oOBJ pPUT BBINBYTES CSHORT_BINBYTES";
  private static final List<String> HIGH_NAMES =
      List.of(
          "PROTO, NEWOBJ, EXT1, EXT2, EXT4, TUPLE1, TUPLE2, TUPLE3, NEWTRUE, NEWFALSE, LONG1,"
              .concat(" LONG4, SHORT_BINUNICODE, BINUNICODE8, BINBYTES8, EMPTY_SET, ADDITEMS,")
              .concat(" FROZENSET, NEWOBJ_EX, STACK_GLOBAL, MEMOIZE, FRAME, BYTEARRAY8,")
              .concat(" NEXT_BUFFER, READONLY_BUFFER")
              .split(", "));

  private static String name(int opcode) {
    String hex = String.format("0x%02x", opcode);
    if (opcode >= 0x80) {
      return opcode - 0x80 < HIGH_NAMES.size() ? HIGH_NAMES.get(opcode - 0x80) : hex;
    }
    for (String name : NAMES.split(" ")) {
      if (name.charAt(0) == opcode) {
        return name.substring(1);
      }
    }
    return hex;
  }
}
