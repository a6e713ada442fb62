// Writes: conditions, expiries, patches, and the items of a batch.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "datastore/key.h"
#include "datastore/value.h"

namespace datastore {

// What must hold of an entry for a write to be made.
class Condition {
 public:
  static Condition exists() noexcept { return Condition(true); }
  static Condition absent() noexcept { return Condition(false); }
  // The entry has this version. Throws InvalidError below 1.
  static Condition version(std::int64_t version);

  [[nodiscard]] const std::variant<bool, std::int64_t>& content() const noexcept { return content_; }

 private:
  explicit Condition(std::variant<bool, std::int64_t> content) noexcept : content_(content) {}

  std::variant<bool, std::int64_t> content_;
};

// When an entry expires: from then on it is absent to every call.
class Expiry {
 public:
  // So long after the write, by the clock of the store. Throws InvalidError for 0 and below.
  static Expiry in(std::chrono::microseconds duration);
  // At this instant. One that has passed deletes the entry.
  static Expiry at(Timestamp time);

  [[nodiscard]] const std::variant<std::chrono::microseconds, Timestamp>& content() const noexcept { return content_; }

 private:
  explicit Expiry(std::variant<std::chrono::microseconds, Timestamp> content) noexcept : content_(content) {}

  std::variant<std::chrono::microseconds, Timestamp> content_;
};

// On what terms a write is made.
struct WriteOptions {
  std::optional<Condition> condition = {};
  std::optional<Expiry> expiry = {};
};

// Changes of parts of a value, which must be a map, made in one step. A value like Query: each method returns a changed
// copy. Throws InvalidError for an invalid path.
class Patch {
 public:
  struct Change {
    enum class Kind : std::uint8_t { set, increment, append, remove };

    Kind kind;
    std::string field_path;
    Value operand;  // a list for `append`, null for `remove`
  };

  // Stores a value in the member of this path; makes the maps on the way to it.
  [[nodiscard]] Patch set(std::string field_path, Value value) const;
  // Adds an int64 or a double to a number; a missing one is 0.
  [[nodiscard]] Patch increment(std::string field_path, Value number) const;
  // Appends values to a list; a missing one is empty.
  [[nodiscard]] Patch append(std::string field_path, List values) const;
  // Removes a member, if there is one.
  [[nodiscard]] Patch remove(std::string field_path) const;
  // Begins with an empty map if the entry is absent; otherwise that is an error.
  [[nodiscard]] Patch create() const;

  [[nodiscard]] const std::vector<Change>& changes() const noexcept { return changes_; }
  [[nodiscard]] bool creates() const noexcept { return create_; }

 private:
  [[nodiscard]] Patch with(Change::Kind kind, std::string field_path, Value operand) const;

  std::vector<Change> changes_;
  bool create_ = false;
};

// One write of a batch.
struct Write {
  struct Put {
    Value value;
  };
  struct Erase {};
  struct Touch {};
  using Operation = std::variant<Put, Erase, Patch, Touch>;

  Key key;
  Operation operation;
  WriteOptions options = {};

  static Write put(Key key, Value value, WriteOptions options = {}) {
    return {std::move(key), Put{std::move(value)}, options};
  }
  static Write erase(Key key, WriteOptions options = {}) { return {std::move(key), Erase{}, options}; }
  static Write patch(Key key, Patch patch, WriteOptions options = {}) {
    return {std::move(key), std::move(patch), options};
  }
  // Changes when the entry expires; without an expiry to never.
  static Write touch(Key key, WriteOptions options = {}) { return {std::move(key), Touch{}, options}; }
};

}  // namespace datastore
