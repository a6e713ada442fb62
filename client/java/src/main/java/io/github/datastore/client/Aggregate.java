package io.github.datastore.client;

import io.github.datastore.v1.AggregateRequest;
import io.github.datastore.v1.AggregateResponse;
import io.github.datastore.v1.Aggregation;
import io.github.datastore.v1.Aggregation.Function;
import io.github.datastore.v1.Order;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * What to compute of the entries that a query selects, for each group of them. Immutable: each
 * method returns an aggregate with one part more. Each name is that of the result in a row.
 *
 * <pre>{@code
 * Aggregate.of(Query.of("/Airport")).groupBy("country").count("airports").avg("elevation", "mean").order("-airports")
 * }</pre>
 */
public final class Aggregate {
  private final AggregateRequest message;

  private Aggregate(AggregateRequest.Builder message) {
    this.message = message.build();
  }

  /**
   * An aggregate of all entries of a query, which computes nothing yet.
   *
   * @param query the entries
   * @return the aggregate
   */
  public static Aggregate of(Query query) {
    Objects.requireNonNull(query, "query");
    return new Aggregate(AggregateRequest.newBuilder().setQuery(query.message()));
  }

  /**
   * A group for each combination of values of these fields; without, all entries are one group.
   *
   * @param fields their paths, which are the names of their values in a row
   * @return the aggregate
   */
  public Aggregate groupBy(String... fields) {
    Nulls.checkNotNull(fields, "fields");
    AggregateRequest.Builder builder = message.toBuilder();
    for (String field : fields) {
      builder.addGroupBy(Fields.checked(field));
    }
    return new Aggregate(builder);
  }

  /**
   * How many entries there are.
   *
   * @param name of the result
   * @return the aggregate
   */
  public Aggregate count(String name) {
    return with(Function.FUNCTION_COUNT, "", name);
  }

  /**
   * How many entries have the field, null left out.
   *
   * @param field its path
   * @param name of the result
   * @return the aggregate
   */
  public Aggregate count(String field, String name) {
    return ofField(Function.FUNCTION_COUNT, field, name);
  }

  /**
   * The exact sum of the numbers in a field, rounded once: a Long if all are and it fits, otherwise
   * a Double.
   *
   * @param field its path
   * @param name of the result
   * @return the aggregate
   */
  public Aggregate sum(String field, String name) {
    return ofField(Function.FUNCTION_SUM, field, name);
  }

  /**
   * The mean of the numbers in a field, a Double; null without any.
   *
   * @param field its path
   * @param name of the result
   * @return the aggregate
   */
  public Aggregate avg(String field, String name) {
    return ofField(Function.FUNCTION_AVG, field, name);
  }

  /**
   * The first value of a field in the total order, null left out; null without any.
   *
   * @param field its path
   * @param name of the result
   * @return the aggregate
   */
  public Aggregate min(String field, String name) {
    return ofField(Function.FUNCTION_MIN, field, name);
  }

  /**
   * The last value of a field in the total order, null left out; null without any.
   *
   * @param field its path
   * @param name of the result
   * @return the aggregate
   */
  public Aggregate max(String field, String name) {
    return ofField(Function.FUNCTION_MAX, field, name);
  }

  private Aggregate ofField(Function function, String field, String name) {
    Objects.requireNonNull(field, "field");
    return with(function, Fields.checked(field), name);
  }

  private Aggregate with(Function function, String field, String name) {
    Objects.requireNonNull(name, "name");
    Aggregation.Builder aggregation =
        Aggregation.newBuilder()
            .setFunction(function)
            .setFieldPath(field)
            .setName(Fields.checked(name));
    return new Aggregate(message.toBuilder().addAggregations(aggregation));
  }

  /**
   * How groups are sorted; ties, and groups without orders, by the values of their fields.
   *
   * @param orders fields of {@link #groupBy} or names of results, each after a minus for the
   *     highest first
   * @return the aggregate
   */
  public Aggregate order(String... orders) {
    Nulls.checkNotNull(orders, "orders");
    AggregateRequest.Builder builder = message.toBuilder();
    for (String order : orders) {
      builder.addOrders(Query.message(order));
    }
    return new Aggregate(builder);
  }

  /**
   * The maximum number of groups, the first ones.
   *
   * @param limit not negative
   * @return the aggregate
   */
  public Aggregate limit(long limit) {
    return new Aggregate(message.toBuilder().setLimit(Query.notNegative("limit", limit)));
  }

  /**
   * The message of the aggregate. Throws INVALID_QUERY for one of nothing, and for names that are
   * not one each.
   */
  AggregateRequest message() {
    Set<String> names = new HashSet<>(message.getGroupByList());
    for (Aggregation aggregation : message.getAggregationsList()) {
      if (!names.add(aggregation.getName())) {
        throw invalid("two results of an aggregate are named " + aggregation.getName());
      }
    }
    if (message.getAggregationsCount() == 0) {
      throw invalid("an aggregate computes at least one result, e.g. count(\"n\")");
    }
    for (Order order : message.getOrdersList()) {
      if (!names.contains(order.getFieldPath())) {
        throw invalid(
            "an aggregate is ordered by its fields or results, not by " + order.getFieldPath());
      }
    }
    return message;
  }

  private static DatastoreException invalid(String text) {
    return Reason.INVALID_QUERY.exception(text, Details.NONE.with("field", "aggregations"));
  }

  @Override
  public String toString() {
    return OneLine.of("Aggregate", message);
  }

  /**
   * A group as a row: the values of its fields, and the results, by name. Throws CORRUPT_DATA if
   * they are more or fewer than were asked for.
   */
  Map<String, Object> row(AggregateResponse.Group group) {
    if (group.getValuesCount() != message.getGroupByCount()
        || group.getResultsCount() != message.getAggregationsCount()) {
      throw Reason.CORRUPT_DATA.exception(
          "a group has %,d values and %,d results for %,d fields and %,d aggregations"
              .formatted(
                  group.getValuesCount(),
                  group.getResultsCount(),
                  message.getGroupByCount(),
                  message.getAggregationsCount()));
    }
    Map<String, Object> row = new LinkedHashMap<>();
    for (int i = 0; i < group.getValuesCount(); i++) {
      row.put(message.getGroupBy(i), Values.decode(group.getValues(i)));
    }
    for (int i = 0; i < group.getResultsCount(); i++) {
      row.put(message.getAggregations(i).getName(), Values.decode(group.getResults(i)));
    }
    return row;
  }
}
