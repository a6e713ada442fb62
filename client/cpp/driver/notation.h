// The JSON notation of tests/clients/README.md, both ways.
#pragma once

#include <datastore/datastore.h>

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace driver {

using Json = nlohmann::json;

// A request for something that this language cannot express; the text is the reason.
class Unsupported : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::string to_hex(std::string_view bytes);
std::string from_hex(const std::string& hex);
std::int64_t number(const Json& json);  // a number, or a decimal string

datastore::Value value_of(const Json& json);
datastore::Query query_of(const Json& json);
datastore::Entry entry_of(const Json& json);
std::vector<datastore::Key> keys_of(const Json& json);
datastore::Patch patch_of(const Json& request);
std::optional<datastore::Condition> condition_of(const Json& request);
std::optional<datastore::Expiry> expiry_of(const Json& request);
datastore::Write write_of(const Json& json);
std::vector<datastore::Aggregation> aggregations_of(const Json& json);

Json to_json(const datastore::Value& value);
Json to_json(const datastore::Metadata& metadata);
Json to_json(const datastore::Entry& entry, bool has_value = true);
Json to_json(const datastore::Error& error);
Json to_json(const datastore::Summary& summary);
Json to_json(const datastore::Change& change);
// An object of what there is of a value and metadata.
Json found(const std::optional<datastore::Value>& value, const std::optional<datastore::Metadata>& metadata);
Json names_of(const std::vector<datastore::MissingShard>& shards);

}  // namespace driver
