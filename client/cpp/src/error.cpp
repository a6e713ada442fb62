// Reasons by name, and errors as their classes.
#include "datastore/error.h"

#include <algorithm>
#include <array>

namespace datastore {

namespace {

// In the order of Reason.
constexpr std::array<std::string_view, 34> names{
    "DATASTORE",
    "INVALID",
    "INVALID_KEY",
    "INVALID_VALUE",
    "INVALID_QUERY",
    "INVALID_TOKEN",
    "UNSUPPORTED_TYPE",
    "LIMIT_EXCEEDED",
    "CONDITION_FAILED",
    "BATCH_ABORTED",
    "REQUEST_FORGOTTEN",
    "CHANGES_EXPIRED",
    "QUERY_NOT_SUPPORTED",
    "UNSUPPORTED",
    "DEADLINE_EXCEEDED",
    "UNAVAILABLE",
    "OVERLOADED",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "WRONG_SHARD",
    "PLACEMENT",
    "TRUNCATED_STREAM",
    "DATASTORE_CLOSED",
    "STORE",
    "STORE_FULL",
    "STORE_LOCKED",
    "STORE_FORMAT",
    "CORRUPT_DATA",
    "NO_STORES",
    "CURSOR_RUNNING",
    "CURSOR_REUSE",
    "CIRCULAR_LINK",
    "CONFIG",
    "INTERNAL",
};
static_assert(names.size() == static_cast<std::size_t>(Reason::internal) + 1);

}  // namespace

std::string_view to_string(Reason reason) noexcept { return names[static_cast<std::size_t>(reason)]; }

std::optional<Reason> reason_of(std::string_view name) noexcept {
  const auto* const found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return static_cast<Reason>(found - names.begin());
}

Error::Error(Reason reason, const std::string& message, ErrorDetails details)
    : std::runtime_error(message),
      reason_(reason),
      details_(std::make_shared<const ErrorDetails>(std::move(details))) {}

bool Error::may_have_been_made() const noexcept {
  const bool is_open =
      reason_ == Reason::unavailable || reason_ == Reason::overloaded || reason_ == Reason::deadline_exceeded;
  return is_open && !details_->retry_after && !details_->unsent;
}

void Error::raise() const {
  switch (reason_) {
    case Reason::invalid:
    case Reason::invalid_token:
      throw InvalidError(reason_, what(), *details_);
    case Reason::invalid_key:
      throw InvalidKeyError(reason_, what(), *details_);
    case Reason::invalid_value:
      throw InvalidValueError(reason_, what(), *details_);
    case Reason::invalid_query:
      throw InvalidQueryError(reason_, what(), *details_);
    case Reason::limit_exceeded:
      throw LimitExceededError(reason_, what(), *details_);
    case Reason::condition_failed:
      throw ConditionFailedError(reason_, what(), *details_);
    case Reason::request_forgotten:
      throw RequestForgottenError(reason_, what(), *details_);
    case Reason::changes_expired:
      throw ChangesExpiredError(reason_, what(), *details_);
    case Reason::unsupported:
      throw UnsupportedError(reason_, what(), *details_);
    case Reason::deadline_exceeded:
      throw DeadlineExceededError(reason_, what(), *details_);
    case Reason::unavailable:
      throw UnavailableError(reason_, what(), *details_);
    case Reason::overloaded:
      throw OverloadedError(reason_, what(), *details_);
    case Reason::unauthenticated:
      throw UnauthenticatedError(reason_, what(), *details_);
    case Reason::permission_denied:
      throw PermissionDeniedError(reason_, what(), *details_);
    case Reason::truncated_stream:
      throw TruncatedStreamError(reason_, what(), *details_);
    default:
      throw Error(*this);
  }
}

}  // namespace datastore
