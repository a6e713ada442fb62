// Fields of values, by path: docs/protocol.md, "Fields".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "datastore/value.h"

namespace datastore::detail {

// The field of a value; nullptr if it is missing.
const Value* field_of(const Value& value, std::string_view path) noexcept;
// The value cut to these fields: a map of those that it has, nested as in the value.
Value projected(const Value& value, const std::vector<std::string>& paths);

}  // namespace datastore::detail
