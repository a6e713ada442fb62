package io.github.datastore.client;

import io.github.datastore.v1.CompositeFilter;
import io.github.datastore.v1.CompositeFilter.Joint;
import io.github.datastore.v1.FieldFilter;
import io.github.datastore.v1.FieldFilter.Operator;
import io.github.datastore.v1.Value;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * A condition on entries: a field compared with a value, or several conditions joined. Values are
 * compared by the total order, without coercion: {@code "3"} is not {@code 3}. A missing field is
 * like null.
 */
public final class Filter {
  private static final int MAX_DEPTH = 16;
  private static final int MAX_VALUE_DEPTH = 16;
  private static final Map<String, Operator> OPERATORS =
      Map.ofEntries(
          Map.entry("<", Operator.OPERATOR_LESS_THAN),
          Map.entry("<=", Operator.OPERATOR_LESS_THAN_OR_EQUAL),
          Map.entry("=", Operator.OPERATOR_EQUAL),
          Map.entry("!=", Operator.OPERATOR_NOT_EQUAL),
          Map.entry(">=", Operator.OPERATOR_GREATER_THAN_OR_EQUAL),
          Map.entry(">", Operator.OPERATOR_GREATER_THAN),
          Map.entry("in", Operator.OPERATOR_IN),
          Map.entry("not_in", Operator.OPERATOR_NOT_IN),
          Map.entry("starts_with", Operator.OPERATOR_STARTS_WITH),
          Map.entry("contains", Operator.OPERATOR_CONTAINS),
          Map.entry("exists", Operator.OPERATOR_EXISTS));

  private final io.github.datastore.v1.Filter message;

  /** How deep composites are nested in it, and the lists and maps of its values. */
  private final int depth;

  private final int valueDepth;

  private Filter(io.github.datastore.v1.Filter message, int depth, int valueDepth) {
    this.message = message;
    this.depth = depth;
    this.valueDepth = valueDepth;
  }

  io.github.datastore.v1.Filter message() {
    return message;
  }

  /**
   * A field compared with a value.
   *
   * @param field the path of a field, e.g. {@code country}, {@code geo.lat} or {@code __key__}
   * @param operator one of {@code < <= = != >= > in not_in starts_with contains exists}
   * @param value what it is compared with
   * @return the filter
   * @throws InvalidException with {@link Reason#INVALID_QUERY} for another operator, a path that is
   *     empty or too long, and a value that the operator does not take; and as a put does for
   *     values that cannot be sent
   */
  public static Filter of(String field, String operator, Object value) {
    Objects.requireNonNull(field, "field");
    Objects.requireNonNull(operator, "operator");
    Operator known = OPERATORS.get(operator);
    if (known == null) {
      throw invalid(
          "an operator is one of < <= = != >= > in not_in starts_with contains exists, not "
              + operator);
    }
    Value message = Values.encode(value);
    checkOperand(operator, message);
    FieldFilter.Builder comparison =
        FieldFilter.newBuilder()
            .setFieldPath(Fields.checked(field))
            .setOperator(known)
            .setValue(message);
    return new Filter(
        io.github.datastore.v1.Filter.newBuilder().setField(comparison).build(),
        0,
        depthOf(message));
  }

  private static void checkOperand(String operator, Value value) {
    String takes =
        switch (operator) {
          case "in", "not_in" -> value.hasListValue() ? "" : "a List of values";
          case "exists" -> value.hasBoolValue() ? "" : "true or false";
          case "starts_with" ->
              value.hasStringValue() || value.hasBytesValue() || value.hasKeyValue()
                  ? ""
                  : "a String, byte[] or a Key";
          default -> "";
        };
    if (!takes.isEmpty()) {
      throw invalid("the operator %s takes %s".formatted(operator, takes));
    }
  }

  private static DatastoreException invalid(String message) {
    return Reason.INVALID_QUERY.exception(message, Details.NONE.with("field", "query.filters"));
  }

  private static int depthOf(Value value) {
    Collection<Value> held =
        switch (value.getKindCase()) {
          case LIST_VALUE -> value.getListValue().getValuesList();
          case MAP_VALUE -> value.getMapValue().getFieldsMap().values();
          default -> null;
        };
    return held == null ? 0 : 1 + held.stream().mapToInt(Filter::depthOf).max().orElse(0);
  }

  /**
   * The field equals the value. A missing field equals null.
   *
   * @param field its path
   * @param value the value
   * @return the filter
   */
  public static Filter eq(String field, Object value) {
    return of(field, "=", value);
  }

  /**
   * Exactly what {@link #eq} does not match.
   *
   * @param field its path
   * @param value the value
   * @return the filter
   */
  public static Filter ne(String field, Object value) {
    return of(field, "!=", value);
  }

  /**
   * The field is less than the value.
   *
   * @param field its path
   * @param value the value
   * @return the filter
   */
  public static Filter lt(String field, Object value) {
    return of(field, "<", value);
  }

  /**
   * The field is less than or equal to the value.
   *
   * @param field its path
   * @param value the value
   * @return the filter
   */
  public static Filter lte(String field, Object value) {
    return of(field, "<=", value);
  }

  /**
   * The field is greater than the value.
   *
   * @param field its path
   * @param value the value
   * @return the filter
   */
  public static Filter gt(String field, Object value) {
    return of(field, ">", value);
  }

  /**
   * The field is greater than or equal to the value.
   *
   * @param field its path
   * @param value the value
   * @return the filter
   */
  public static Filter gte(String field, Object value) {
    return of(field, ">=", value);
  }

  /**
   * The field equals one of the values.
   *
   * @param field its path
   * @param values the values
   * @return the filter
   */
  public static Filter in(String field, List<?> values) {
    return of(field, "in", values);
  }

  /**
   * Exactly what {@link #in} does not match.
   *
   * @param field its path
   * @param values the values
   * @return the filter
   */
  public static Filter notIn(String field, List<?> values) {
    return of(field, "not_in", values);
  }

  /**
   * The field begins with the value, which is of the same kind.
   *
   * @param field its path
   * @param value a String, byte[] or a Key
   * @return the filter
   */
  public static Filter startsWith(String field, Object value) {
    return of(field, "starts_with", value);
  }

  /**
   * The field is a list with an element that equals the value, or a String or byte[] with the value
   * as a part.
   *
   * @param field its path
   * @param value the value
   * @return the filter
   */
  public static Filter contains(String field, Object value) {
    return of(field, "contains", value);
  }

  /**
   * The field is present and not null.
   *
   * @param field its path
   * @return the filter
   */
  public static Filter exists(String field) {
    return of(field, "exists", true);
  }

  /**
   * All of the filters match.
   *
   * @param filters at least one
   * @return the filter
   * @throws LimitExceededException if filters are nested more than 16 deep, or lists and maps in a
   *     value within them
   */
  public static Filter and(Filter... filters) {
    return joined(Joint.JOINT_AND, filters);
  }

  /**
   * At least one of the filters matches.
   *
   * @param filters at least one
   * @return the filter
   * @throws LimitExceededException as {@link #and}
   */
  public static Filter or(Filter... filters) {
    return joined(Joint.JOINT_OR, filters);
  }

  /**
   * The filter does not match; so entries without the field do.
   *
   * @param filter the filter
   * @return the filter
   * @throws LimitExceededException as {@link #and}
   */
  public static Filter not(Filter filter) {
    Objects.requireNonNull(filter, "filter");
    return joined(Joint.JOINT_NOT, filter);
  }

  private static Filter joined(Joint joint, Filter... filters) {
    Nulls.checkNotNull(filters, "filters");
    if (filters.length == 0) {
      throw invalid("and and or take at least one filter");
    }
    int depth = 1 + Arrays.stream(filters).mapToInt(filter -> filter.depth).max().orElse(0);
    int valueDepth = Arrays.stream(filters).mapToInt(filter -> filter.valueDepth).max().orElse(0);
    check("filter_depth", "and, or and not are nested", depth, MAX_DEPTH);
    check(
        "tree_value_depth",
        "a value within and, or and not is nested",
        valueDepth,
        MAX_VALUE_DEPTH);
    CompositeFilter.Builder composite = CompositeFilter.newBuilder().setJoint(joint);
    for (Filter filter : filters) {
      composite.addFilters(filter.message);
    }
    return new Filter(
        io.github.datastore.v1.Filter.newBuilder().setComposite(composite).build(),
        depth,
        valueDepth);
  }

  private static void check(String limit, String what, int depth, int maximum) {
    if (depth > maximum) {
      throw Reason.LIMIT_EXCEEDED.exception(
          "%s at most %d deep, and here %d".formatted(what, maximum, depth),
          Details.NONE.with("limit", limit).with("maximum", maximum));
    }
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Filter filter && message.equals(filter.message);
  }

  @Override
  public int hashCode() {
    return message.hashCode();
  }

  @Override
  public String toString() {
    return OneLine.of("Filter", message);
  }
}
