// Puts, patches, conditions and expiries.
#include <set>

#include "convert.h"
#include "datastore/error.h"
#include "utf8.h"

namespace datastore::detail {

namespace {

constexpr std::int64_t entry_bytes = 3'145'728;
constexpr std::size_t most_changes = 256;
constexpr std::int64_t us_per_s = 1'000'000;

[[noreturn]] void refuse(const std::string& why) {
  throw InvalidError(Reason::invalid, why, ErrorDetails{.field = "patch.changes"});
}

void check_changes(const std::vector<Patch::Change>& changes) {
  if (changes.empty()) refuse("a patch has at least one change");
  if (changes.size() > most_changes) refuse("a patch has at most 256 changes, got " + std::to_string(changes.size()));
  std::set<std::string> paths;
  for (const Patch::Change& change : changes) {
    if (!paths.insert(change.field_path).second) refuse("a patch changes " + shown(change.field_path) + " twice");
  }
  for (const std::string& path : paths) {
    for (std::size_t dot = path.find('.'); dot != std::string::npos; dot = path.find('.', dot + 1)) {
      if (paths.contains(path.substr(0, dot))) refuse("a patch changes " + shown(path) + ", and all that it is in");
    }
  }
}

void write_change(const Patch::Change& change, pb::FieldChange& message) {
  message.set_field_path(change.field_path);
  switch (change.kind) {
    case Patch::Change::Kind::set:
      return write_value(change.operand, *message.mutable_set());
    case Patch::Change::Kind::increment:
      return write_value(change.operand, *message.mutable_increment());
    case Patch::Change::Kind::append: {
      pb::Value list;
      write_value(change.operand, list);
      return message.mutable_append()->Swap(list.mutable_list_value());
    }
    case Patch::Change::Kind::remove:
      message.mutable_remove();
  }
}

}  // namespace

void write_put(const Key& key, const Value& value, pb::Entry& message) {
  message.mutable_key()->set_text(key.text());
  write_value(value, *message.mutable_value());
  const auto size = static_cast<std::int64_t>(key.text().size() + message.value().ByteSizeLong());
  if (size > entry_bytes) {
    throw LimitExceededError(Reason::limit_exceeded,
                             "an entry has at most 3 MiB (" + std::to_string(entry_bytes) + " bytes), and that of " +
                                 key.text() + " has " + std::to_string(size),
                             ErrorDetails{.limit = "entry_bytes", .maximum = entry_bytes});
  }
}

void write_patch(const Key& key, const Patch& patch, pb::Patch& message) {
  check_changes(patch.changes());
  message.mutable_key()->set_text(key.text());
  message.set_create(patch.creates());
  for (const Patch::Change& change : patch.changes()) write_change(change, *message.add_changes());
}

void write_condition(const Condition& condition, pb::Precondition& message) {
  if (const bool* exists = std::get_if<bool>(&condition.content())) {
    message.set_exists(*exists);
  } else {
    message.set_version(std::get<std::int64_t>(condition.content()));
  }
}

void write_expiry(const Expiry& expiry, pb::Expiry& message) {
  if (const auto* duration = std::get_if<std::chrono::microseconds>(&expiry.content())) {
    message.mutable_expires_in()->set_seconds(duration->count() / us_per_s);
    message.mutable_expires_in()->set_nanos(static_cast<std::int32_t>(duration->count() % us_per_s) * 1000);
  } else {
    write_time(std::get<Timestamp>(expiry.content()), *message.mutable_expire_time());
  }
}

void write_item(const Write& write, pb::BatchWriteRequest::Write& message) {
  struct Visitor {
    const Key& key;
    pb::BatchWriteRequest::Write& message;

    void operator()(const Write::Put& put) const { write_put(key, put.value, *message.mutable_put()); }
    void operator()(const Write::Erase&) const { message.mutable_delete_()->set_text(key.text()); }
    void operator()(const Patch& patch) const { write_patch(key, patch, *message.mutable_patch()); }
    void operator()(const Write::Touch&) const { message.mutable_touch()->set_text(key.text()); }
  };
  std::visit(Visitor{write.key, message}, write.operation);
  write_options(write.options.condition, write.options.expiry, message);
}

}  // namespace datastore::detail
