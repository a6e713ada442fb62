// Errors: one class, a subclass for each kind that callers tell apart, and the reasons of docs/protocol.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace datastore {

// Why a call failed: the reasons of the table in docs/protocol.md. Texts are for people; decide by the reason.
enum class Reason : std::uint8_t {
  datastore,
  invalid,
  invalid_key,
  invalid_value,
  invalid_query,
  invalid_token,
  unsupported_type,
  limit_exceeded,
  condition_failed,
  batch_aborted,
  request_forgotten,
  changes_expired,
  query_not_supported,
  unsupported,
  deadline_exceeded,
  unavailable,
  overloaded,
  unauthenticated,
  permission_denied,
  wrong_shard,
  placement,
  truncated_stream,
  datastore_closed,
  store,
  store_full,
  store_locked,
  store_format,
  corrupt_data,
  no_stores,
  cursor_running,
  cursor_reuse,
  circular_link,
  config,
  internal,
};

// The reason as on the wire, e.g. "INVALID_KEY".
std::string_view to_string(Reason reason) noexcept;
// The reason of a name on the wire; nothing for one that this version does not know.
std::optional<Reason> reason_of(std::string_view name) noexcept;

// What an error says besides its text. Empty and 0 stand for "not known".
struct ErrorDetails {
  std::string shard = {};       // the shard that failed
  std::string field = {};       // the argument, e.g. "query.filters[0].operator"
  std::string path = {};        // the part of a value, e.g. "value['a'][3]"
  std::string limit = {};       // the limit that was exceeded
  std::int64_t maximum = 0;     // the value of that limit
  std::int64_t version = 0;     // the current version of the entry whose condition failed; 0 if it is absent
  std::int64_t index = 0;       // the write of an atomic batch that failed, counted from 0
  std::string owner = {};       // the shard that owns the key
  std::int64_t epoch = 0;       // the placement epoch of the node that refused the call
  std::string right = {};       // the right that the caller lacks
  std::string incident = {};    // the id under which the server logged what happened
  std::string request_id = {};  // the id of the call in the server's log
  // The call did nothing, or was a read: it may be repeated unchanged after so long.
  std::optional<std::chrono::milliseconds> retry_after = {};
  bool unsent = false;  // the call did not reach a server
};

// The root of every error of this library.
class Error : public std::runtime_error {
 public:
  Error(Reason reason, const std::string& message, ErrorDetails details = {});

  [[nodiscard]] Reason reason() const noexcept { return reason_; }
  [[nodiscard]] const ErrorDetails& details() const noexcept { return *details_; }
  // If set, the same call, including a write, may be repeated after that time.
  [[nodiscard]] std::optional<std::chrono::milliseconds> retry_after() const noexcept { return details_->retry_after; }
  // Whether a write that ended with this error may have been made all the same.
  [[nodiscard]] bool may_have_been_made() const noexcept;
  // Throws this error as the subclass of its reason.
  [[noreturn]] void raise() const;

 private:
  Reason reason_;
  std::shared_ptr<const ErrorDetails> details_;  // shared, so that copies cannot throw
};

// An invalid argument, whatever the store holds.
class InvalidError : public Error {
  using Error::Error;
};
// Text that is not a valid key: control characters, not UTF-8, or over the limit.
class InvalidKeyError : public InvalidError {
  using InvalidError::InvalidError;
};
// A value out of range, or nested too deeply; `details().path` says which part.
class InvalidValueError : public InvalidError {
  using InvalidError::InvalidError;
};
// A filter, order, limit or offset that no server accepts.
class InvalidQueryError : public InvalidError {
  using InvalidError::InvalidError;
};
// More than a named limit allows; nothing was done.
class LimitExceededError : public Error {
  using Error::Error;
};
// The condition of a write did not hold, and nothing was changed. `details().version` is the entry's, 0 if absent.
class ConditionFailedError : public Error {
  using Error::Error;
};
// A write was repeated, and the store does not know whether an earlier attempt was made: read the entry, and decide.
class RequestForgottenError : public Error {
  using Error::Error;
};
// The changes after a watch's token are no longer kept: list the entries again.
class ChangesExpiredError : public Error {
  using Error::Error;
};
// The store cannot do this, e.g. because it keeps no versions.
class UnsupportedError : public Error {
  using Error::Error;
};
// Not answered in time. A write may have happened.
class DeadlineExceededError : public Error {
  using Error::Error;
};
// The server, or a shard behind it, cannot be reached now. See `retry_after`.
class UnavailableError : public Error {
  using Error::Error;
};
// The server, or this client, is busy and refused the call: nothing was done.
class OverloadedError : public UnavailableError {
  using UnavailableError::UnavailableError;
};
// The server does not know who calls.
class UnauthenticatedError : public Error {
  using Error::Error;
};
// The caller's rights do not include this; nothing was done.
class PermissionDeniedError : public Error {
  using Error::Error;
};
// Results ended without their closing summary: some may be missing.
class TruncatedStreamError : public Error {
  using Error::Error;
};

}  // namespace datastore
