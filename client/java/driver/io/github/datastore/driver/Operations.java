package io.github.datastore.driver;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.github.datastore.client.Aggregate;
import io.github.datastore.client.Change;
import io.github.datastore.client.ChangeBatch;
import io.github.datastore.client.Client;
import io.github.datastore.client.ClientBuilder;
import io.github.datastore.client.DatastoreException;
import io.github.datastore.client.Description;
import io.github.datastore.client.Entry;
import io.github.datastore.client.Key;
import io.github.datastore.client.Metadata;
import io.github.datastore.client.Page;
import io.github.datastore.client.Put;
import io.github.datastore.client.Query;
import io.github.datastore.client.QueryCursor;
import io.github.datastore.client.ReadResult;
import io.github.datastore.client.Watch;
import io.github.datastore.client.WatchCursor;
import io.github.datastore.client.Wire;
import io.github.datastore.client.Write;
import io.github.datastore.client.WriteResult;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;

/**
 * The operations of the suite, by the public API of the client; what is open is kept by its number.
 */
final class Operations {
  private static final HexFormat HEX = HexFormat.of();

  private final Map<Long, Object> held = new LinkedHashMap<>();
  private long numbers;

  /** A query that is being read, and the error that ended it after entries that were given. */
  private static final class Reading {
    final QueryCursor cursor;
    final boolean isKeysOnly;
    DatastoreException error;

    Reading(QueryCursor cursor, boolean isKeysOnly) {
      this.cursor = cursor;
      this.isKeysOnly = isKeysOnly;
    }
  }

  /** A watch, and the changes of its last batch that were not given yet. */
  private static final class Watching {
    final WatchCursor cursor;
    final List<Change> changes = new ArrayList<>();
    byte[] token = {};
    boolean isCaughtUp;

    Watching(WatchCursor cursor) {
      this.cursor = cursor;
    }
  }

  JsonObject run(String operation, JsonObject request) {
    return switch (operation) {
      case "key" -> key(request);
      case "compare_keys" -> compareKeys(request);
      case "encode" ->
          only("wire", HEX.formatHex(Wire.encoded(Notation.plain(request.get("value")))));
      case "decode" -> decode(request);
      case "sort_key" -> sortKey(request);
      case "query" -> only("wire", HEX.formatHex(Wire.encoded(Requests.query(request))));
      case "error" -> Responses.failed(Wire.failure(hex(request, "status")));
      case "connect" -> only("client", hold(connect(request)));
      case "close" -> close(request);
      case "describe" -> describe(client(request).describe());
      case "get" -> get(request);
      case "put" -> stored(client(request).put(Requests.put(request, request)));
      case "delete" -> delete(request);
      case "contains" -> contains(request);
      case "touch" -> stored(client(request).touch(Requests.touch(text(request, "key"), request)));
      case "patch" -> Responses.made(client(request).patch(Requests.patch(request, request)));
      case "update" -> update(request);
      case "batch_get" -> batchGet(request);
      case "batch_write" -> batchWrite(request);
      case "lone_gets" -> loneGets(request);
      case "read" -> read(request);
      case "open_query" -> only("cursor", hold(open(request)));
      case "next" -> next((Reading) held.get(number(request, "cursor")), number(request, "count"));
      case "leave" -> leave(request);
      case "list_entries" -> listEntries(request);
      case "aggregate" -> aggregate(request);
      case "open_watch" -> openWatch(request);
      case "changes" ->
          changes((Watching) held.get(number(request, "watch")), number(request, "count"));
      case "write" -> write(request);
      case "bench_query" -> Benchmarks.query(request);
      case "bench_get" -> Benchmarks.get(request);
      case "memory" -> Benchmarks.memory();
      default -> throw new Notation.Inexpressible("the driver does not know " + operation);
    };
  }

  void close() {
    held.values().stream()
        .filter(Client.class::isInstance)
        .forEach(client -> ((Client) client).close());
  }

  private long hold(Object object) {
    held.put(++numbers, object);
    return numbers;
  }

  private Client client(JsonObject request) {
    return (Client) held.get(number(request, "client"));
  }

  private static String text(JsonObject request, String name) {
    return request.get(name).getAsString();
  }

  private static long number(JsonObject request, String name) {
    return request.get(name).getAsLong();
  }

  private static byte[] hex(JsonObject request, String name) {
    return HEX.parseHex(text(request, name));
  }

  private static JsonObject only(String name, Object value) {
    JsonObject object = new JsonObject();
    if (value instanceof Number number) {
      object.addProperty(name, number);
    } else if (value instanceof Boolean bool) {
      object.addProperty(name, bool);
    } else if (value instanceof JsonElement element) {
      object.add(name, element);
    } else {
      object.addProperty(name, (String) value);
    }
    return object;
  }

  // Without a server

  private static JsonObject key(JsonObject request) {
    Key key = Key.of(text(request, "text"));
    JsonObject result = only("text", key.text());
    result.addProperty("collection", key.collection().text());
    result.addProperty("hash", String.valueOf(key.hash()));
    result.addProperty("slot", key.slot());
    result.addProperty("collection_slot", key.collection().slot());
    return result;
  }

  private static JsonObject compareKeys(JsonObject request) {
    int order = Key.of(text(request, "a")).compareTo(Key.of(text(request, "b")));
    return only("order", Integer.signum(order));
  }

  private static JsonObject decode(JsonObject request) {
    return only("value", Notation.written(Wire.decoded(hex(request, "wire"))));
  }

  private static JsonObject sortKey(JsonObject request) {
    byte[] key =
        Wire.sortKey(Notation.plain(request.get("value")), Requests.flag(request, "descending"));
    return only("sort_key", HEX.formatHex(key));
  }

  // Connections

  private static Client connect(JsonObject request) {
    String scheme = Requests.flag(request, "tls") ? "grpcs://" : "grpc://";
    String[] addresses =
        Requests.texts(request, "addresses").stream().map(scheme::concat).toArray(String[]::new);
    ClientBuilder builder = Client.builder(addresses);
    if (request.has("ca")) {
      builder.ca(file(request, "ca"));
    }
    if (request.has("cert") || request.has("key_file")) {
      builder.certificate(file(request, "cert"), file(request, "key_file"));
    }
    if (request.has("token")) {
      builder.token(text(request, "token"));
    }
    if (request.has("timeout_ms")) {
      builder.timeout(Duration.ofMillis(number(request, "timeout_ms")));
    }
    if (request.has("query_timeout_ms")) {
      builder.queryTimeout(Duration.ofMillis(number(request, "query_timeout_ms")));
    }
    if (request.has("retry")) {
      builder.retry(Requests.flag(request, "retry"));
    }
    return builder.retryWrites(Requests.flag(request, "retry_writes")).connect();
  }

  private static Path file(JsonObject request, String name) {
    return request.has(name) ? Path.of(text(request, name)) : null;
  }

  private JsonObject close(JsonObject request) {
    ((Client) held.remove(number(request, "client"))).close();
    return new JsonObject();
  }

  private static JsonObject describe(Description description) {
    JsonObject limits = new JsonObject();
    description.limits().forEach((name, limit) -> limits.addProperty(name, String.valueOf(limit)));
    JsonObject result = only("limits", limits);
    result.add(
        "features", Responses.texts(description.features().stream().map(Enum::name).toList()));
    result.addProperty("server_version", description.serverVersion());
    return result;
  }

  // Single entries

  private JsonObject get(JsonObject request) {
    Key key = Key.of(text(request, "key"));
    if (Requests.flag(request, "metadata")) {
      return Responses.found(client(request).getEntry(key));
    }
    return Responses.found(client(request).get(key), Optional.empty());
  }

  private static JsonObject stored(Optional<Metadata> metadata) {
    return Responses.found(Optional.empty(), metadata);
  }

  private JsonObject delete(JsonObject request) {
    client(request).delete(Requests.delete(text(request, "key"), request));
    return new JsonObject();
  }

  private JsonObject contains(JsonObject request) {
    return only("contains", client(request).contains(Key.of(text(request, "key"))));
  }

  private JsonObject update(JsonObject request) {
    String field = request.getAsJsonArray("add").get(0).getAsString();
    long added = request.getAsJsonArray("add").get(1).getAsLong();
    Optional<Object> value =
        client(request)
            .update(
                Key.of(text(request, "key")),
                old -> {
                  Map<String, Object> map = new LinkedHashMap<>();
                  ((Map<?, ?>) old.orElse(Map.of()))
                      .forEach((name, held) -> map.put((String) name, held));
                  map.merge(field, added, (before, more) -> (Long) before + (Long) more);
                  return map;
                });
    return Responses.found(value, Optional.empty());
  }

  // Batches

  private static List<Key> keys(JsonObject request) {
    return Requests.texts(request, "keys").stream().map(Key::of).toList();
  }

  private JsonObject batchGet(JsonObject request) {
    JsonArray results = new JsonArray();
    List<ReadResult> read =
        Requests.flag(request, "metadata")
            ? client(request).batchGetEntries(keys(request))
            : client(request).batchGet(keys(request));
    read.forEach(result -> results.add(Responses.read(result)));
    return only("results", results);
  }

  private static <T> T joined(CompletableFuture<T> future) {
    try {
      return future.join();
    } catch (CompletionException error) {
      throw error.getCause() instanceof DatastoreException failure ? failure : error;
    }
  }

  private JsonObject batchWrite(JsonObject request) {
    List<Write> writes = new ArrayList<>();
    request
        .getAsJsonArray("writes")
        .forEach(write -> writes.add(Requests.write(write.getAsJsonObject())));
    Client client = client(request);
    List<WriteResult> made =
        Requests.flag(request, "atomic")
            ? client.batchWriteAtomic(writes)
            : client.batchWrite(writes);
    JsonArray results = new JsonArray();
    made.forEach(result -> results.add(Responses.made(result)));
    return only("results", results);
  }

  private JsonObject loneGets(JsonObject request) {
    Client client = client(request);
    List<CompletableFuture<Optional<Object>>> begun =
        keys(request).stream().map(client::getAsync).toList();
    JsonArray results = new JsonArray();
    for (CompletableFuture<Optional<Object>> each : begun) {
      try {
        results.add(Responses.found(joined(each), Optional.empty()));
      } catch (DatastoreException error) {
        results.add(Responses.failed(error));
      }
    }
    return only("results", results);
  }

  private JsonObject write(JsonObject request) {
    byte[] value =
        "x".repeat((int) number(request, "value_bytes")).getBytes(StandardCharsets.US_ASCII);
    long count = number(request, "count");
    for (long from = 0; from < count; from += 10_000) {
      List<Write> writes = new ArrayList<>();
      for (long each = from; each < Math.min(from + 10_000, count); each++) {
        writes.add(Put.of(Key.of("%s/%08d".formatted(text(request, "prefix"), each)), value));
      }
      client(request).batchWrite(writes).forEach(WriteResult::orElseThrow);
    }
    return new JsonObject();
  }

  // Queries

  private Reading open(JsonObject request) {
    Query query = Requests.query(request);
    boolean isKeysOnly = Requests.flag(request.getAsJsonObject("query"), "keys_only");
    return new Reading(client(request).query(query), isKeysOnly);
  }

  private JsonObject read(JsonObject request) {
    Reading reading = open(request);
    try (QueryCursor cursor = reading.cursor) {
      JsonObject result = next(reading, Long.MAX_VALUE);
      return cursor.summary().isPresent() ? result : next(reading, 1);
    }
  }

  private static JsonObject next(Reading reading, long count) {
    if (reading.error != null) {
      throw reading.error;
    }
    JsonArray entries = new JsonArray();
    try {
      while (entries.size() < count && reading.cursor.hasNext()) {
        entries.add(Responses.entry(reading.cursor.next(), reading.isKeysOnly));
      }
    } catch (DatastoreException error) {
      if (entries.isEmpty()) {
        throw error;
      }
      reading.error = error;
      return only("entries", entries);
    }
    JsonObject result = only("entries", entries);
    if (entries.size() < count) {
      reading
          .cursor
          .summary()
          .ifPresent(summary -> result.add("summary", Responses.summary(summary)));
    }
    return result;
  }

  private JsonObject leave(JsonObject request) {
    Object left = held.remove(number(request, request.has("cursor") ? "cursor" : "watch"));
    if (left instanceof Reading reading) {
      reading.cursor.close();
    } else {
      ((Watching) left).cursor.close();
    }
    return new JsonObject();
  }

  private JsonObject listEntries(JsonObject request) {
    int size = request.has("page_size") ? (int) number(request, "page_size") : 0;
    Optional<Entry> last =
        request.has("last_entry")
            ? Optional.of(Requests.entry(request.getAsJsonObject("last_entry")))
            : Optional.empty();
    String token =
        request.has("page_token")
            ? new String(hex(request, "page_token"), StandardCharsets.UTF_8)
            : "";
    Page page =
        client(request).listEntries(Requests.query(request), size, new Page.Token(token, last));
    boolean isKeysOnly = Requests.flag(request.getAsJsonObject("query"), "keys_only");
    JsonArray entries = new JsonArray();
    page.entries().forEach(entry -> entries.add(Responses.entry(entry, isKeysOnly)));
    JsonObject result = only("entries", entries);
    page.next()
        .ifPresent(
            next ->
                result.addProperty(
                    "next_page_token",
                    HEX.formatHex(next.text().getBytes(StandardCharsets.UTF_8))));
    page.next()
        .flatMap(Page.Token::lastEntry)
        .ifPresent(entry -> result.add("last_entry", Responses.entry(entry, false)));
    result.add("unreachable", Responses.texts(page.unreachable()));
    return result;
  }

  private JsonObject aggregate(JsonObject request) {
    Aggregate aggregate = Requests.aggregate(request);
    JsonArray groups = new JsonArray();
    for (Map<String, Object> row : client(request).aggregate(aggregate)) {
      JsonArray group = new JsonArray();
      Requests.texts(request, "group_by")
          .forEach(field -> group.add(Notation.written(row.get(field))));
      JsonArray values = new JsonArray();
      for (JsonElement each : request.getAsJsonArray("aggregations")) {
        values.add(Notation.written(row.get(text(each.getAsJsonObject(), "as"))));
      }
      JsonObject written = only("group", group);
      written.add("values", values);
      groups.add(written);
    }
    return only("groups", groups);
  }

  // Watches

  private JsonObject openWatch(JsonObject request) {
    Watch watch = Watch.of(Requests.query(request));
    watch = Requests.flag(request, "initial") ? watch.withInitial() : watch;
    watch = request.has("token") ? watch.from(hex(request, "token")) : watch;
    return only("watch", hold(new Watching(client(request).watch(watch))));
  }

  /** Batches are given whole by the client: what is left of one is given by the next request. */
  private static JsonObject changes(Watching watching, long count) {
    while (watching.changes.size() < count) {
      ChangeBatch batch = watching.cursor.next();
      watching.changes.addAll(batch.changes());
      watching.token = batch.token();
      watching.isCaughtUp |= batch.isCaughtUp();
    }
    JsonArray changes = new JsonArray();
    List<Change> given = watching.changes.subList(0, (int) count);
    given.forEach(change -> changes.add(Responses.change(change)));
    given.clear();
    JsonObject result = only("changes", changes);
    result.addProperty("token", HEX.formatHex(watching.token));
    result.addProperty("caught_up", watching.isCaughtUp);
    return result;
  }
}
