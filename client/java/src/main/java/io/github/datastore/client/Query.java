package io.github.datastore.client;

import com.google.protobuf.ByteString;
import io.github.datastore.v1.Order;
import io.github.datastore.v1.Position;
import io.github.datastore.v1.QueryScope;
import io.github.datastore.v1.QueryView;
import java.io.ByteArrayOutputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.OptionalLong;

/**
 * Which entries, in which order, how many. Immutable: each method returns a query with one part
 * more.
 *
 * <pre>{@code
 * Query.of("/Airport").filter("country", "=", "CH").order("-elevation").limit(5)
 * }</pre>
 */
public final class Query {
  private static final int LONG_SORT_KEY_BYTES = 64 * 1024;

  private final Key key;
  private List<Filter> filters = List.of();
  private List<String> orders = List.of();
  private List<String> fields = List.of();
  private OptionalLong limit = OptionalLong.empty();
  private long offset;
  private boolean recursive;
  private boolean keysOnly;
  private boolean withMetadata;
  private boolean allowPartial;
  private boolean explain;
  private Entry startAfter;

  private Query(Key key) {
    this.key = key;
  }

  private Query(Query other) {
    key = other.key;
    filters = other.filters;
    orders = other.orders;
    fields = other.fields;
    limit = other.limit;
    offset = other.offset;
    recursive = other.recursive;
    keysOnly = other.keysOnly;
    withMetadata = other.withMetadata;
    allowPartial = other.allowPartial;
    explain = other.explain;
    startAfter = other.startAfter;
  }

  /**
   * All entries of a collection: for {@code /a}, those such as {@code /a/b} and {@code /a:b}.
   *
   * @param key the key of the collection
   * @return the query
   */
  public static Query of(Key key) {
    Objects.requireNonNull(key, "key");
    return new Query(key);
  }

  /**
   * All entries of a collection.
   *
   * @param key the text of its key
   * @return the query
   */
  public static Query of(String key) {
    return of(Key.of(Objects.requireNonNull(key, "key")));
  }

  /**
   * The whole subtree below the key, instead of its collection.
   *
   * @return the query
   */
  public Query recursive() {
    Query query = new Query(this);
    query.recursive = true;
    return query;
  }

  /**
   * Only entries that match, beside earlier filters.
   *
   * @param filter the filter
   * @return the query
   */
  public Query filter(Filter filter) {
    Objects.requireNonNull(filter, "filter");
    Query query = new Query(this);
    query.filters = appended(filters, List.of(filter));
    return query;
  }

  /**
   * Only entries with a field that compares so, beside earlier filters; see {@link Filter#of}.
   *
   * @param field the path of a field
   * @param operator e.g. {@code "<="}
   * @param value what it is compared with
   * @return the query
   */
  public Query filter(String field, String operator, Object value) {
    return filter(Filter.of(field, operator, value));
  }

  /**
   * How results are sorted; later orders break the ties of earlier ones, the key ascending those of
   * all.
   *
   * @param orders the paths of fields, each after a minus for the highest first: {@code
   *     "-elevation"}
   * @return the query
   */
  public Query order(String... orders) {
    Nulls.checkNotNull(orders, "orders");
    Query query = new Query(this);
    query.orders = appended(this.orders, Arrays.asList(orders));
    query.orders.forEach(order -> Fields.checked(path(order)));
    return query;
  }

  /**
   * The maximum number of entries, counted after filters and offset.
   *
   * @param limit not negative
   * @return the query
   */
  public Query limit(long limit) {
    Query query = new Query(this);
    query.limit = OptionalLong.of(notNegative("limit", limit));
    return query;
  }

  /**
   * The number of matching entries to skip.
   *
   * @param offset not negative
   * @return the query
   */
  public Query offset(long offset) {
    Query query = new Query(this);
    query.offset = notNegative("offset", offset);
    return query;
  }

  /**
   * Only these fields of each value, in maps that are nested as in the value.
   *
   * @param fields their paths
   * @return the query
   */
  public Query fields(String... fields) {
    Nulls.checkNotNull(fields, "fields");
    Query query = new Query(this);
    query.fields = appended(this.fields, Arrays.asList(fields));
    query.fields.forEach(Fields::checked);
    return query.checked();
  }

  /**
   * Only keys, without values.
   *
   * @return the query
   */
  public Query keysOnly() {
    Query query = new Query(this);
    query.keysOnly = true;
    return query.checked();
  }

  /**
   * Entries with their metadata.
   *
   * @return the query
   */
  public Query withMetadata() {
    Query query = new Query(this);
    query.withMetadata = true;
    return query;
  }

  /**
   * Results even if shards cannot be reached; the summary names those.
   *
   * @return the query
   */
  public Query allowPartial() {
    Query query = new Query(this);
    query.allowPartial = true;
    return query;
  }

  /**
   * A summary that says how the query was evaluated.
   *
   * @return the query
   */
  public Query explain() {
    Query query = new Query(this);
    query.explain = true;
    return query;
  }

  /**
   * Only entries after this one in the order of the query. It need not exist any more.
   *
   * @param entry an entry; with its value if there are orders, and its metadata if they read that
   * @return the query
   */
  public Query startAfter(Entry entry) {
    Query query = new Query(this);
    query.startAfter = Objects.requireNonNull(entry, "entry");
    return query;
  }

  private static <T> List<T> appended(List<T> list, List<T> more) {
    List<T> longer = new ArrayList<>(list);
    longer.addAll(more);
    return List.copyOf(longer);
  }

  static long notNegative(String name, long number) {
    if (number < 0) {
      throw Reason.INVALID_QUERY.exception(
          "the %s of a query must be at least 0, not %d".formatted(name, number),
          Details.NONE.with("field", "query." + name));
    }
    return number;
  }

  private Query checked() {
    if (keysOnly && !fields.isEmpty()) {
      throw Reason.INVALID_QUERY.exception(
          "a query returns fields or only keys, not both",
          Details.NONE.with("field", "query.field_paths"));
    }
    return this;
  }

  boolean isKeysOnly() {
    return keysOnly;
  }

  boolean allowsPartial() {
    return allowPartial;
  }

  boolean isExplained() {
    return explain;
  }

  /** The entry of a message, without what only was sent so that it can be sent back. */
  Entry entry(io.github.datastore.v1.Entry message, boolean isWhole) {
    Entry entry = Entry.received(message);
    if (isWhole && (keysOnly || !fields.isEmpty())) {
      Object value = keysOnly ? null : Fields.cut(entry.value(), fields);
      return new Entry(entry.key(), value, entry.metadata());
    }
    return entry;
  }

  /**
   * The message of the query. Throws INVALID_QUERY if the place of {@code startAfter} is not known.
   */
  io.github.datastore.v1.Query message() {
    io.github.datastore.v1.Query.Builder message = selection();
    if (startAfter != null) {
      message.setStartAfter(position());
    }
    return message.build();
  }

  /** The message without {@code startAfter}. */
  private io.github.datastore.v1.Query.Builder selection() {
    io.github.datastore.v1.Query.Builder message =
        io.github.datastore.v1.Query.newBuilder()
            .setKey(key.message())
            .setScope(
                recursive ? QueryScope.QUERY_SCOPE_RECURSIVE : QueryScope.QUERY_SCOPE_COLLECTION)
            .setOffset(offset)
            .setView(keysOnly ? QueryView.QUERY_VIEW_KEYS_ONLY : QueryView.QUERY_VIEW_ENTRIES)
            .addAllFieldPaths(fields)
            .setIncludeMetadata(withMetadata);
    filters.forEach(filter -> message.addFilters(filter.message()));
    orders.forEach(order -> message.addOrders(message(order)));
    limit.ifPresent(message::setLimit);
    return message;
  }

  static Order message(String order) {
    return Order.newBuilder()
        .setFieldPath(path(order))
        .setDirection(
            isDescending(order)
                ? Order.Direction.DIRECTION_DESCENDING
                : Order.Direction.DIRECTION_ASCENDING)
        .build();
  }

  private static String path(String order) {
    return order.startsWith("-") || order.startsWith("+") ? order.substring(1) : order;
  }

  private static boolean isDescending(String order) {
    return order.startsWith("-");
  }

  private Position position() {
    Position.Builder position = Position.newBuilder().setKey(startAfter.key().message());
    ByteString sortKey = sortKey();
    if (sortKey.size() <= LONG_SORT_KEY_BYTES) {
      return position.setSortKey(sortKey).build();
    }
    if (orders.stream().map(Query::path).anyMatch(Fields.METADATA::contains)) {
      startAfter.metadata().ifPresent(metadata -> position.setMetadata(metadata.message()));
    }
    return position.setValue(Values.encode(startAfter.value())).build();
  }

  private ByteString sortKey() {
    ByteArrayOutputStream sortKey = new ByteArrayOutputStream();
    for (String order : orders) {
      String path = path(order);
      boolean isInValue = !path.equals(Fields.KEY) && !Fields.METADATA.contains(path);
      if (isInValue && startAfter.value() == null) {
        throw Fields.unknown(startAfter, "its value");
      }
      if (isInValue && !fields.isEmpty() && !fields.contains(path)) {
        throw Fields.unknown(startAfter, "its field " + path + "; add it to the fields");
      }
      Object found = Fields.find(startAfter, path);
      Values.encode(found);
      sortKey.writeBytes(SortKeys.of(found, isDescending(order)));
    }
    return ByteString.copyFrom(sortKey.toByteArray());
  }

  @Override
  public String toString() {
    String after = startAfter == null ? "" : " after " + startAfter.key();
    return OneLine.of("Query", selection()) + after;
  }
}
