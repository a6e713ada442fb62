// Queries, positions, aggregates and changes.
#include <algorithm>
#include <array>
#include <set>

#include "convert.h"
#include "datastore/error.h"
#include "datastore/wire.h"
#include "fields.h"
#include "order.h"
#include "utf8.h"

namespace datastore {

namespace {

constexpr std::size_t long_sort_key_bytes = 65'536;
constexpr int filter_depth = 16;
constexpr int tree_value_depth = 16;
constexpr std::array<std::string_view, 3> of_metadata{"__version__", "__create_time__", "__update_time__"};

bool is_of_metadata(const Order& order) {
  return std::find(of_metadata.begin(), of_metadata.end(), order.field_path) != of_metadata.end();
}

bool is_beside_value(const Order& order) { return order.field_path == "__key__" || is_of_metadata(order); }

[[noreturn]] void refuse(const std::string& why, std::string field) {
  throw InvalidQueryError(Reason::invalid_query, why, ErrorDetails{.field = std::move(field)});
}

[[noreturn]] void refuse_depth(const char* limit, int maximum, const std::string& why) {
  throw LimitExceededError(Reason::limit_exceeded, why, ErrorDetails{.limit = limit, .maximum = maximum});
}

[[noreturn]] void refuse_position(const Key& key, const std::string& lacks, std::string field) {
  refuse("the position of " + key.text() + " in these orders is not known without " + lacks, std::move(field));
}

int depth_of(const Value& value) {
  int deepest = -1;
  if (const List* list = value.get_if<List>()) {
    deepest = 0;
    for (const Value& held : *list) deepest = std::max(deepest, depth_of(held));
  } else if (const Map* map = value.get_if<Map>()) {
    deepest = 0;
    for (const auto& [name, held] : *map) deepest = std::max(deepest, depth_of(held));
  }
  return deepest + 1;
}

void write_filter(const Filter& filter, int depth, pb::Filter& message) {
  if (filter.joint() == Filter::Joint::none) {
    // Deeper messages could not be parsed.
    if (depth > 0 && depth_of(filter.value()) > tree_value_depth) {
      refuse_depth("tree_value_depth", tree_value_depth,
                   "a value within and, or and not is nested at most 16 deep, and that of " +
                       detail::shown(filter.field_path()) + " is nested deeper");
    }
    pb::FieldFilter& field = *message.mutable_field();
    field.set_field_path(filter.field_path());
    field.set_operator_(static_cast<pb::FieldFilter::Operator>(filter.op()));
    detail::write_value(filter.value(), *field.mutable_value());
    return;
  }
  if (depth == filter_depth) {
    refuse_depth("filter_depth", filter_depth, "and, or and not are nested at most 16 deep");
  }
  pb::CompositeFilter& composite = *message.mutable_composite();
  composite.set_joint(static_cast<pb::CompositeFilter::Joint>(filter.joint()));
  for (const Filter& part : filter.parts()) write_filter(part, depth + 1, *composite.add_filters());
}

void write_order(const Order& order, pb::Order& message) {
  message.set_field_path(order.field_path);
  message.set_direction(order.descending ? pb::Order::DIRECTION_DESCENDING : pb::Order::DIRECTION_ASCENDING);
}

// The value of an entry that an order sorts by; null if it is missing.
Value ordered_value(const Order& order, const Entry& entry) {
  const std::string& path = order.field_path;
  if (path == "__key__") return entry.key;
  if (path == "__value__") return entry.value;
  if (path == "__version__") return entry.metadata->version;
  if (path == "__create_time__") return entry.metadata->create_time;
  if (path == "__update_time__") return entry.metadata->update_time;
  const Value* field = detail::field_of(entry.value, path);
  return field == nullptr ? Value() : *field;
}

void write_position(const Entry& entry, const std::vector<Order>& orders, const std::vector<std::string>& fields,
                    pb::Position& message) {
  std::string sort_key;
  for (const Order& order : orders) {
    const bool is_known = fields.empty() || std::find(fields.begin(), fields.end(), order.field_path) != fields.end();
    if (!is_beside_value(order) && !is_known)
      refuse_position(entry.key, order.field_path + ", add it to the fields", "fields");
    if (!is_beside_value(order) && entry.value.is_null()) refuse_position(entry.key, "its value", "value");
    if (is_of_metadata(order) && !entry.metadata) refuse_position(entry.key, "its metadata", "metadata");
    detail::append_sort_key(ordered_value(order, entry), order.descending, sort_key);
  }
  message.mutable_key()->set_text(entry.key.text());
  if (sort_key.size() <= long_sort_key_bytes || entry.value.is_null()) {
    message.set_sort_key(std::move(sort_key));
    return;
  }
  pb::Entry whole;
  detail::write_entry(entry, whole);
  message.mutable_value()->Swap(whole.mutable_value());
  if (std::any_of(orders.begin(), orders.end(), is_of_metadata)) {
    message.mutable_metadata()->Swap(whole.mutable_metadata());
  }
}

}  // namespace

void QueryAccess::write(const Query& query, pb::Query& message) {
  if (query.keys_only_ && !query.fields_.empty()) refuse("a keys-only query has no fields to return", "query.fields");
  message.mutable_key()->set_text(query.key_.text());
  message.set_scope(query.recursive_ ? pb::QUERY_SCOPE_RECURSIVE : pb::QUERY_SCOPE_COLLECTION);
  for (const Filter& filter : query.filters_) write_filter(filter, 0, *message.add_filters());
  for (const Order& order : query.orders_) write_order(order, *message.add_orders());
  if (query.limit_) message.set_limit(*query.limit_);
  message.set_offset(query.offset_);
  message.set_view(query.keys_only_ ? pb::QUERY_VIEW_KEYS_ONLY : pb::QUERY_VIEW_ENTRIES);
  for (const std::string& path : query.fields_) message.add_field_paths(path);
  message.set_include_metadata(query.metadata_);
  if (query.start_after_) {
    write_position(*query.start_after_, query.orders_, query.fields_, *message.mutable_start_after());
  }
}

namespace detail {

namespace {

void check_path(const std::string& path, const char* field) {
  if (const auto why = invalid_path(path)) refuse(*why, field);
}

// What is computed, and by what groups are sorted. Throws InvalidQueryError for what no server accepts.
void check_aggregate(const std::vector<Aggregation>& aggregations, const Grouping& grouping) {
  if (aggregations.empty()) refuse("an aggregate computes at least one value", "aggregations");
  std::set<std::string> names;
  for (const std::string& path : grouping.group_by) {
    check_path(path, "group_by");
    if (!names.insert(path).second) refuse("groups are made by " + shown(path) + " twice", "group_by");
  }
  for (const Aggregation& each : aggregations) {
    if (each.function != Aggregation::Function::count || !each.field_path.empty())
      check_path(each.field_path, "aggregations");
    if (each.name.empty() || !names.insert(each.name).second) {
      refuse("each aggregation has a name of its own, and not " + shown(each.name), "aggregations");
    }
  }
  for (const Order& order : grouping.orders) {
    if (!names.contains(order.field_path)) {
      refuse("groups are sorted by a field of group_by or an aggregation, not by " + shown(order.field_path), "orders");
    }
  }
  if (grouping.limit.value_or(0) < 0) refuse("a limit must be at least 0", "limit");
}

}  // namespace

pb::AggregateRequest aggregate_request(const Query& query, const std::vector<Aggregation>& aggregations,
                                       const Grouping& grouping) {
  check_aggregate(aggregations, grouping);
  pb::AggregateRequest request;
  QueryAccess::write(query, *request.mutable_query());
  for (const Aggregation& each : aggregations) {
    pb::Aggregation& message = *request.add_aggregations();
    message.set_name(each.name);
    message.set_function(static_cast<pb::Aggregation::Function>(each.function));
    message.set_field_path(each.field_path);
  }
  for (const std::string& path : grouping.group_by) request.add_group_by(path);
  for (const Order& order : grouping.orders) write_order(order, *request.add_orders());
  if (grouping.limit) request.set_limit(*grouping.limit);
  return request;
}

Group read_group(pb::AggregateResponse::Group& message) {
  Group group;
  for (pb::Value& value : *message.mutable_values()) group.group.push_back(read_value(value));
  for (pb::Value& value : *message.mutable_results()) group.values.push_back(read_value(value));
  return group;
}

void cut_last(const pb::Query& query, Entry& entry) {
  if (query.view() == pb::QUERY_VIEW_KEYS_ONLY) entry.value = nullptr;
  if (query.field_paths().empty()) return;
  entry.value = projected(entry.value, {query.field_paths().begin(), query.field_paths().end()});
}

Change read_change(pb::EntryChange& message) {
  if (message.kind() < pb::EntryChange::KIND_PUT || message.kind() > pb::EntryChange::KIND_EXPIRE) {
    throw Error(Reason::corrupt_data, "a change is of a kind that this version does not know: list the entries again");
  }
  Change change{static_cast<Change::Kind>(message.kind() - pb::EntryChange::KIND_PUT),
                Key::from_canonical(std::move(*message.mutable_key()->mutable_text())),
                message.version(),
                {}};
  if (message.has_value()) change.value = read_value(*message.mutable_value());
  return change;
}

Explanation read_explanation(const pb::Explanation& message) {
  constexpr std::array<std::string_view, 4> supports{"unknown", "applied afterwards", "applied in part", "applied"};
  Explanation explanation;
  explanation.store = message.kind();
  explanation.shard = message.shard();
  explanation.scanned = message.scanned();
  explanation.returned = message.returned();
  explanation.note = message.note();
  for (const auto& part : message.parts()) {
    const auto support = static_cast<std::size_t>(part.support());
    explanation.parts.push_back(part.text() + ": " + std::string(supports[support < supports.size() ? support : 0]));
  }
  for (const auto& child : message.children()) explanation.children.push_back(read_explanation(child));
  return explanation;
}

}  // namespace detail

namespace wire {

std::string encode(const Query& query) {
  pb::Query message;
  QueryAccess::write(query, message);
  return message.SerializeAsString();
}

std::string sort_key(const Value& value, bool descending) {
  std::string bytes;
  detail::append_sort_key(value, descending, bytes);
  return bytes;
}

}  // namespace wire

}  // namespace datastore
