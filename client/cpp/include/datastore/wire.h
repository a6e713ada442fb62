// The encodings of docs/protocol.md, for tools that read or write messages themselves. A client needs none of this.
#pragma once

#include <string>
#include <string_view>

#include "datastore/error.h"
#include "datastore/query.h"
#include "datastore/value.h"

namespace datastore::wire {

// The bytes of a `datastore.v1.Value`. Throws InvalidValueError, whose path names the part that cannot be sent.
std::string encode(const Value& value);
// The value of these bytes. Throws Error with the reason CORRUPT_DATA, and the path of the part that is not valid.
Value decode(std::string_view data);
// The bytes of a `datastore.v1.Query`.
std::string encode(const Query& query);
// Bytes that compare as the value does in the total order.
std::string sort_key(const Value& value, bool descending = false);
// The error of a serialized `google.rpc.Status`.
Error decode_error(std::string_view status);

}  // namespace datastore::wire
