#include "notation.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <limits>

namespace driver {

using namespace datastore;

namespace {

template <typename Number>
std::optional<Number> parsed(const std::string& text, int base = 10) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Timestamp time_of(const Json& json) { return Timestamp(std::chrono::microseconds(number(json))); }

std::string text_of(Timestamp time) { return std::to_string(time.time_since_epoch().count()); }

Value integer(const std::string& text) {
  if (const auto number = parsed<std::int64_t>(text)) return *number;
  if (const auto number = parsed<std::uint64_t>(text)) return *number;
  throw Unsupported("integers have at most 64 bits");
}

Operator operator_of(const std::string& name) {
  constexpr std::array<std::string_view, 11> names{"<",  "<=",     "=",           "!=",       ">=",    ">",
                                                   "in", "not_in", "starts_with", "contains", "exists"};
  const auto* const at = std::find(names.begin(), names.end(), name);
  if (at == names.end()) throw Unsupported("operators are an enumeration");
  return static_cast<Operator>(at - names.begin() + 1);
}

Filter filter_of(const Json& json) {
  if (json.is_array()) return {json.at(0), operator_of(json.at(1)), value_of(json.at(2))};
  if (json.contains("not")) return not_(filter_of(json["not"]));
  std::vector<Filter> parts;
  const bool is_and = json.contains("and");
  for (const Json& part : json.at(is_and ? "and" : "or")) parts.push_back(filter_of(part));
  return is_and ? all_of(std::move(parts)) : any_of(std::move(parts));
}

Metadata metadata_of(const Json& json) {
  Metadata metadata{number(json.at("version")), time_of(json.at("create_time")), time_of(json.at("update_time")), {}};
  if (json.contains("expire_time")) metadata.expire_time = time_of(json["expire_time"]);
  return metadata;
}

}  // namespace

std::string to_hex(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string hex;
  for (const char byte : bytes) {
    const auto bits = static_cast<std::uint8_t>(byte);
    hex += {digits[bits >> 4], digits[bits & 15]};
  }
  return hex;
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t at = 0; at < hex.size(); at += 2) {
    bytes += static_cast<char>(parsed<std::uint8_t>(hex.substr(at, 2), 16).value());
  }
  return bytes;
}

std::int64_t number(const Json& json) {
  if (json.is_number_unsigned() && json.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
    throw Unsupported("numbers are of type int64_t");
  }
  if (json.is_number()) return json.get<std::int64_t>();
  const auto parsed_number = parsed<std::int64_t>(json.get<std::string>());
  if (!parsed_number) throw Unsupported("numbers are of type int64_t");
  return *parsed_number;
}

Value value_of(const Json& json) {
  const auto& [kind, content] = *json.items().begin();
  if (kind == "null") return nullptr;
  if (kind == "bool") return content.get<bool>();
  if (kind == "int64") return integer(content);
  if (kind == "double") return std::bit_cast<double>(parsed<std::uint64_t>(content, 16).value());
  if (kind == "string") return content.get<std::string>();
  if (kind == "utf8") return from_hex(content);
  if (kind == "bytes") return Bytes(from_hex(content));
  if (kind == "timestamp") return time_of(content);
  if (kind == "key") return Key(content.get<std::string>());
  if (kind == "list") {
    List list;
    for (const Json& value : content) list.push_back(value_of(value));
    return list;
  }
  if (kind == "map") {
    Map map;
    for (const auto& [name, value] : content.items()) map.emplace(name, value_of(value));
    return map;
  }
  if (kind == "timestamp_ns") throw Unsupported("a Timestamp has microseconds: finer ones do not compile");
  if (kind == "utf16") throw Unsupported("strings are UTF-8");
  throw Unsupported("the compiler refuses other types");
}

Query query_of(const Json& json) {
  Query query{Key(json.at("key").get<std::string>())};
  if (json.value("recursive", false)) query = query.recursive();
  if (json.value("keys_only", false)) query = query.keys_only();
  if (json.value("metadata", false)) query = query.metadata();
  for (const Json& filter : json.value("filters", Json::array())) query = query.filter(filter_of(filter));
  for (const Json& order : json.value("orders", Json::array())) query = query.order(order.get<std::string>());
  if (json.contains("limit")) query = query.limit(number(json["limit"]));
  if (json.contains("offset")) query = query.offset(number(json["offset"]));
  if (json.contains("fields")) query = query.fields(json["fields"].get<std::vector<std::string>>());
  if (json.contains("start_after")) query = query.start_after(entry_of(json["start_after"]));
  return query;
}

Entry entry_of(const Json& json) {
  Entry entry{json.at("key").get<std::string>(), {}, {}};
  if (json.contains("value")) entry.value = value_of(json["value"]);
  if (json.contains("metadata")) entry.metadata = metadata_of(json["metadata"]);
  return entry;
}

std::vector<Key> keys_of(const Json& json) {
  std::vector<Key> keys;
  for (const Json& key : json) keys.emplace_back(key.get<std::string>());
  return keys;
}

Patch patch_of(const Json& request) {
  Patch patch;
  if (request.value("create", false)) patch = patch.create();
  for (const Json& change : request.at("changes")) {
    const std::string kind = change.at(0);
    const std::string path = change.at(1);
    if (kind == "remove") {
      patch = patch.remove(path);
      continue;
    }
    Value operand = value_of(change.at(2));
    if (kind == "set") {
      patch = patch.set(path, std::move(operand));
    } else if (kind == "increment") {
      patch = patch.increment(path, std::move(operand));
    } else if (operand.kind() != Kind::list) {
      throw Unsupported("append takes a List");
    } else {
      patch = patch.append(path, std::move(operand).as<List>());
    }
  }
  return patch;
}

std::optional<Condition> condition_of(const Json& request) {
  if (!request.contains("condition")) return std::nullopt;
  const Json& json = request["condition"];
  if (json.contains("version")) return Condition::version(number(json["version"]));
  return json.at("exists").get<bool>() ? Condition::exists() : Condition::absent();
}

std::optional<Expiry> expiry_of(const Json& request) {
  if (!request.contains("expiry")) return std::nullopt;
  const Json& json = request["expiry"];
  if (json.contains("in_ms")) return Expiry::in(std::chrono::milliseconds(number(json["in_ms"])));
  return Expiry::at(time_of(json.at("at")));
}

Write write_of(const Json& json) {
  const WriteOptions options{condition_of(json), expiry_of(json)};
  if (json.contains("delete")) return Write::erase(json["delete"].get<std::string>(), options);
  if (json.contains("touch")) return Write::touch(json["touch"].get<std::string>(), options);
  if (json.contains("patch")) {
    return Write::patch(json["patch"].at("key").get<std::string>(), patch_of(json["patch"]), options);
  }
  const Json& put = json.at("put");
  return Write::put(put.at("key").get<std::string>(), value_of(put.at("value")), options);
}

std::vector<Aggregation> aggregations_of(const Json& json) {
  std::vector<Aggregation> aggregations;
  for (const Json& each : json) {
    const std::string function = each.at("function");
    const std::string field = each.value("field", "");
    const std::string name = each.at("as");
    aggregations.push_back(function == "COUNT"
                               ? (field.empty() ? Aggregation::count(name) : Aggregation::count(field, name))
                           : function == "SUM" ? Aggregation::sum(field, name)
                           : function == "AVG" ? Aggregation::avg(field, name)
                           : function == "MIN" ? Aggregation::min(field, name)
                                               : Aggregation::max(field, name));
  }
  return aggregations;
}

Json to_json(const Value& value) {
  struct Visitor {
    Json operator()(std::nullptr_t) const { return {{"null", true}}; }
    Json operator()(bool flag) const { return {{"bool", flag}}; }
    Json operator()(std::int64_t number) const { return {{"int64", std::to_string(number)}}; }
    Json operator()(double number) const {
      const auto bits = std::bit_cast<std::uint64_t>(number);
      std::string bytes;
      for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(bits >> shift);
      return {{"double", to_hex(bytes)}};
    }
    Json operator()(const std::string& text) const { return {{"string", text}}; }
    Json operator()(const Bytes& bytes) const { return {{"bytes", to_hex(bytes.str())}}; }
    Json operator()(Timestamp time) const { return {{"timestamp", text_of(time)}}; }
    Json operator()(const Key& key) const { return {{"key", key.text()}}; }
    Json operator()(const List& list) const {
      Json values = Json::array();
      for (const Value& held : list) values.push_back(to_json(held));
      return {{"list", std::move(values)}};
    }
    Json operator()(const Map& map) const {
      Json fields = Json::object();
      for (const auto& [name, held] : map) fields[name] = to_json(held);
      return {{"map", std::move(fields)}};
    }
  };
  return std::visit(Visitor{}, value.content());
}

Json to_json(const Metadata& metadata) {
  Json json = {{"version", std::to_string(metadata.version)},
               {"create_time", text_of(metadata.create_time)},
               {"update_time", text_of(metadata.update_time)}};
  if (metadata.expire_time) json["expire_time"] = text_of(*metadata.expire_time);
  return json;
}

Json to_json(const Entry& entry, bool has_value) {
  Json json = {{"key", entry.key.text()}};
  if (has_value) json["value"] = to_json(entry.value);
  if (entry.metadata) json["metadata"] = to_json(*entry.metadata);
  return json;
}

Json to_json(const Error& error) {
  const ErrorDetails& facts = error.details();
  Json details = Json::object();
  const auto add = [&](const char* name, const std::string& text) {
    if (!text.empty() && text != "0") details[name] = text;
  };
  add("shard", facts.shard);
  add("field", facts.field);
  add("path", facts.path);
  add("limit", facts.limit);
  add("maximum", std::to_string(facts.maximum));
  add("version", std::to_string(facts.version));
  add("index", std::to_string(facts.index));
  add("owner", facts.owner);
  add("epoch", std::to_string(facts.epoch));
  add("right", facts.right);
  add("incident", facts.incident);
  add("request_id", facts.request_id);
  if (facts.retry_after) details["retry_after_ms"] = std::to_string(facts.retry_after->count());
  return {{"reason", to_string(error.reason())}, {"message", error.what()}, {"details", std::move(details)}};
}

Json to_json(const Summary& summary) {
  constexpr std::array<const char*, 3> reasons{"EXHAUSTED", "LIMIT", "PARTIAL"};
  Json json = {{"reason", reasons[static_cast<std::size_t>(summary.reason)]},
               {"entries", std::to_string(summary.entries)},
               {"unreachable", names_of(summary.unreachable)}};
  if (summary.explanation) json["explained"] = summary.explanation->store;
  return json;
}

Json to_json(const Change& change) {
  constexpr std::array<const char*, 3> kinds{"PUT", "DELETE", "EXPIRE"};
  Json entry = {{"key", change.key.text()}, {"metadata", {{"version", std::to_string(change.version)}}}};
  if (!change.value.is_null()) entry["value"] = to_json(change.value);
  return {{"kind", kinds[static_cast<std::size_t>(change.kind)]}, {"entry", std::move(entry)}};
}

Json found(const std::optional<Value>& value, const std::optional<Metadata>& metadata) {
  Json json = Json::object();
  if (value) json["value"] = to_json(*value);
  if (metadata) json["metadata"] = to_json(*metadata);
  return json;
}

Json names_of(const std::vector<MissingShard>& shards) {
  Json names = Json::array();
  for (const MissingShard& shard : shards) names.push_back(shard.name);
  return names;
}

}  // namespace driver
