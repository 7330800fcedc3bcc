package dev.gemma4j.loader;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import dev.gemma4j.tokenizer.MalformedFileException;
import java.io.CharConversionException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.channels.ClosedByInterruptException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Strict JSON of one file: nesting and size are limited and a key may not stand twice. */
final class Json {
  /** Many times what any model's files hold; on the heap each takes a hundred times its bytes. */
  private static final int MAX_VALUES = 1_000_000;

  private static final JsonFactory FACTORY =
      JsonFactory.builder()
          .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
          // Interned or shared names would stay behind from a hostile file.
          .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
          .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
          .streamReadConstraints(StreamReadConstraints.builder().maxNestingDepth(32).build())
          .build();

  private final String file;
  private int values;

  Json(String file) {
    this.file = file;
  }

  static JsonParser parser(byte[] json) throws IOException {
    return FACTORY.createParser(json);
  }

  /** Reads a file that holds one object. */
  static Values read(Path path) throws IOException {
    String file = path.toString();
    try (JsonParser parser = parser(InputFile.readText(path))) {
      if (parser.nextToken() != JsonToken.START_OBJECT) {
        throw new MalformedFileException(
            file, "JSON", String.valueOf(parser.currentToken()), "an object");
      }
      Map<String, Object> map = new Json(file).object(parser);
      if (parser.nextToken() != null) {
        throw new MalformedFileException(file, "JSON", "more after the object", "its end");
      }
      return new Values(file, map);
    } catch (JsonProcessingException | CharConversionException e) {
      throw malformed(file, e);
    }
  }

  /**
   * Reads one member of a file's object, and the file no further than that.
   *
   * @return with that key, or without any when the object has none
   */
  static Values read(Path path, String key, long maxBytes) throws IOException {
    String file = path.toString();
    InputStream in = InputFile.open(path, maxBytes);
    try (in;
        JsonParser parser = FACTORY.createParser(in)) {
      if (parser.nextToken() != JsonToken.START_OBJECT) {
        throw new MalformedFileException(
            file, "JSON", String.valueOf(parser.currentToken()), "an object");
      }
      while (parser.nextToken() != JsonToken.END_OBJECT) {
        boolean found = parser.currentName().equals(key);
        parser.nextToken();
        if (found) {
          return new Values(file, Map.of(key, new Json(file).value(parser)));
        }
        parser.skipChildren();
      }
      return new Values(file, Map.of());
    } catch (JsonProcessingException | CharConversionException e) {
      throw malformed(file, e);
    } catch (MalformedFileException | ClosedByInterruptException e) {
      throw e;
    } catch (IOException e) {
      throw InputFile.unreadable(path, e);
    }
  }

  static MalformedFileException malformed(String file, IOException e) {
    String problem =
        e instanceof JsonProcessingException json ? json.getOriginalMessage() : e.getMessage();
    MalformedFileException result =
        new MalformedFileException(file, "JSON", String.valueOf(problem), "valid JSON");
    result.initCause(e);
    return result;
  }

  private Map<String, Object> object(JsonParser parser) throws IOException {
    Map<String, Object> map = new LinkedHashMap<>();
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      String key = parser.currentName();
      parser.nextToken();
      map.put(key, value(parser));
    }
    return map;
  }

  /** The value that the parser is at. */
  Object value(JsonParser parser) throws IOException {
    if (++values > MAX_VALUES) {
      throw new MalformedFileException(
          file, "JSON", "more than " + MAX_VALUES + " values", "at most as many");
    }
    return switch (parser.currentToken()) {
      case START_OBJECT -> object(parser);
      case START_ARRAY -> {
        List<Object> list = new ArrayList<>();
        while (parser.nextToken() != JsonToken.END_ARRAY) {
          list.add(value(parser));
        }
        yield list;
      }
      case VALUE_STRING -> parser.getText();
      case VALUE_NUMBER_INT -> {
        Number number = parser.getNumberValue();
        yield number instanceof Integer small ? Long.valueOf(small) : number;
      }
      case VALUE_NUMBER_FLOAT -> parser.getDoubleValue();
      case VALUE_TRUE -> true;
      case VALUE_FALSE -> false;
      default -> Values.NULL;
    };
  }
}
