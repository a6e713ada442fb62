// Building filters, queries and aggregations, and refusing what no server accepts.
#include "datastore/query.h"

#include <iterator>

#include "datastore/error.h"
#include "utf8.h"

namespace datastore {

namespace {

[[noreturn]] void refuse(const std::string& why, std::string field) {
  throw InvalidQueryError(Reason::invalid_query, why, ErrorDetails{.field = std::move(field)});
}

std::string checked_path(std::string path) {
  if (const auto why = detail::invalid_path(path)) refuse(*why, "field_path");
  return path;
}

std::int64_t checked_count(const char* name, std::int64_t number) {
  if (number < 0) {
    refuse("a query's " + std::string(name) + " must be at least 0, got " + std::to_string(number),
           "query." + std::string(name));
  }
  return number;
}

void check_operand(Operator op, const Value& value) {
  const Kind kind = value.kind();
  const bool is_list = op == Operator::in || op == Operator::not_in;
  if (is_list && kind != Kind::list) refuse("`in` and `not in` compare with a list", "value");
  if (op == Operator::exists && kind != Kind::boolean) refuse("`exists` compares with true or false", "value");
  if (op == Operator::starts_with && kind != Kind::string && kind != Kind::bytes && kind != Kind::key) {
    refuse("`starts_with` compares with a string, bytes or a key", "value");
  }
}

std::vector<Filter> joined(Filter::Joint joint, Filter a, Filter b) {
  std::vector<Filter> parts;
  // a && b && c is one `and` of three.
  if (a.joint() == joint) {
    parts = a.parts();
  } else {
    parts.push_back(std::move(a));
  }
  parts.push_back(std::move(b));
  return parts;
}

}  // namespace

Filter::Filter(std::string field_path, Operator op, Value value)
    : field_path_(checked_path(std::move(field_path))), op_(op), value_(std::move(value)) {
  check_operand(op_, value_);
}

Filter::Filter(Joint joint, std::vector<Filter> parts) : joint_(joint), parts_(std::move(parts)) {
  if (parts_.empty()) refuse("`and` and `or` need at least one condition", "query.filters");
}

Filter operator&&(Filter a, Filter b) {
  return {Filter::Joint::all, joined(Filter::Joint::all, std::move(a), std::move(b))};
}

Filter operator||(Filter a, Filter b) {
  return {Filter::Joint::any, joined(Filter::Joint::any, std::move(a), std::move(b))};
}

Filter operator!(Filter part) { return not_(std::move(part)); }

Filter all_of(std::vector<Filter> parts) { return {Filter::Joint::all, std::move(parts)}; }

Filter any_of(std::vector<Filter> parts) { return {Filter::Joint::any, std::move(parts)}; }

Filter not_(Filter part) {
  std::vector<Filter> parts;
  parts.push_back(std::move(part));
  return {Filter::Joint::negated, std::move(parts)};
}

Order::Order(std::string_view text)
    : field_path(checked_path(std::string(text.substr(text.starts_with('-') || text.starts_with('+') ? 1 : 0)))),
      descending(text.starts_with('-')) {}

Query Query::recursive() const {
  Query changed = *this;
  changed.recursive_ = true;
  return changed;
}

Query Query::filter(Filter filter) const {
  Query changed = *this;
  changed.filters_.push_back(std::move(filter));
  return changed;
}

Query Query::order(Order order) const {
  Query changed = *this;
  changed.orders_.push_back(std::move(order));
  return changed;
}

Query Query::limit(std::int64_t limit) const {
  Query changed = *this;
  changed.limit_ = checked_count("limit", limit);
  return changed;
}

Query Query::offset(std::int64_t offset) const {
  Query changed = *this;
  changed.offset_ = checked_count("offset", offset);
  return changed;
}

Query Query::keys_only() const {
  Query changed = *this;
  changed.keys_only_ = true;
  return changed;
}

Query Query::fields(std::vector<std::string> field_paths) const {
  Query changed = *this;
  for (std::string& path : field_paths) path = checked_path(std::move(path));
  changed.fields_ = std::move(field_paths);
  return changed;
}

Query Query::metadata() const {
  Query changed = *this;
  changed.metadata_ = true;
  return changed;
}

Query Query::start_after(Entry entry) const {
  Query changed = *this;
  changed.start_after_ = std::move(entry);
  return changed;
}

Aggregation Aggregation::count(std::string name) { return {Function::count, "", std::move(name)}; }

Aggregation Aggregation::count(std::string field_path, std::string name) {
  return {Function::count, std::move(field_path), std::move(name)};
}

Aggregation Aggregation::sum(std::string field_path, std::string name) {
  return {Function::sum, std::move(field_path), std::move(name)};
}

Aggregation Aggregation::avg(std::string field_path, std::string name) {
  return {Function::avg, std::move(field_path), std::move(name)};
}

Aggregation Aggregation::min(std::string field_path, std::string name) {
  return {Function::min, std::move(field_path), std::move(name)};
}

Aggregation Aggregation::max(std::string field_path, std::string name) {
  return {Function::max, std::move(field_path), std::move(name)};
}

}  // namespace datastore
