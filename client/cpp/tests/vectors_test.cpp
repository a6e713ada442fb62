// The golden vectors of tests/vectors.
#include <gtest/gtest.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "convert.h"
#include "datastore/datastore.h"
#include "datastore/wire.h"
#include "fields.h"

namespace datastore {
namespace {

using Json = nlohmann::json;

Json vectors(const std::string& name) {
  std::ifstream file(std::string(VECTORS) + "/" + name + ".json");
  return Json::parse(file);
}

std::string bytes_of(const std::string& hex) {
  std::string bytes;
  for (std::size_t at = 0; at < hex.size(); at += 2) {
    unsigned value = 0;
    std::from_chars(hex.data() + at, hex.data() + at + 2, value, 16);
    bytes += static_cast<char>(value);
  }
  return bytes;
}

std::string from_base64(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  unsigned bits = 0;
  int held = 0;
  for (const char c : text.substr(0, text.find('='))) {
    bits = bits << 6 | static_cast<unsigned>(digits.find(c));
    if ((held += 6) < 8) continue;
    held -= 8;
    bytes += static_cast<char>(bits >> held);
  }
  return bytes;
}

Timestamp from_iso(const std::string& text) {
  using namespace std::chrono;
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, micro = 0;
  double second = 0;
  std::sscanf(text.c_str(), "%d-%d-%dT%d:%d:%lfZ", &year, &month, &day, &hour, &minute, &second);
  micro = static_cast<int>(std::lround(second * 1e6));
  const sys_days date = std::chrono::year(year) / month / day;
  return Timestamp(date) + hours(hour) + minutes(minute) + microseconds(micro);
}

Value value_of(const Json& json);

Value special(const std::string& name, const Json& content) {
  if (name == "$float") {
    if (content == "NaN") return std::nan("");
    return content == "Infinity" ? HUGE_VAL : -HUGE_VAL;
  }
  if (name == "$bytes") return Bytes(from_base64(content));
  if (name == "$datetime") return from_iso(content);
  return Key(content.get<std::string>());
}

// The notation of docs/cli.md.
Value value_of(const Json& json) {
  if (json.is_null()) return nullptr;
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<std::int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_array()) {
    List list;
    for (const Json& held : json) list.push_back(value_of(held));
    return list;
  }
  if (json.size() == 1 && json.begin().key().starts_with('$')) return special(json.begin().key(), *json.begin());
  Map map;
  for (const auto& [name, held] : json.items()) map.emplace(name, value_of(held));
  return map;
}

Filter filter_of(const Json& json) {
  const std::map<std::string, Operator> operators{{"<", Operator::less},
                                                  {"<=", Operator::less_or_equal},
                                                  {"=", Operator::equal},
                                                  {"!=", Operator::not_equal},
                                                  {">=", Operator::greater_or_equal},
                                                  {">", Operator::greater},
                                                  {"in", Operator::in},
                                                  {"not in", Operator::not_in},
                                                  {"starts_with", Operator::starts_with},
                                                  {"contains", Operator::contains},
                                                  {"exists", Operator::exists}};
  if (json.is_array()) return {json[0], operators.at(json[1]), value_of(json[2])};
  if (json.contains("not")) return not_(filter_of(json["not"]));
  std::vector<Filter> parts;
  for (const Json& part : *json.begin()) parts.push_back(filter_of(part));
  return json.contains("and") ? all_of(parts) : any_of(parts);
}

Query query_of(const Json& json) {
  Query query(json["key"].get<std::string>());
  if (json.value("recursive", false)) query = query.recursive();
  if (json.value("keys_only", false)) query = query.keys_only();
  if (json.value("metadata", false)) query = query.metadata();
  if (json.contains("limit")) query = query.limit(json["limit"].get<std::int64_t>());
  if (json.contains("offset")) query = query.offset(json["offset"].get<std::int64_t>());
  if (json.contains("fields")) query = query.fields(json["fields"].get<std::vector<std::string>>());
  for (const Json& part : json.value("filter", Json::array())) query = query.filter(filter_of(part));
  for (const Json& part : json.value("order", Json::array())) query = query.order(part.get<std::string>());
  return query;
}

template <typename Message>
bool same(const Message& message, const std::string& hex) {
  Message expected;
  return expected.ParseFromString(bytes_of(hex)) && message.SerializeAsString() == expected.SerializeAsString();
}

TEST(Vectors, KeysAreCanonicalAndKnowTheirCollection) {
  for (const Json& each : vectors("keys")) {
    // Python makes keys of other types, too.
    if (!each["given"].is_string()) continue;
    const Key key(each["given"].get<std::string>());
    EXPECT_EQ(key.text(), each["text"]) << each;
    EXPECT_EQ(key.collection().text(), each["path"]) << each;
  }
}

TEST(Vectors, KeysAreOrdered) {
  const Json keys = vectors("order");
  for (std::size_t i = 1; i < keys.size(); ++i) {
    EXPECT_LT(Key(keys[i - 1].get<std::string>()), Key(keys[i].get<std::string>())) << keys[i];
  }
}

TEST(Vectors, KeysHaveTheirHashesAndSlots) {
  for (const Json& each : vectors("hashes")) EXPECT_EQ(Key(each["key"].get<std::string>()).hash(), each["hash"]);
  const Json slots = vectors("slots");
  for (const Json& each : slots["keys"]) {
    const Key key(each["key"].get<std::string>());
    EXPECT_EQ(key.slot(), each["slot"]) << each;
    EXPECT_EQ(key.collection().slot(), each["collection_slot"]) << each;
  }
}

TEST(Vectors, ValuesAreTheirBytesAndBack) {
  for (const Json& each : vectors("values")) {
    const Value value = value_of(each["value"]);
    EXPECT_EQ(wire::encode(value), bytes_of(each["wire"])) << each;
    // Compared as bytes, because NaN does not equal itself.
    EXPECT_EQ(wire::encode(wire::decode(bytes_of(each["wire"]))), bytes_of(each["wire"])) << each;
  }
}

TEST(Vectors, BytesThatAreNotAValueAreRefusedWithThePathOfTheFault) {
  for (const Json& each : vectors("wire_refused")) {
    // The parser of C++ gives the last kind only.
    if (each["why"] == "a null after another kind") continue;
    try {
      wire::decode(bytes_of(each["wire"]));
      ADD_FAILURE() << each;
    } catch (const Error& error) {
      EXPECT_EQ(error.reason(), Reason::corrupt_data);
      EXPECT_EQ(error.details().path, each["path"]) << each;
    }
  }
}

TEST(Vectors, SortKeysCompareAsValuesDo) {
  for (const Json& tied : vectors("sort_keys")) {
    for (const Json& each : tied) {
      EXPECT_EQ(wire::sort_key(value_of(each["value"])), bytes_of(each["ascending"])) << each;
      EXPECT_EQ(wire::sort_key(value_of(each["value"]), true), bytes_of(each["descending"])) << each;
    }
  }
}

TEST(Vectors, QueriesAreTheirMessages) {
  for (const Json& each : vectors("wire_queries")) {
    pb::Query message;
    QueryAccess::write(query_of(each["query"]), message);
    if (each["query"].contains("start_after")) {
      message.mutable_start_after()->set_sort_key(bytes_of(each["query"]["start_after"][0]));
      message.mutable_start_after()->mutable_key()->set_text(each["query"]["start_after"][1]);
    }
    EXPECT_TRUE(same(message, each["wire"])) << each;
  }
}

TEST(Vectors, WritesAreTheirMessages) {
  const Json writes = vectors("wire_writes");
  for (const Json& each : writes["metadata"]) {
    pb::Metadata message;
    ASSERT_TRUE(message.ParseFromString(bytes_of(each["wire"])));
    const Metadata metadata = detail::read_metadata(message);
    EXPECT_EQ(metadata.version, each["metadata"]["version"]);
    EXPECT_EQ(metadata.create_time.time_since_epoch().count(), each["metadata"]["created_us"]);
    EXPECT_EQ(metadata.update_time.time_since_epoch().count(), each["metadata"]["updated_us"]);
    EXPECT_EQ(metadata.expire_time.value_or(Timestamp()).time_since_epoch().count(), each["metadata"]["expires_us"]);
  }
  for (const Json& each : writes["conditions"]) {
    const Json& given = each["condition"];
    const Condition condition = given.contains("version") ? Condition::version(given["version"])
                                : given["exists"]         ? Condition::exists()
                                                          : Condition::absent();
    pb::Precondition message;
    detail::write_condition(condition, message);
    EXPECT_TRUE(same(message, each["wire"])) << each;
  }
  for (const Json& each : writes["expiries"]) {
    const Json& given = each["expiry"];
    pb::Expiry message;
    detail::write_expiry(given.contains("in_us") ? Expiry::in(std::chrono::microseconds(given["in_us"]))
                                                 : Expiry::at(Timestamp(std::chrono::microseconds(given["at_us"]))),
                         message);
    EXPECT_TRUE(same(message, each["wire"])) << each;
  }
}

TEST(Vectors, PatchesAreTheirMessages) {
  const Json writes = vectors("wire_writes");
  for (const Json& each : writes["patches"]) {
    Patch patch;
    if (each["patch"]["create"]) patch = patch.create();
    for (const Json& change : each["patch"]["changes"]) {
      if (change[0] == "set") patch = patch.set(change[1], value_of(change[2]));
      if (change[0] == "increment") patch = patch.increment(change[1], value_of(change[2]));
      if (change[0] == "append") patch = patch.append(change[1], value_of(change[2]).as<List>());
      if (change[0] == "remove") patch = patch.remove(change[1]);
    }
    pb::Patch message;
    detail::write_patch(each["patch"]["key"].get<std::string>(), patch, message);
    EXPECT_EQ(message.DebugString(), [&] {
      pb::Patch expected;
      expected.ParseFromString(bytes_of(each["wire"]));
      return expected.DebugString();
    }()) << each;
  }
}

TEST(Vectors, StatusesAreTheirErrors) {
  for (const Json& each : vectors("wire_errors")) {
    const Error error = wire::decode_error(bytes_of(each["status"]));
    EXPECT_EQ(to_string(error.reason()), each["reason"]) << each;
    EXPECT_EQ(error.what(), each["message"]) << each;
    const Json& facts = each["facts"];
    EXPECT_EQ(error.details().shard, facts.value("shard", "")) << each;
    EXPECT_EQ(error.details().field, facts.value("field", "")) << each;
    EXPECT_EQ(error.details().path, facts.value("path", "")) << each;
    EXPECT_EQ(error.details().limit, facts.value("limit", "")) << each;
    EXPECT_EQ(error.details().maximum, facts.value("maximum", std::int64_t{0})) << each;
    EXPECT_EQ(error.details().version, facts.value("version", std::int64_t{0})) << each;
    EXPECT_EQ(error.details().index, facts.value("index", std::int64_t{0})) << each;
    EXPECT_EQ(error.details().owner, facts.value("owner", "")) << each;
    EXPECT_EQ(error.details().incident, facts.value("incident", "")) << each;
    const auto delay = error.retry_after().value_or(std::chrono::milliseconds(0)).count();
    EXPECT_EQ(static_cast<double>(delay) / 1000, facts.value("retry_after_s", 0.0)) << each;
  }
}

TEST(Vectors, FieldsAreFoundAndValuesAreCutToThem) {
  const Json filters = vectors("filters");
  for (const Json& each : filters["fields"]) {
    const std::string path = each["field"];
    if (path.starts_with("__")) continue;
    const Value value = value_of(each["value"]);
    const Value* found = detail::field_of(value, path);
    EXPECT_EQ(found == nullptr ? Value() : *found, value_of(each["found"])) << each;
  }
  for (const Json& each : filters["projections"]) {
    const auto fields = each["fields"].get<std::vector<std::string>>();
    EXPECT_EQ(detail::projected(value_of(each["value"]), fields), value_of(each["cut"])) << each;
  }
}

}  // namespace
}  // namespace datastore
