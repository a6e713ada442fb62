// The operations of tests/clients/README.md: each takes a request and returns its result.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "notation.h"

namespace driver {

using Operations = std::map<std::string, std::function<Json(const Json&)>>;

// Those without a server.
void add_local(Operations& operations);
// Those with clients, cursors and watches, which live as long as the operations.
void add_session(Operations& operations);
// Those for measurements.
void add_bench(Operations& operations);

}  // namespace driver
