// Which instants have a place on the wire.
#pragma once

#include <chrono>

#include "datastore/value.h"

namespace datastore::detail {

constexpr std::int64_t first_second = -62135596800;  // the beginning of the year 1
constexpr std::int64_t last_second = 253402300799;   // the end of the year 9999

// Whether an instant is in the years 1 to 9999 of UTC.
inline bool is_writable(Timestamp time) noexcept {
  const auto second = std::chrono::floor<std::chrono::seconds>(time.time_since_epoch()).count();
  return first_second <= second && second <= last_second;
}

}  // namespace datastore::detail
