// Batches of any length, sent in parts that fit, and items repeated by the rules. docs/protocol.md, "Batches".
#pragma once

#include <vector>

#include "connection.h"
#include "datastore/client.h"

namespace datastore::detail {

std::vector<ReadResult> batch_get(Connection& connection, const std::vector<Key>& keys, ReadOptions options);
std::vector<WriteResult> batch_write(Connection& connection, const std::vector<Write>& writes);
std::vector<WriteResult> atomic_write(Connection& connection, const std::vector<Write>& writes);

}  // namespace datastore::detail
