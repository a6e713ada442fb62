#include <datastore/wire.h>

#include <compare>

#include "operations.h"

namespace driver {

using namespace datastore;

namespace {

Json key(const Json& request) {
  const Key key(request.at("text").get<std::string>());
  return {{"text", key.text()},
          {"collection", key.collection().text()},
          {"hash", std::to_string(key.hash())},
          {"slot", key.slot()},
          {"collection_slot", key.collection().slot()}};
}

Json compare_keys(const Json& request) {
  const auto order = Key(request.at("a").get<std::string>()) <=> Key(request.at("b").get<std::string>());
  return {{"order", std::is_lt(order) ? -1 : std::is_gt(order) ? 1 : 0}};
}

}  // namespace

void add_local(Operations& operations) {
  operations["key"] = key;
  operations["compare_keys"] = compare_keys;
  operations["encode"] = [](const Json& request) {
    return Json{{"wire", to_hex(wire::encode(value_of(request.at("value"))))}};
  };
  operations["decode"] = [](const Json& request) {
    return Json{{"value", to_json(wire::decode(from_hex(request.at("wire"))))}};
  };
  operations["sort_key"] = [](const Json& request) {
    return Json{
        {"sort_key", to_hex(wire::sort_key(value_of(request.at("value")), request.value("descending", false)))}};
  };
  operations["query"] = [](const Json& request) {
    return Json{{"wire", to_hex(wire::encode(query_of(request.at("query"))))}};
  };
  operations["error"] = [](const Json& request) {
    return Json{{"error", to_json(wire::decode_error(from_hex(request.at("status"))))}};
  };
}

}  // namespace driver
