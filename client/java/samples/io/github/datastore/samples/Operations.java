package io.github.datastore.samples;

import io.github.datastore.client.Aggregate;
import io.github.datastore.client.Change;
import io.github.datastore.client.Client;
import io.github.datastore.client.Condition;
import io.github.datastore.client.ConditionFailedException;
import io.github.datastore.client.Entry;
import io.github.datastore.client.Expiry;
import io.github.datastore.client.Key;
import io.github.datastore.client.Metadata;
import io.github.datastore.client.Patch;
import io.github.datastore.client.Put;
import io.github.datastore.client.Query;
import io.github.datastore.client.QueryCursor;
import io.github.datastore.client.ReadResult;
import io.github.datastore.client.WatchCursor;
import io.github.datastore.client.WriteResult;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** The twelve operations that docs/clients.md shows in all languages, each in its region. */
public final class Operations {
  private static final List<Map<String, Object>> AIRPORTS =
      List.of(
          Map.of("name", "Samedan", "code", "LSZS", "country", "CH", "elevation", 5600),
          Map.of("name", "Zurich", "code", "LSZH", "country", "CH", "elevation", 1416),
          Map.of("name", "Frankfurt", "code", "EDDF", "country", "DE", "elevation", 364));

  private Operations() {}

  /**
   * Runs the operations, and prints a line for each.
   *
   * @param arguments the address of a server
   */
  public static void main(String[] arguments) {
    String address = arguments[0];
    // [connect]
    Client client = Client.connect("grpc://" + address);
    // [/connect]
    try (client) {
      run(client);
    }
  }

  private static void run(Client client) {
    // [put]
    Key samedan = Key.of("/Airport:LSZS");
    Map<String, Object> airport =
        Map.of("name", "Samedan", "code", "LSZS", "country", "CH", "elevation", 5600);
    client.put(samedan, airport);
    // [/put]
    System.out.println("put " + samedan);

    // [get]
    Optional<Object> found = client.get(samedan); // empty if there is none
    // [/get]
    System.out.println("get " + ((Map<?, ?>) found.orElseThrow()).get("name"));

    client.put(Key.of("/Airport:XXXX"), Map.of("name", "Nowhere"));
    // [delete]
    client.delete(Key.of("/Airport:XXXX"));
    boolean exists = client.contains(Key.of("/Airport:XXXX"));
    // [/delete]
    System.out.println("delete " + exists);

    // [batch_write]
    List<Put> puts =
        AIRPORTS.stream()
            .map(each -> Put.of(Key.of("/Airport:" + each.get("code")), each))
            .toList();
    List<WriteResult> made = client.batchWrite(puts);
    made.forEach(WriteResult::orElseThrow);
    // [/batch_write]
    System.out.println("batch_write " + made.size());

    // [batch_get]
    List<Key> keys =
        Stream.of("LSZH", "EDDF", "XXXX").map(code -> Key.of("/Airport:" + code)).toList();
    List<ReadResult> reads = client.batchGet(keys);
    // [/batch_get]
    System.out.println(
        "batch_get "
            + joined(
                reads, read -> read.orElseThrow().map(entry -> entry.field("code")).orElse("-")));

    // [query]
    Query low = Query.of("/Airport").filter("elevation", "<", 5000).order("-elevation").limit(2);
    List<Entry> results;
    try (QueryCursor cursor = client.query(low)) {
      results = cursor.stream().toList();
    }
    // [/query]
    System.out.println("query " + joined(results, Entry::key));

    String reason = "";
    // [condition]
    try {
      client.put(Put.of(samedan, airport).when(Condition.absent()));
    } catch (ConditionFailedException error) { // it is there already
      reason = error.reason().name();
      client.put(Put.of(samedan, airport).when(Condition.version(error.version())));
    }
    // [/condition]
    System.out.println("condition " + reason);

    // [patch]
    Patch higher = Patch.of(samedan).increment("elevation", 1).returningValue();
    WriteResult patched = client.patch(higher);
    // [/patch]
    System.out.println("patch " + patched.field("elevation"));

    // [expiry]
    Expiry inAnHour = Expiry.in(Duration.ofHours(1));
    Put session = Put.of(Key.of("/Session:1"), Map.of("user", "ada")).expires(inAnHour);
    Metadata stored = client.put(session).orElseThrow();
    // [/expiry]
    System.out.println("expiry " + stored.expireTime().isPresent());

    // [aggregate]
    List<Map<String, Object>> rows =
        client.aggregate(Aggregate.of(Query.of("/Airport")).groupBy("country").count("airports"));
    // [/aggregate]
    System.out.println(
        "aggregate " + joined(rows, row -> row.get("country") + "=" + row.get("airports")));

    // [watch]
    Change change;
    try (WatchCursor watch = client.watch(Query.of("/Airport"))) {
      client.put(samedan, Map.of("name", "Samedan", "elevation", 5600));
      change = watch.stream().flatMap(batch -> batch.changes().stream()).findFirst().orElseThrow();
    }
    // [/watch]
    System.out.println("watch " + change.kind() + " " + change.key());
  }

  private static <T> String joined(List<T> items, Function<T, Object> shown) {
    return items.stream()
        .map(item -> String.valueOf(shown.apply(item)))
        .collect(Collectors.joining(" "));
  }
}
