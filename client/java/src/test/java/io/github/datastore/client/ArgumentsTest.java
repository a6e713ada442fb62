package io.github.datastore.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.datastore.v1.Position;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class ArgumentsTest {
  private static final Key KEY = Key.of("/a");
  private static final Query QUERY = Query.of("/a");

  private static Arguments of(Reason reason, Executable call) {
    return Arguments.of(reason, call);
  }

  private static Filter nested(int depth) {
    Filter filter = Filter.eq("a", 1);
    for (int i = 0; i < depth; i++) {
      filter = Filter.not(filter);
    }
    return filter;
  }

  static Stream<Arguments> refused() {
    return Stream.of(
        of(Reason.INVALID_KEY, () -> Key.of("/a\u0007")),
        of(Reason.INVALID_KEY, () -> Key.of("/a\u0085")),
        of(Reason.INVALID_KEY, () -> Key.of("/\uD800")),
        of(Reason.INVALID_KEY, () -> Key.of("/" + "é".repeat(512))),
        of(Reason.INVALID_QUERY, () -> QUERY.limit(-1)),
        of(Reason.INVALID_QUERY, () -> QUERY.offset(-1)),
        of(Reason.INVALID_QUERY, () -> QUERY.order("")),
        of(Reason.INVALID_QUERY, () -> QUERY.order("-")),
        of(Reason.INVALID_QUERY, () -> QUERY.fields("x".repeat(1025))),
        of(Reason.INVALID_QUERY, () -> QUERY.keysOnly().fields("x")),
        of(Reason.INVALID_QUERY, () -> QUERY.filter("a", "==", 1)),
        of(Reason.INVALID_QUERY, () -> QUERY.filter("a", "in", 1)),
        of(Reason.INVALID_QUERY, () -> QUERY.filter("a", "exists", 1)),
        of(Reason.INVALID_QUERY, () -> QUERY.filter("a", "starts_with", 1)),
        of(Reason.INVALID_QUERY, () -> Filter.or()),
        of(Reason.LIMIT_EXCEEDED, () -> nested(17)),
        of(Reason.INVALID_QUERY, () -> QUERY.order("n").startAfter(new Entry(KEY, null)).message()),
        of(
            Reason.INVALID_QUERY,
            () -> QUERY.order("__version__").startAfter(new Entry(KEY, 1)).message()),
        of(
            Reason.INVALID_QUERY,
            () ->
                QUERY.order("n").fields("m").startAfter(new Entry(KEY, Map.of("n", 1))).message()),
        of(Reason.INVALID_QUERY, () -> Watch.of(QUERY.limit(1))),
        of(Reason.INVALID_QUERY, () -> Aggregate.of(QUERY).message()),
        of(Reason.INVALID_QUERY, () -> Aggregate.of(QUERY).count("n").sum("a", "n").message()),
        of(Reason.INVALID_QUERY, () -> Aggregate.of(QUERY).count("n").order("-m").message()),
        of(Reason.INVALID, () -> Condition.version(0)),
        of(Reason.INVALID, () -> Expiry.in(Duration.ZERO)),
        of(Reason.INVALID, () -> Patch.of(KEY).message()),
        of(Reason.INVALID, () -> Patch.of(KEY).remove("")),
        of(Reason.INVALID, () -> Patch.of(KEY).set("a.b.c", 1).remove("a.b").message()),
        of(Reason.CONFIG, () -> Client.connect()),
        of(Reason.CONFIG, () -> Client.connect("http://localhost:1")),
        of(Reason.CONFIG, () -> Client.connect("localhost:65536")),
        of(Reason.CONFIG, () -> Client.connect("a:1,b:2")),
        of(Reason.CONFIG, () -> Client.connect("grpc://a:1", "grpcs://b:1")),
        of(Reason.CONFIG, () -> Client.builder("grpc://a:1").ca(Path.of("ca.pem")).connect()),
        of(Reason.CONFIG, () -> Client.builder("grpcs://a:1").ca(Path.of("missing.pem")).connect()),
        of(
            Reason.CONFIG,
            () -> Client.builder("grpcs://a:1").certificate(Path.of("a"), null).connect()),
        of(Reason.CONFIG, () -> Client.builder("example.org:1").token("t").connect()),
        of(Reason.CONFIG, () -> Client.builder("localhost:1").token("a b").connect()),
        of(Reason.INVALID, () -> Client.builder("localhost:1").timeout(Duration.ZERO).connect()),
        of(
            Reason.INVALID,
            () -> Client.builder("localhost:1").retry(false).retryWrites(true).connect()));
  }

  @ParameterizedTest
  @MethodSource
  void refused(Reason reason, Executable call) {
    DatastoreException error = assertThrows(DatastoreException.class, call);
    assertEquals(reason, error.reason());
    assertFalse(error.getMessage().isBlank());
  }

  private static Arguments ofNull(String name, Executable call) {
    return Arguments.of(name, call);
  }

  private static Executable with(Consumer<Client> call) {
    return () -> {
      try (Client client = Client.connect("localhost:1")) {
        call.accept(client);
      }
    };
  }

  static Stream<Arguments> nulls() {
    List<Key> nullKey = Collections.singletonList(null);
    return Stream.of(
        ofNull("text", () -> Key.of(null)),
        ofNull("part", () -> KEY.child(null)),
        ofNull("key", () -> Put.of(null, 1)),
        ofNull("condition", () -> Put.of(KEY, 1).when(null)),
        ofNull("expiry", () -> Put.of(KEY, 1).expires(null)),
        ofNull("expiry", () -> new Put(KEY, 1, Optional.empty(), null)),
        ofNull("key", () -> Delete.of(null)),
        ofNull("condition", () -> Delete.of(KEY).when(null)),
        ofNull("key", () -> Touch.of(null)),
        ofNull("condition", () -> Touch.of(KEY).when(null)),
        ofNull("expiry", () -> Touch.of(KEY).expires(null)),
        ofNull("key", () -> Patch.of(null)),
        ofNull("path", () -> Patch.of(KEY).set(null, 1)),
        ofNull("path", () -> Patch.of(KEY).remove(null)),
        ofNull("number", () -> Patch.of(KEY).increment("a", null)),
        ofNull("values", () -> Patch.of(KEY).append("a", null)),
        ofNull("condition", () -> Patch.of(KEY).when(null)),
        ofNull("expiry", () -> Patch.of(KEY).expires(null)),
        ofNull("duration", () -> Expiry.in(null)),
        ofNull("instant", () -> Expiry.at(null)),
        ofNull("key", () -> new Entry(null, 1)),
        ofNull("key", () -> Query.of((Key) null)),
        ofNull("key", () -> Query.of((String) null)),
        ofNull("filter", () -> QUERY.filter(null)),
        ofNull("orders", () -> QUERY.order("a", null)),
        ofNull("fields", () -> QUERY.fields("a", null)),
        ofNull("entry", () -> QUERY.startAfter(null)),
        ofNull("field", () -> Filter.eq(null, 1)),
        ofNull("operator", () -> Filter.of("a", null, 1)),
        ofNull("filter", () -> Filter.not(null)),
        ofNull("filters", () -> Filter.and(Filter.exists("a"), null)),
        ofNull("query", () -> Watch.of(null)),
        ofNull("token", () -> Watch.of(QUERY).from(null)),
        ofNull("query", () -> Aggregate.of(null)),
        ofNull("name", () -> Aggregate.of(QUERY).count(null)),
        ofNull("field", () -> Aggregate.of(QUERY).sum(null, "n")),
        ofNull("fields", () -> Aggregate.of(QUERY).groupBy("a", null)),
        ofNull("orders", () -> Aggregate.of(QUERY).order("a", null)),
        ofNull("addresses", () -> Client.connect("a:1", null)),
        ofNull("file", () -> Client.builder("a:1").ca(null)),
        ofNull("token", () -> Client.builder("a:1").token(null)),
        ofNull("timeout", () -> Client.builder("a:1").timeout(null)),
        ofNull("timeout", () -> Client.builder("a:1").queryTimeout(null)),
        ofNull("key", with(client -> client.get(null))),
        ofNull("key", with(client -> client.getEntryAsync(null))),
        ofNull("key", with(client -> client.contains(null))),
        ofNull("key", with(client -> client.put(null, 1))),
        ofNull("put", with(client -> client.put(null))),
        ofNull("delete", with(client -> client.delete((Delete) null))),
        ofNull("patch", with(client -> client.patch(null))),
        ofNull("touch", with(client -> client.touch(null))),
        ofNull("function", with(client -> client.update(KEY, null))),
        ofNull("keys", with(client -> client.batchGet(null))),
        ofNull("keys", with(client -> client.batchGet(nullKey))),
        ofNull("writes", with(client -> client.batchWrite(null))),
        ofNull("query", with(client -> client.query(null))),
        ofNull("query", with(client -> client.listEntries(null, 1))),
        ofNull("after", with(client -> client.listEntries(QUERY, 1, null))),
        ofNull("aggregate", with(client -> client.aggregate(null))),
        ofNull("query", with(client -> client.watch((Query) null))),
        ofNull("watch", with(client -> client.watch((Watch) null))));
  }

  @ParameterizedTest
  @MethodSource
  void nulls(String name, Executable call) {
    assertEquals(name, assertThrows(NullPointerException.class, call).getMessage());
  }

  @Test
  void severalAddressesInOneTextAreToldHowToBeGiven() {
    DatastoreException error =
        assertThrows(DatastoreException.class, () -> Client.connect("a:1, b:2"));
    assertTrue(error.getMessage().contains("connect(\"a:1\", \"b:2\")"), error.getMessage());
  }

  @Test
  void whatIsAskedForIsShown() {
    assertEquals("exists", Condition.exists().toString());
    assertEquals("absent", Condition.absent().toString());
    assertEquals("version 3", Condition.version(3).toString());
    assertEquals("in PT1H30M", Expiry.in(Duration.ofMinutes(90)).toString());
    assertEquals(
        "at 2026-12-31T00:00:00Z", Expiry.at(Instant.parse("2026-12-31T00:00:00Z")).toString());
    assertEquals(
        "Patch[key { text: \"/a\" } changes { field_path: \"n\" increment { int64_value: 1 } }]"
            + " when exists expires in PT1S",
        Patch.of(KEY)
            .increment("n", 1)
            .when(Condition.exists())
            .expires(Expiry.in(Duration.ofSeconds(1)))
            .toString());
    assertEquals("Patch[key { text: \"/é\" }]", Patch.of(Key.of("/é")).toString());
    assertEquals(
        "Watch[query { key { text: \"/a\" } scope: QUERY_SCOPE_COLLECTION"
            + " view: QUERY_VIEW_ENTRIES } initial: true]",
        Watch.of(QUERY).withInitial().toString());
    assertTrue(Aggregate.of(QUERY).count("n").toString().startsWith("Aggregate[query {"));
    assertTrue(QUERY.order("n").startAfter(new Entry(KEY, null)).toString().endsWith("] after /a"));
    assertTrue(Filter.exists("n").toString().contains("\"n\""));
  }

  @Test
  void theLimitsThemselvesAreTaken() {
    assertEquals(
        1024,
        Key.of("/" + "é".repeat(511) + "e")
            .text()
            .getBytes(java.nio.charset.StandardCharsets.UTF_8)
            .length);
    assertEquals(16, QUERY.filter(nested(16)).message().getFiltersCount() * 16);
    assertEquals(1, QUERY.order("x".repeat(1024)).message().getOrdersCount());
  }

  @Test
  void queriesAreImmutable() {
    Query filtered = QUERY.filter(Filter.gt("n", 1)).order("n", "-m").limit(1);
    assertNotEquals(QUERY.message(), filtered.message());
    assertEquals(Query.of("/a").message(), QUERY.message());
  }

  @Test
  void shortFormsOfFiltersAreThoseByOperator() {
    assertEquals(Filter.of("a", "<=", 1), Filter.lte("a", 1));
    assertEquals(Filter.of("a", ">=", 1), Filter.gte("a", 1));
    assertEquals(Filter.of("a", "<", 1), Filter.lt("a", 1));
    assertEquals(Filter.of("a", "!=", null), Filter.ne("a", null));
    assertEquals(Filter.of("a", "in", List.of(1)), Filter.in("a", List.of(1)));
    assertEquals(Filter.of("a", "not_in", List.of(1)), Filter.notIn("a", List.of(1)));
    assertEquals(Filter.of("a", "contains", "x"), Filter.contains("a", "x"));
    assertEquals(Filter.of("a", "starts_with", "x"), Filter.startsWith("a", "x"));
    assertEquals(Filter.of("a", "exists", true), Filter.exists("a"));
  }

  @Test
  void aLongSortKeyIsReplacedByTheValue() {
    String text = "x".repeat(64 * 1024 - 3);
    Position at =
        QUERY.order("__value__").startAfter(new Entry(KEY, text)).message().getStartAfter();
    assertEquals(64 * 1024, at.getSortKey().size());
    Metadata metadata = new Metadata(7, Instant.EPOCH, Instant.EPOCH, Optional.empty());
    Entry longer = new Entry(KEY, text + "x", Optional.of(metadata));
    Position above = QUERY.order("__value__").startAfter(longer).message().getStartAfter();
    assertEquals(text + "x", above.getValue().getStringValue());
    assertFalse(above.hasMetadata());
    Position byVersion =
        QUERY.order("__value__", "__version__").startAfter(longer).message().getStartAfter();
    assertEquals(7, byVersion.getMetadata().getVersion());
    assertEquals(0, byVersion.getSortKey().size());
  }

  @Test
  void fieldsOfAnEntryAreFoundByPathAndType() {
    Entry entry = new Entry(KEY, Map.of("geo", Map.of("lat", 46.5), "name", "Samedan"));
    assertEquals(46.5, entry.field("geo.lat"));
    assertEquals(Optional.of("Samedan"), entry.field("name", String.class));
    assertEquals(Optional.empty(), entry.field("name", Long.class));
  }
}
