// Sort keys: bytes that compare as values do in the total order. docs/protocol.md, "Orders and sort keys".
#pragma once

#include <string>

#include "datastore/value.h"

namespace datastore::detail {

// Appends the encoding of a value.
void append_sort_key(const Value& value, bool descending, std::string& out);

}  // namespace datastore::detail
