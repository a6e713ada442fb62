package io.github.datastore.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.protobuf.InvalidProtocolBufferException;
import io.github.datastore.v1.BatchWriteRequest;
import io.github.datastore.v1.Value;
import io.github.datastore.v1.WatchRequest;
import io.github.datastore.v1.WatchResponse;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class VectorsTest {
  static Stream<JsonObject> keys() {
    return Vectors.objects(Vectors.read("keys"))
        .filter(vector -> vector.get("given").isJsonPrimitive());
  }

  @ParameterizedTest
  @MethodSource
  void keys(JsonObject vector) {
    Key key = Key.of(vector.get("given").getAsString());
    assertEquals(vector.get("text").getAsString(), key.text());
    assertEquals(vector.get("path").getAsString(), key.collection().text());
  }

  @Test
  void keysAreOrderedByCodePoints() {
    List<String> sorted = Vectors.texts(Vectors.read("order"));
    assertEquals(sorted, sorted.stream().map(Key::of).sorted().map(Key::text).toList());
    // The first is above U+FFFF, which UTF-16 puts first.
    assertTrue(Key.of("/\uD83D\uDE00").compareTo(Key.of("/\uFF5E")) > 0);
  }

  static Stream<JsonObject> hashes() {
    return Vectors.objects(Vectors.read("hashes"));
  }

  @ParameterizedTest
  @MethodSource
  void hashes(JsonObject vector) {
    assertEquals(vector.get("hash").getAsLong(), Key.of(vector.get("key").getAsString()).hash());
  }

  static Stream<JsonObject> slots() {
    return Vectors.objects(Vectors.read("slots").getAsJsonObject().get("keys"));
  }

  @ParameterizedTest
  @MethodSource
  void slots(JsonObject vector) {
    Key key = Key.of(vector.get("key").getAsString());
    assertEquals(vector.get("slot").getAsInt(), key.slot());
    assertEquals(vector.get("collection_slot").getAsInt(), key.collection().slot());
  }

  static Stream<JsonObject> values() {
    return Vectors.objects(Vectors.read("values"));
  }

  @ParameterizedTest
  @MethodSource
  void values(JsonObject vector) throws InvalidProtocolBufferException {
    byte[] wire = Vectors.hex(vector.get("wire"));
    assertArrayEquals(wire, Values.encode(Vectors.value(vector.get("value"))).toByteArray());
    assertArrayEquals(wire, Values.encode(Values.decode(Value.parseFrom(wire))).toByteArray());
  }

  @Test
  void sortKeys() {
    List<byte[]> ascending = new ArrayList<>();
    for (JsonElement tied : Vectors.read("sort_keys").getAsJsonArray()) {
      Vectors.objects(tied)
          .forEach(
              vector -> {
                Object value = Vectors.value(vector.get("value"));
                assertArrayEquals(Vectors.hex(vector.get("ascending")), SortKeys.of(value, false));
                assertArrayEquals(Vectors.hex(vector.get("descending")), SortKeys.of(value, true));
                ascending.add(SortKeys.of(value, false));
              });
    }
    List<byte[]> sorted = new ArrayList<>(ascending);
    sorted.sort(Arrays::compareUnsigned);
    assertEquals(shown(ascending), shown(sorted));
  }

  private static List<String> shown(List<byte[]> keys) {
    return keys.stream().map(HexFormat.of()::formatHex).toList();
  }

  static Stream<JsonObject> queries() {
    return Vectors.objects(Vectors.read("wire_queries"));
  }

  @ParameterizedTest
  @MethodSource
  void queries(JsonObject vector) throws InvalidProtocolBufferException {
    JsonObject written = vector.getAsJsonObject("query");
    Query query = query(written);
    if (written.has("start_after")) {
      // The entry that gives the position of the vector.
      Key key = Key.of(written.getAsJsonArray("start_after").get(1).getAsString());
      query = query.startAfter(new Entry(key, Map.of("n", 1, "s", "x")));
    }
    byte[] wire = Vectors.hex(vector.get("wire"));
    assertEquals(io.github.datastore.v1.Query.parseFrom(wire), query.message());
  }

  private static Query query(JsonObject written) {
    Query query = Query.of(written.get("key").getAsString());
    query = query.order(Vectors.texts(written.get("order")).toArray(String[]::new));
    query = query.fields(Vectors.texts(written.get("fields")).toArray(String[]::new));
    if (written.has("filter")) {
      for (JsonElement filter : written.getAsJsonArray("filter")) {
        query = query.filter(filter(filter));
      }
    }
    query = written.has("limit") ? query.limit(written.get("limit").getAsLong()) : query;
    query = written.has("offset") ? query.offset(written.get("offset").getAsLong()) : query;
    query = written.has("recursive") ? query.recursive() : query;
    query = written.has("keys_only") ? query.keysOnly() : query;
    return written.has("metadata") ? query.withMetadata() : query;
  }

  private static Filter filter(JsonElement written) {
    if (written instanceof JsonArray comparison) {
      String operator = comparison.get(1).getAsString().replace(' ', '_');
      return Filter.of(comparison.get(0).getAsString(), operator, Vectors.value(comparison.get(2)));
    }
    Map.Entry<String, JsonElement> tree = written.getAsJsonObject().entrySet().iterator().next();
    if (tree.getKey().equals("not")) {
      return Filter.not(filter(tree.getValue()));
    }
    List<Filter> filters = new ArrayList<>();
    tree.getValue().getAsJsonArray().forEach(part -> filters.add(filter(part)));
    Filter[] parts = filters.toArray(Filter[]::new);
    return tree.getKey().equals("and") ? Filter.and(parts) : Filter.or(parts);
  }

  static Stream<JsonObject> metadata() {
    return writes("metadata");
  }

  private static Stream<JsonObject> writes(String kind) {
    return Vectors.objects(Vectors.read("wire_writes").getAsJsonObject().get(kind));
  }

  @ParameterizedTest
  @MethodSource
  void metadata(JsonObject vector) throws InvalidProtocolBufferException {
    JsonObject written = vector.getAsJsonObject("metadata");
    byte[] wire = Vectors.hex(vector.get("wire"));
    Metadata metadata = Metadata.received(io.github.datastore.v1.Metadata.parseFrom(wire));
    assertEquals(written.get("version").getAsLong(), metadata.version());
    assertEquals(instant(written.get("created_us").getAsLong()), metadata.createTime());
    assertEquals(instant(written.get("updated_us").getAsLong()), metadata.updateTime());
    assertEquals(
        instant(written.get("expires_us").getAsLong()),
        metadata.expireTime().orElse(Instant.EPOCH));
    assertArrayEquals(wire, metadata.message().toByteArray());
  }

  private static Instant instant(long micros) {
    return Instant.EPOCH.plus(Duration.ofNanos(1000).multipliedBy(micros));
  }

  static Stream<JsonObject> conditions() {
    return writes("conditions");
  }

  @ParameterizedTest
  @MethodSource
  void conditions(JsonObject vector) {
    JsonObject written = vector.getAsJsonObject("condition");
    Condition condition =
        written.has("version")
            ? Condition.version(written.get("version").getAsLong())
            : written.get("exists").getAsBoolean() ? Condition.exists() : Condition.absent();
    assertArrayEquals(Vectors.hex(vector.get("wire")), condition.message().toByteArray());
  }

  static Stream<JsonObject> expiries() {
    return writes("expiries");
  }

  @ParameterizedTest
  @MethodSource
  void expiries(JsonObject vector) {
    JsonObject written = vector.getAsJsonObject("expiry");
    Expiry expiry =
        written.has("in_us")
            ? Expiry.in(Duration.ofNanos(1000).multipliedBy(written.get("in_us").getAsLong()))
            : Expiry.at(instant(written.get("at_us").getAsLong()));
    assertArrayEquals(Vectors.hex(vector.get("wire")), expiry.message().toByteArray());
  }

  static Stream<JsonObject> patches() {
    return writes("patches");
  }

  @ParameterizedTest
  @MethodSource
  void patches(JsonObject vector) throws InvalidProtocolBufferException {
    JsonObject written = vector.getAsJsonObject("patch");
    Patch patch = Patch.of(Key.of(written.get("key").getAsString()));
    patch = written.get("create").getAsBoolean() ? patch.orCreate() : patch;
    for (JsonElement change : written.getAsJsonArray("changes")) {
      patch = changed(patch, change.getAsJsonArray());
    }
    byte[] wire = Vectors.hex(vector.get("wire"));
    assertEquals(io.github.datastore.v1.Patch.parseFrom(wire), patch.message());
    assertEquals(patch.message(), Writes.message(patch).getPatch());
  }

  private static Patch changed(Patch patch, JsonArray change) {
    String path = change.get(1).getAsString();
    Object operand = change.size() > 2 ? Vectors.value(change.get(2)) : null;
    return switch (change.get(0).getAsString()) {
      case "set" -> patch.set(path, operand);
      case "increment" -> patch.increment(path, (Number) operand);
      case "append" -> patch.append(path, (List<?>) operand);
      default -> patch.remove(path);
    };
  }

  static Stream<JsonObject> watches() {
    return Vectors.objects(Vectors.read("wire_watches").getAsJsonObject().get("requests"));
  }

  @ParameterizedTest
  @MethodSource
  void watches(JsonObject vector) throws InvalidProtocolBufferException {
    Watch watch = Watch.of(query(vector.getAsJsonObject("query")));
    watch = vector.get("initial").getAsBoolean() ? watch.withInitial() : watch;
    watch = watch.from(Vectors.hex(vector.get("resume_token")));
    assertEquals(WatchRequest.parseFrom(Vectors.hex(vector.get("wire"))), watch.message());
  }

  static Stream<JsonObject> changes() {
    return Vectors.objects(Vectors.read("wire_watches").getAsJsonObject().get("changes"));
  }

  @ParameterizedTest
  @MethodSource
  void changes(JsonObject vector) throws InvalidProtocolBufferException {
    WatchResponse response = WatchResponse.parseFrom(Vectors.hex(vector.get("wire")));
    JsonArray changes = vector.getAsJsonArray("changes");
    assertEquals(changes.size(), response.getChangesCount());
    for (int i = 0; i < changes.size(); i++) {
      JsonArray written = changes.get(i).getAsJsonArray();
      Change change = Change.received(response.getChanges(i));
      assertEquals(
          written.get(0).getAsString().toUpperCase(java.util.Locale.ROOT), change.kind().name());
      assertEquals(written.get(1).getAsString(), change.key().text());
      assertEquals(written.get(2).getAsLong(), change.version());
    }
  }

  static Stream<JsonObject> errors() {
    return Vectors.objects(Vectors.read("wire_errors"));
  }

  @ParameterizedTest
  @MethodSource
  void errors(JsonObject vector) throws InvalidProtocolBufferException {
    DatastoreException error =
        Failures.of(com.google.rpc.Status.parseFrom(Vectors.hex(vector.get("status"))));
    assertEquals(vector.get("reason").getAsString(), error.reason().name());
    assertEquals(vector.get("message").getAsString(), error.getMessage());
    JsonObject facts = vector.getAsJsonObject("facts");
    for (Map.Entry<String, JsonElement> fact : facts.entrySet()) {
      if (fact.getKey().equals("retry_after_s")) {
        assertEquals(
            fact.getValue().getAsDouble(), error.retryAfter().orElseThrow().toNanos() / 1e9);
      } else {
        assertEquals(fact.getValue().getAsString(), error.details().get(fact.getKey()));
      }
    }
  }

  static Stream<JsonObject> fields() {
    return Vectors.objects(Vectors.read("filters").getAsJsonObject().get("fields"));
  }

  @ParameterizedTest
  @MethodSource
  void fields(JsonObject vector) {
    Object found =
        Fields.find(Vectors.value(vector.get("value")), vector.get("field").getAsString());
    assertEquals(Vectors.value(vector.get("found")), found);
  }

  static Stream<JsonObject> projections() {
    return Vectors.objects(Vectors.read("filters").getAsJsonObject().get("projections"));
  }

  @ParameterizedTest
  @MethodSource
  void projections(JsonObject vector) {
    Object value = Vectors.value(vector.get("value"));
    assertEquals(
        Vectors.value(vector.get("cut")), Fields.cut(value, Vectors.texts(vector.get("fields"))));
  }

  static Stream<JsonObject> wireRefused() {
    // A parser that knows what a value is refuses those without a path; of two kinds it takes the
    // last.
    return Vectors.objects(Vectors.read("wire_refused"))
        .filter(vector -> !vector.get("why").getAsString().equals("a null after another kind"));
  }

  @ParameterizedTest
  @MethodSource
  void wireRefused(JsonObject vector) {
    Value message;
    try {
      message = Value.parseFrom(Vectors.hex(vector.get("wire")));
    } catch (InvalidProtocolBufferException unreadable) {
      return;
    }
    DatastoreException error = assertThrows(StoreException.class, () -> Values.decode(message));
    assertEquals(Reason.CORRUPT_DATA, error.reason());
    assertEquals(vector.get("path").getAsString(), error.details().get("path"));
  }

  @Test
  void writesOfABatchAreWrittenAsAlone() {
    BatchWriteRequest.Write write =
        Writes.message(
            Put.of(Key.of("/a"), 1)
                .when(Condition.absent())
                .expires(Expiry.in(Duration.ofSeconds(1))));
    assertEquals(Put.of(Key.of("/a"), 1).entry(), write.getPut());
    assertEquals(Condition.absent().message(), write.getCondition());
    assertEquals(Duration.ofSeconds(1).toSeconds(), write.getExpiry().getExpiresIn().getSeconds());
  }
}
