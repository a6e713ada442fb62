// Queries: which entries, in which order, how many.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "datastore/entry.h"
#include "datastore/key.h"
#include "datastore/value.h"

namespace datastore {

enum class Operator : std::uint8_t {
  less = 1,
  less_or_equal,
  equal,
  not_equal,
  greater_or_equal,
  greater,
  in,
  not_in,
  starts_with,
  contains,
  exists,
};

// A condition that entries must match: a field compared with a value, or conditions joined by `&&`, `||` and `!`.
// docs/protocol.md says what matches.
class Filter {
 public:
  enum class Joint : std::uint8_t { none, all, any, negated };

  // A field, e.g. "geo.lat" or "__key__", compared with a value. Throws InvalidQueryError for an invalid path.
  Filter(std::string field_path, Operator op, Value value);

  friend Filter operator&&(Filter a, Filter b);
  friend Filter operator||(Filter a, Filter b);
  friend Filter operator!(Filter part);
  // The same in words. Throw InvalidQueryError for no parts.
  friend Filter all_of(std::vector<Filter> parts);
  friend Filter any_of(std::vector<Filter> parts);
  friend Filter not_(Filter part);

  [[nodiscard]] Joint joint() const noexcept { return joint_; }
  [[nodiscard]] const std::vector<Filter>& parts() const noexcept { return parts_; }
  [[nodiscard]] const std::string& field_path() const noexcept { return field_path_; }
  [[nodiscard]] Operator op() const noexcept { return op_; }
  [[nodiscard]] const Value& value() const noexcept { return value_; }

 private:
  Filter(Joint joint, std::vector<Filter> parts);

  Joint joint_ = Joint::none;
  std::vector<Filter> parts_;
  std::string field_path_;
  Operator op_ = Operator::equal;
  Value value_;
};

Filter all_of(std::vector<Filter> parts);
Filter any_of(std::vector<Filter> parts);
Filter not_(Filter part);

// A field, to be compared: `field("country") == "CH" && field("elevation") >= 1000`.
class Field {
 public:
  explicit Field(std::string path) : path_(std::move(path)) {}

  Filter operator==(Value value) const { return {path_, Operator::equal, std::move(value)}; }
  Filter operator!=(Value value) const { return {path_, Operator::not_equal, std::move(value)}; }
  Filter operator<(Value value) const { return {path_, Operator::less, std::move(value)}; }
  Filter operator<=(Value value) const { return {path_, Operator::less_or_equal, std::move(value)}; }
  Filter operator>(Value value) const { return {path_, Operator::greater, std::move(value)}; }
  Filter operator>=(Value value) const { return {path_, Operator::greater_or_equal, std::move(value)}; }
  [[nodiscard]] Filter in(List values) const { return {path_, Operator::in, std::move(values)}; }
  [[nodiscard]] Filter not_in(List values) const { return {path_, Operator::not_in, std::move(values)}; }
  [[nodiscard]] Filter starts_with(Value start) const { return {path_, Operator::starts_with, std::move(start)}; }
  [[nodiscard]] Filter contains(Value part) const { return {path_, Operator::contains, std::move(part)}; }
  [[nodiscard]] Filter exists(bool present = true) const { return {path_, Operator::exists, present}; }

 private:
  std::string path_;
};

inline Field field(std::string path) { return Field(std::move(path)); }

// One sort criterion: a field, written "elevation" to sort up, or "-elevation" to sort down.
struct Order {
  // Throws InvalidQueryError for an invalid path.
  Order(std::string_view text);
  Order(const char* text) : Order(std::string_view(text)) {}
  Order(const std::string& text) : Order(std::string_view(text)) {}

  std::string field_path;
  bool descending = false;
};

// Selects entries of the collection of a key. A value: each method returns a changed copy, so queries can be derived
// from one another. Its parts are applied in this order: scope, filters, orders, start_after, offset, limit, fields.
class Query {
 public:
  explicit Query(Key key) : key_(std::move(key)) {}

  // Selects the whole subtree of the key.
  [[nodiscard]] Query recursive() const;
  // Selects only entries that match this, too.
  [[nodiscard]] Query filter(Filter filter) const;
  // Sorts by this field, after those before it. Results are sorted by key in the end.
  [[nodiscard]] Query order(Order order) const;
  // Returns at most so many entries. Throws InvalidQueryError if negative, as `offset` does.
  [[nodiscard]] Query limit(std::int64_t limit) const;
  // Skips so many matching entries.
  [[nodiscard]] Query offset(std::int64_t offset) const;
  // Returns keys without values.
  [[nodiscard]] Query keys_only() const;
  // Returns only these fields of each value. Throws InvalidQueryError for an invalid path.
  [[nodiscard]] Query fields(std::vector<std::string> field_paths) const;
  // Returns entries with their metadata.
  [[nodiscard]] Query metadata() const;
  // Returns only entries after this one in the order of the query; it need not exist any more. It needs its value if
  // there are orders by fields of it, and its metadata if there are orders by metadata.
  [[nodiscard]] Query start_after(Entry entry) const;

 private:
  friend struct QueryAccess;

  Key key_;
  bool recursive_ = false;
  bool keys_only_ = false;
  bool metadata_ = false;
  std::vector<Filter> filters_;
  std::vector<Order> orders_;
  std::optional<std::int64_t> limit_;
  std::int64_t offset_ = 0;
  std::vector<std::string> fields_;
  std::optional<Entry> start_after_;
};

// One value to compute for each group of entries.
struct Aggregation {
  enum class Function : std::uint8_t { count = 1, sum, avg, min, max };

  Function function = Function::count;
  std::string field_path;  // empty for a count of all entries
  std::string name;        // of the result, to sort by

  // How many entries there are, and how many have a field.
  static Aggregation count(std::string name = "count");
  static Aggregation count(std::string field_path, std::string name);
  // The exact sum of the numbers in a field, their mean, and the first and last value in the total order.
  static Aggregation sum(std::string field_path, std::string name = "sum");
  static Aggregation avg(std::string field_path, std::string name = "avg");
  static Aggregation min(std::string field_path, std::string name = "min");
  static Aggregation max(std::string field_path, std::string name = "max");
};

// How entries are grouped, and which groups are returned.
struct Grouping {
  std::vector<std::string> group_by = {};  // fields; none: all entries are one group
  std::vector<Order> orders = {};          // by a field of `group_by`, or the name of an aggregation
  std::optional<std::int64_t> limit = {};
};

// One group of entries.
struct Group {
  std::vector<Value> group;   // of the fields of `group_by`
  std::vector<Value> values;  // of the aggregations
};

}  // namespace datastore
