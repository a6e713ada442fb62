// Members of values, and the errors of their access.
#include "datastore/value.h"

#include <array>

#include "datastore/error.h"

namespace datastore {

std::string_view to_string(Kind kind) noexcept {
  constexpr std::array<std::string_view, 10> names{"null",  "bool",      "int64", "double", "string",
                                                   "bytes", "timestamp", "key",   "list",   "map"};
  return names[static_cast<std::size_t>(kind)];
}

namespace detail {

void refuse_integer(std::uint64_t number) {
  throw InvalidValueError(Reason::invalid_value,
                          "the value is an integer that does not fit in 64 bits with a sign: " + std::to_string(number),
                          ErrorDetails{.path = "value"});
}

void refuse_kind(Kind asked, Kind held) {
  throw InvalidValueError(Reason::invalid_value, "the value is of the kind " + std::string(to_string(held)) + ", not " +
                                                     std::string(to_string(asked)));
}

}  // namespace detail

Value::Value(const Value&) = default;
Value::Value(Value&&) noexcept = default;
Value& Value::operator=(const Value&) = default;
Value& Value::operator=(Value&&) noexcept = default;
Value::~Value() = default;

const Value& Value::operator[](std::string_view name) const {
  static const Value null;
  const Map* map = get_if<Map>();
  if (map == nullptr) return null;
  const auto found = map->find(name);
  return found == map->end() ? null : found->second;
}

Value& Value::operator[](std::string_view name) {
  if (is_null()) content_ = Map{};
  Map* map = get_if<Map>();
  if (map == nullptr) detail::refuse_kind(Kind::map, kind());
  const auto found = map->lower_bound(name);
  if (found != map->end() && found->first == name) return found->second;
  return map->emplace_hint(found, name, Value())->second;
}

bool operator==(const Value& a, const Value& b) { return a.content_ == b.content_; }

}  // namespace datastore
