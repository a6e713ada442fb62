// Building conditions, expiries and patches, and refusing what no server accepts.
#include "datastore/write.h"

#include "datastore/error.h"
#include "times.h"
#include "utf8.h"

namespace datastore {

namespace {

[[noreturn]] void refuse(const std::string& why, std::string field) {
  throw InvalidError(Reason::invalid, why, ErrorDetails{.field = std::move(field)});
}

}  // namespace

Condition Condition::version(std::int64_t version) {
  if (version < 1) refuse("a version is at least 1, got " + std::to_string(version), "condition.version");
  return Condition(version);
}

Expiry Expiry::in(std::chrono::microseconds duration) {
  if (duration.count() <= 0) refuse("an expiry must be in the future", "expiry.expires_in");
  return Expiry(duration);
}

Expiry Expiry::at(Timestamp time) {
  if (!detail::is_writable(time)) refuse("an expiry must be within the years 1 to 9999", "expiry.expire_time");
  return Expiry(time);
}

Patch Patch::set(std::string field_path, Value value) const {
  return with(Change::Kind::set, std::move(field_path), std::move(value));
}

Patch Patch::increment(std::string field_path, Value number) const {
  if (number.kind() != Kind::int64 && number.kind() != Kind::floating) {
    refuse("an increment is an int64 or a double, and that of " + detail::shown(field_path) + " is a " +
               std::string(to_string(number.kind())),
           "patch.changes");
  }
  return with(Change::Kind::increment, std::move(field_path), std::move(number));
}

Patch Patch::append(std::string field_path, List values) const {
  return with(Change::Kind::append, std::move(field_path), Value(std::move(values)));
}

Patch Patch::remove(std::string field_path) const { return with(Change::Kind::remove, std::move(field_path), Value()); }

Patch Patch::create() const {
  Patch changed = *this;
  changed.create_ = true;
  return changed;
}

Patch Patch::with(Change::Kind kind, std::string field_path, Value operand) const {
  if (const auto why = detail::invalid_path(field_path)) refuse(*why, "patch.changes");
  Patch changed = *this;
  changed.changes_.push_back({kind, std::move(field_path), std::move(operand)});
  return changed;
}

}  // namespace datastore
