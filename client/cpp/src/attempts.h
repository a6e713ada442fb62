// The attempts of writes, which let a store tell a repeated one from a new one. docs/protocol.md, "Safe retries".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "datastore/error.h"
#include "datastore/v1/value.pb.h"

namespace datastore::detail {

// Microseconds by a clock that is never set, and that also runs while the machine sleeps.
std::int64_t elapsed_us();

// The id of one write, and when the first attempt was sent that may have been made.
class Attempt {
 public:
  // A new write, with an id of 16 random bytes.
  Attempt();

  // States this attempt, which is sent now.
  void write(datastore::v1::Attempt& message, std::int64_t now_us) const;
  // Notes that the attempt that was sent then may have been made.
  void follow(std::int64_t sent_us) {
    if (!first_us_) first_us_ = sent_us;
  }

 private:
  std::string request_id_;
  std::optional<std::int64_t> first_us_;
};

// The error of a write whose last attempt ended with `error`; `unknown` is that of an earlier one that may have been
// made. If the last one did not reach the store, the outcome is still unknown.
inline Error outcome_of(const Error& error, const std::optional<Error>& unknown) {
  const bool is_undone = error.reason() == Reason::unavailable || error.reason() == Reason::overloaded ||
                         error.reason() == Reason::wrong_shard;
  return unknown && is_undone ? *unknown : error;
}

}  // namespace datastore::detail
