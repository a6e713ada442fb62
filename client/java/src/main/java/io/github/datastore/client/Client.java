package io.github.datastore.client;

import io.github.datastore.v1.AggregateRequest;
import io.github.datastore.v1.AggregateResponse;
import io.github.datastore.v1.ContainsRequest;
import io.github.datastore.v1.ContainsResponse;
import io.github.datastore.v1.DatastoreServiceGrpc;
import io.github.datastore.v1.DeleteRequest;
import io.github.datastore.v1.DescribeStoreRequest;
import io.github.datastore.v1.GetRequest;
import io.github.datastore.v1.GetResponse;
import io.github.datastore.v1.ListEntriesRequest;
import io.github.datastore.v1.ListEntriesResponse;
import io.github.datastore.v1.PatchRequest;
import io.github.datastore.v1.PatchResponse;
import io.github.datastore.v1.PutRequest;
import io.github.datastore.v1.PutResponse;
import io.github.datastore.v1.TouchRequest;
import io.github.datastore.v1.TouchResponse;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;

/**
 * A client of a server, node or proxy. It connects at the first call; many threads can share one.
 *
 * <p>Values are null (in lists and maps), Boolean, Long, Double, String, {@code byte[]}, {@link
 * java.time.Instant}, {@link Key}, List and Map of these; smaller integers and Float are taken too.
 * Others are refused before anything is sent.
 *
 * <p>Calls fail with a {@link DatastoreException}. What may be repeated safely is, within the
 * deadline of the call. The futures of the asynchronous variants fail with the same exceptions, and
 * cancelling one cancels its call; their continuations run on threads of gRPC, and must not block.
 * Arguments that are not valid are thrown at once.
 *
 * <pre>{@code
 * try (Client client = Client.connect("grpc://127.0.0.1:7420")) {
 *   client.put(Key.of("/Airport:LSZS"), Map.of("name", "Samedan", "elevation", 5600));
 *   client.get(Key.of("/Airport:LSZS")).ifPresent(System.out::println);
 * }
 * }</pre>
 */
public final class Client implements AutoCloseable {
  private final Connection connection;
  private final Caller caller;
  private final Settings settings;

  Client(Settings settings) {
    this.settings = settings;
    connection = new Connection(settings);
    caller = new Caller(connection, settings);
  }

  /**
   * A client with the default settings.
   *
   * @param addresses as for {@link #builder}
   * @return the client, which the caller must close
   */
  public static Client connect(String... addresses) {
    return builder(addresses).connect();
  }

  /**
   * The settings of a client.
   *
   * @param addresses {@code HOST:PORT}, {@code grpc://HOST:PORT}, or with TLS {@code
   *     grpcs://HOST:PORT}, of servers that serve the same: they are tried in turn, and the first
   *     that can be reached is used. Several are several arguments, not one text with commas
   * @return a builder
   */
  public static ClientBuilder builder(String... addresses) {
    Nulls.checkNotNull(addresses, "addresses");
    return new ClientBuilder(List.of(addresses));
  }

  // Single entries

  /**
   * Reads a value.
   *
   * @param key the key of the entry
   * @return the value; empty if the key is absent
   */
  public Optional<Object> get(Key key) {
    return Blocking.awaited(getAsync(key));
  }

  /**
   * Reads a value, as {@link #get(Key)}.
   *
   * @param key the key of the entry
   * @return the value; empty if the key is absent
   */
  public CompletableFuture<Optional<Object>> getAsync(Key key) {
    return get(
        key,
        false,
        caller.policy(),
        response -> Optional.ofNullable(Values.decode(response.getValue())));
  }

  /**
   * Reads an entry with its metadata.
   *
   * @param key the key of the entry
   * @return the entry; empty if the key is absent
   */
  public Optional<Entry> getEntry(Key key) {
    return Blocking.awaited(getEntryAsync(key));
  }

  /**
   * Reads an entry with its metadata, as {@link #getEntry}.
   *
   * @param key the key of the entry
   * @return the entry; empty if the key is absent
   */
  public CompletableFuture<Optional<Entry>> getEntryAsync(Key key) {
    return getEntryAsync(key, caller.policy());
  }

  private CompletableFuture<Optional<Entry>> getEntryAsync(Key key, RetryPolicy policy) {
    return get(
        key,
        true,
        policy,
        response ->
            Optional.of(
                new Entry(
                    key,
                    Values.decode(response.getValue()),
                    metadata(response.hasMetadata(), response.getMetadata()))));
  }

  private <R> CompletableFuture<Optional<R>> get(
      Key key, boolean withMetadata, RetryPolicy policy, Function<GetResponse, Optional<R>> found) {
    Objects.requireNonNull(key, "key");
    GetRequest request =
        GetRequest.newBuilder().setKey(key.message()).setIncludeMetadata(withMetadata).build();
    return caller.read(
        DatastoreServiceGrpc.getGetMethod(),
        request,
        policy,
        response -> response.hasValue() ? found.apply(response) : Optional.empty());
  }

  private static Optional<Metadata> metadata(boolean has, io.github.datastore.v1.Metadata message) {
    return has ? Optional.of(Metadata.received(message)) : Optional.empty();
  }

  /**
   * Stores a value unconditionally, in an entry that never expires.
   *
   * @param key the key of the entry
   * @param value its value; null deletes the entry
   * @return the metadata of the entry as stored; empty if the store keeps no versions, or nothing
   *     was stored
   */
  public Optional<Metadata> put(Key key, Object value) {
    return put(Put.of(key, value));
  }

  /**
   * Stores an entry.
   *
   * @param put the entry, perhaps with a condition and an expiry
   * @return the metadata of the entry as stored; empty if the store keeps no versions, or nothing
   *     was stored
   */
  public Optional<Metadata> put(Put put) {
    return Blocking.awaited(putAsync(put));
  }

  /**
   * Stores an entry, as {@link #put(Put)}.
   *
   * @param put the entry, perhaps with a condition and an expiry
   * @return the metadata of the entry as stored; empty if the store keeps no versions, or nothing
   *     was stored
   */
  public CompletableFuture<Optional<Metadata>> putAsync(Put put) {
    return putAsync(put, caller.policy());
  }

  private CompletableFuture<Optional<Metadata>> putAsync(Put put, RetryPolicy policy) {
    Objects.requireNonNull(put, "put");
    PutRequest.Builder request = PutRequest.newBuilder().setEntry(put.entry());
    put.condition().ifPresent(condition -> request.setCondition(condition.message()));
    put.expiry().ifPresent(expiry -> request.setExpiry(expiry.message()));
    PutRequest once = request.build();
    return caller.write(
        DatastoreServiceGrpc.getPutMethod(),
        attempt -> attempt == null ? once : once.toBuilder().setAttempt(attempt).build(),
        policy,
        (PutResponse response) -> metadata(response.hasMetadata(), response.getMetadata()));
  }

  /**
   * Removes an entry unconditionally. To delete an absent one is not an error.
   *
   * @param key the key of the entry
   */
  public void delete(Key key) {
    delete(Delete.of(key));
  }

  /**
   * Removes an entry.
   *
   * @param delete its key, perhaps with a condition
   */
  public void delete(Delete delete) {
    Blocking.awaited(deleteAsync(delete));
  }

  /**
   * Removes an entry, as {@link #delete(Delete)}.
   *
   * @param delete its key, perhaps with a condition
   * @return nothing, once it is done
   */
  public CompletableFuture<Void> deleteAsync(Delete delete) {
    return deleteAsync(delete, caller.policy());
  }

  private CompletableFuture<Void> deleteAsync(Delete delete, RetryPolicy policy) {
    Objects.requireNonNull(delete, "delete");
    DeleteRequest.Builder request = DeleteRequest.newBuilder().setKey(delete.key().message());
    delete.condition().ifPresent(condition -> request.setCondition(condition.message()));
    DeleteRequest once = request.build();
    return caller.write(
        DatastoreServiceGrpc.getDeleteMethod(),
        attempt -> attempt == null ? once : once.toBuilder().setAttempt(attempt).build(),
        policy,
        response -> null);
  }

  /**
   * Whether an entry exists.
   *
   * @param key its key
   * @return whether it exists
   */
  public boolean contains(Key key) {
    return Blocking.awaited(containsAsync(key));
  }

  /**
   * Whether an entry exists, as {@link #contains}.
   *
   * @param key its key
   * @return whether it exists
   */
  public CompletableFuture<Boolean> containsAsync(Key key) {
    Objects.requireNonNull(key, "key");
    ContainsRequest request = ContainsRequest.newBuilder().setKey(key.message()).build();
    return caller.read(
        DatastoreServiceGrpc.getContainsMethod(),
        request,
        caller.policy(),
        ContainsResponse::getContains);
  }

  /**
   * Changes parts of a value in one atomic step.
   *
   * @param patch the changes
   * @return the metadata of the entry as stored, and its new value if the patch asks for it
   */
  public WriteResult patch(Patch patch) {
    return Blocking.awaited(patchAsync(patch));
  }

  /**
   * Changes parts of a value in one atomic step, as {@link #patch}.
   *
   * @param patch the changes
   * @return the metadata of the entry as stored, and its new value if the patch asks for it
   */
  public CompletableFuture<WriteResult> patchAsync(Patch patch) {
    Objects.requireNonNull(patch, "patch");
    PatchRequest.Builder request =
        PatchRequest.newBuilder().setPatch(patch.message()).setIncludeValue(patch.returnsValue());
    patch.condition().ifPresent(condition -> request.setCondition(condition.message()));
    patch.expiry().ifPresent(expiry -> request.setExpiry(expiry.message()));
    PatchRequest once = request.build();
    return caller.write(
        DatastoreServiceGrpc.getPatchMethod(),
        attempt -> attempt == null ? once : once.toBuilder().setAttempt(attempt).build(),
        caller.policy(),
        Client::patched);
  }

  private static WriteResult patched(PatchResponse response) {
    WriteResult result = WriteResult.of(response.hasMetadata(), response.getMetadata());
    return response.hasValue() ? result.withValue(Values.decode(response.getValue())) : result;
  }

  /**
   * Changes when an entry expires, and nothing else of it.
   *
   * @param touch its key, and when it expires
   * @return the metadata of the entry as stored; empty if it has expired with that
   */
  public Optional<Metadata> touch(Touch touch) {
    return Blocking.awaited(touchAsync(touch));
  }

  /**
   * Changes when an entry expires, as {@link #touch}.
   *
   * @param touch its key, and when it expires
   * @return the metadata of the entry as stored; empty if it has expired with that
   */
  public CompletableFuture<Optional<Metadata>> touchAsync(Touch touch) {
    Objects.requireNonNull(touch, "touch");
    TouchRequest.Builder request = TouchRequest.newBuilder().setKey(touch.key().message());
    touch.condition().ifPresent(condition -> request.setCondition(condition.message()));
    touch.expiry().ifPresent(expiry -> request.setExpiry(expiry.message()));
    TouchRequest once = request.build();
    return caller.write(
        DatastoreServiceGrpc.getTouchMethod(),
        attempt -> attempt == null ? once : once.toBuilder().setAttempt(attempt).build(),
        caller.policy(),
        (TouchResponse response) -> metadata(response.hasMetadata(), response.getMetadata()));
  }

  /**
   * Replaces a value by one that depends on it. If another write comes between, it begins again,
   * until the deadline. The entry expires as before.
   *
   * @param key the key of the entry
   * @param function from the value, empty if the key is absent, to the new one; null deletes the
   *     entry. It may be called several times
   * @return the new value
   * @throws ConditionFailedException if other writes kept coming between
   */
  public Optional<Object> update(Key key, Function<Optional<Object>, ?> function) {
    Objects.requireNonNull(function, "function");
    RetryPolicy policy = caller.policy();
    while (true) {
      Optional<Entry> found = Blocking.awaited(getEntryAsync(key, policy));
      Object value = function.apply(found.map(Entry::value));
      try {
        exchange(key, found, value, policy);
        return Optional.ofNullable(value);
      } catch (ConditionFailedException error) {
        connection.pause(policy.backoff(error).orElseThrow(() -> error));
      }
    }
  }

  private void exchange(Key key, Optional<Entry> found, Object value, RetryPolicy policy) {
    Optional<Metadata> metadata = found.flatMap(Entry::metadata);
    if (found.isPresent() && metadata.isEmpty()) {
      throw Reason.CORRUPT_DATA.exception(
          "%s sent the entry %s without its metadata".formatted(connection.server(), key));
    }
    Condition unchanged =
        metadata.map(known -> Condition.version(known.version())).orElseGet(Condition::absent);
    if (value != null) {
      Optional<Expiry> expiry = metadata.flatMap(Metadata::expireTime).map(Expiry::at);
      Blocking.awaited(putAsync(new Put(key, value, Optional.of(unchanged), expiry), policy));
    } else if (found.isPresent()) {
      Blocking.awaited(deleteAsync(Delete.of(key).when(unchanged), policy));
    }
  }

  // Batches

  /**
   * Reads several values. If one fails, the others are not affected.
   *
   * @param keys any number of keys
   * @return a result for each key, in their order
   */
  public List<ReadResult> batchGet(Collection<Key> keys) {
    return Blocking.awaited(batchGetAsync(keys));
  }

  /**
   * Reads several values, as {@link #batchGet}.
   *
   * @param keys any number of keys
   * @return a result for each key, in their order
   */
  public CompletableFuture<List<ReadResult>> batchGetAsync(Collection<Key> keys) {
    return new BatchGet(caller, Nulls.copied(keys, "keys"), false).begin();
  }

  /**
   * Reads several entries with their metadata. If one fails, the others are not affected.
   *
   * @param keys any number of keys
   * @return a result for each key, in their order
   */
  public List<ReadResult> batchGetEntries(Collection<Key> keys) {
    return Blocking.awaited(batchGetEntriesAsync(keys));
  }

  /**
   * Reads several entries with their metadata, as {@link #batchGetEntries}.
   *
   * @param keys any number of keys
   * @return a result for each key, in their order
   */
  public CompletableFuture<List<ReadResult>> batchGetEntriesAsync(Collection<Key> keys) {
    return new BatchGet(caller, Nulls.copied(keys, "keys"), true).begin();
  }

  /**
   * Makes several writes. If one fails, the others are not affected.
   *
   * @param writes any number of writes; those of the same key are made in their order
   * @return a result for each write, in their order
   */
  public List<WriteResult> batchWrite(Collection<? extends Write> writes) {
    return Blocking.awaited(batchWriteAsync(writes));
  }

  /**
   * Makes several writes, as {@link #batchWrite}.
   *
   * @param writes any number of writes; those of the same key are made in their order
   * @return a result for each write, in their order
   */
  public CompletableFuture<List<WriteResult>> batchWriteAsync(Collection<? extends Write> writes) {
    return new BatchWrite(caller, Nulls.copied(writes, "writes"), false).begin();
  }

  /**
   * Makes all of several writes or, if one fails, none.
   *
   * @param writes as many as fit in one message; on one shard
   * @return a result for each write, in their order; if one has failed, the others have {@link
   *     Reason#BATCH_ABORTED}
   */
  public List<WriteResult> batchWriteAtomic(Collection<? extends Write> writes) {
    return Blocking.awaited(batchWriteAtomicAsync(writes));
  }

  /**
   * Makes all of several writes or none, as {@link #batchWriteAtomic}.
   *
   * @param writes as many as fit in one message; on one shard
   * @return a result for each write, in their order; if one has failed, the others have {@link
   *     Reason#BATCH_ABORTED}
   */
  public CompletableFuture<List<WriteResult>> batchWriteAtomicAsync(
      Collection<? extends Write> writes) {
    return new BatchWrite(caller, Nulls.copied(writes, "writes"), true).begin();
  }

  // Queries

  /**
   * Reads the entries that a query selects, within the deadline for queries.
   *
   * @param query the query
   * @return a cursor, which the caller must close; it begins its call with the first entry
   */
  public QueryCursor query(Query query) {
    Objects.requireNonNull(query, "query");
    connection.checkOpen();
    return new QueryCursor(connection, query, settings.queryTimeout());
  }

  /**
   * Reads the first page of the results of a query.
   *
   * @param query the query
   * @param pageSize the maximum number of entries, up to 1,000
   * @return the page
   */
  public Page listEntries(Query query, int pageSize) {
    return listEntries(query, pageSize, new Page.Token("", Optional.empty()));
  }

  /**
   * Reads another page of the results of a query.
   *
   * @param query the same query as for the first page
   * @param pageSize the maximum number of entries, up to 1,000
   * @param after the place after the page before
   * @return the page
   */
  public Page listEntries(Query query, int pageSize, Page.Token after) {
    Objects.requireNonNull(query, "query");
    Objects.requireNonNull(after, "after");
    if (pageSize < 0) {
      throw Reason.INVALID_QUERY.exception(
          "the size of a page must be at least 0, not " + pageSize,
          Details.NONE.with("field", "page_size"));
    }
    ListEntriesRequest.Builder request =
        ListEntriesRequest.newBuilder()
            .setQuery(query.message())
            .setPageSize(pageSize)
            .setPageToken(after.text())
            .setAllowPartial(query.allowsPartial());
    after.lastEntry().ifPresent(entry -> request.setLastEntry(entry.message()));
    return Blocking.awaited(
        caller.read(
            DatastoreServiceGrpc.getListEntriesMethod(),
            request.build(),
            caller.policy(),
            response -> page(query, response)));
  }

  private static Page page(Query query, ListEntriesResponse response) {
    int last = response.getEntriesCount() - 1;
    List<Entry> entries = new ArrayList<>();
    for (int place = 0; place <= last; place++) {
      entries.add(
          query.entry(response.getEntries(place), response.getNeedsLastEntry() && place == last));
    }
    Optional<Entry> whole =
        response.getNeedsLastEntry() && last >= 0
            ? Optional.of(Entry.received(response.getEntries(last)))
            : Optional.empty();
    String text = response.getNextPageToken();
    return new Page(
        entries,
        text.isEmpty() ? Optional.empty() : Optional.of(new Page.Token(text, whole)),
        Summary.unreachable(response.getUnreachableList()));
  }

  /**
   * Computes counts, sums, means, minima and maxima, within the deadline for queries.
   *
   * @param aggregate what to compute of which entries
   * @return a row for each group: the values of its fields, and the results, by name
   */
  public List<Map<String, Object>> aggregate(Aggregate aggregate) {
    Objects.requireNonNull(aggregate, "aggregate");
    RetryPolicy policy = new RetryPolicy(Optional.of(settings.queryTimeout()));
    while (true) {
      try {
        return groups(aggregate, policy);
      } catch (DatastoreException error) {
        connection.pause(caller.backoff(error, policy).orElseThrow(() -> error));
      }
    }
  }

  private List<Map<String, Object>> groups(Aggregate aggregate, RetryPolicy policy) {
    List<Map<String, Object>> rows = new ArrayList<>();
    try (MessageStream<AggregateRequest, AggregateResponse> stream =
        new MessageStream<>(
            connection, DatastoreServiceGrpc.getAggregateMethod(), aggregate.message(), policy)) {
      for (AggregateResponse response = stream.next(); response != null; response = stream.next()) {
        response.getGroupsList().forEach(group -> rows.add(aggregate.row(group)));
        if (response.hasSummary() && response.getSummary().getGroups() == rows.size()) {
          return rows;
        }
      }
    }
    throw Reason.TRUNCATED_STREAM.exception(
        "the groups from %s ended after %,d, without their summary"
            .formatted(connection.server(), rows.size()));
  }

  /**
   * Watches the entries that a query selects from now on, as {@link #watch(Watch)}.
   *
   * @param query the entries, by key, scope and filters
   * @return a cursor, which the caller must close
   */
  public WatchCursor watch(Query query) {
    return watch(Watch.of(query));
  }

  /**
   * Watches entries. Returns once the watch has begun: all writes that begin later are shown. That
   * has the deadline of a call; what follows has none.
   *
   * @param watch the entries, and from when on
   * @return a cursor, which the caller must close
   */
  public WatchCursor watch(Watch watch) {
    Objects.requireNonNull(watch, "watch");
    return new WatchCursor(connection, watch.message(), settings.timeout()).begun();
  }

  // The server

  /**
   * Asks the server what it serves.
   *
   * @return its features and its limits
   */
  public Description describe() {
    return Blocking.awaited(
        caller.read(
            DatastoreServiceGrpc.getDescribeStoreMethod(),
            DescribeStoreRequest.getDefaultInstance(),
            caller.policy(),
            Description::received));
  }

  /**
   * Closes the connections. Calls and cursors in progress fail with {@link
   * Reason#DATASTORE_CLOSED}.
   */
  @Override
  public void close() {
    connection.close();
  }
}
