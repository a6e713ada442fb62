package io.github.datastore.client;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/** The golden vectors of tests/vectors, which all clients agree with. */
final class Vectors {
  private static final Path FOLDER = Path.of("../../tests/vectors");

  private Vectors() {}

  static JsonElement read(String name) {
    try {
      String text = Files.readString(FOLDER.resolve(name + ".json"), StandardCharsets.UTF_8);
      return JsonParser.parseString(text);
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }

  static Stream<JsonObject> objects(JsonElement array) {
    return StreamSupport.stream(array.getAsJsonArray().spliterator(), false)
        .map(JsonElement::getAsJsonObject);
  }

  static List<String> texts(JsonElement array) {
    return array == null
        ? List.of()
        : StreamSupport.stream(array.getAsJsonArray().spliterator(), false)
            .map(JsonElement::getAsString)
            .toList();
  }

  static byte[] hex(JsonElement text) {
    return HexFormat.of().parseHex(text.getAsString());
  }

  /** A value in the notation of docs/cli.md. */
  static Object value(JsonElement written) {
    if (written == null || written.isJsonNull()) {
      return null;
    }
    if (written instanceof JsonArray array) {
      List<Object> list = new ArrayList<>();
      array.forEach(element -> list.add(value(element)));
      return list;
    }
    if (written instanceof JsonObject object) {
      return object.size() == 1 ? ofOne(object) : map(object);
    }
    JsonPrimitive primitive = written.getAsJsonPrimitive();
    if (primitive.isBoolean()) {
      return primitive.getAsBoolean();
    }
    return primitive.isString()
        ? (Object) primitive.getAsString()
        : number(primitive.getAsString());
  }

  private static Object number(String text) {
    return text.matches("-?[0-9]+") ? (Object) Long.parseLong(text) : Double.parseDouble(text);
  }

  private static Object ofOne(JsonObject object) {
    Map.Entry<String, JsonElement> only = object.entrySet().iterator().next();
    return switch (only.getKey()) {
      case "$bytes" -> Base64.getDecoder().decode(only.getValue().getAsString());
      case "$key" -> Key.of(only.getValue().getAsString());
      case "$datetime" -> OffsetDateTime.parse(only.getValue().getAsString()).toInstant();
      case "$float" -> Double.parseDouble(only.getValue().getAsString());
      default -> map(object);
    };
  }

  private static Map<String, Object> map(JsonObject object) {
    Map<String, Object> map = new LinkedHashMap<>();
    object.entrySet().forEach(member -> map.put(member.getKey(), value(member.getValue())));
    return map;
  }
}
