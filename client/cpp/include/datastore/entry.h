// Entries, what a store knows about them, and their changes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "datastore/error.h"
#include "datastore/key.h"
#include "datastore/value.h"

namespace datastore {

// What a store that keeps versions knows about an entry. Times are by the clock of the store.
struct Metadata {
  std::int64_t version = 0;              // at least 1; of one key, a later version is always greater
  Timestamp create_time;                 // when the key was first written since it was last absent
  Timestamp update_time;                 // when the entry was last written
  std::optional<Timestamp> expire_time;  // nothing: never

  friend bool operator==(const Metadata&, const Metadata&) = default;
};

// A key and its value.
struct Entry {
  Key key;
  Value value;                       // null, which is never stored, in the results of a keys-only query
  std::optional<Metadata> metadata;  // if it was asked for

  friend bool operator==(const Entry&, const Entry&) = default;
};

// One change of an entry.
struct Change {
  enum class Kind : std::uint8_t { put, erase, expire };

  Kind kind = Kind::put;
  Key key;
  std::int64_t version = 0;  // later changes of the key have greater ones
  Value value;               // the new one; null unless it was put, and in a keys-only watch

  friend bool operator==(const Change&, const Change&) = default;
};

// Changes that were made together, e.g. by an atomic batch, and where the watch is after them.
struct ChangeBatch {
  std::vector<Change> changes;  // those of one key in their order
  std::string token;            // continues after these changes: see WatchOptions
  bool caught_up = false;       // whether the initial listing is complete with these changes
};

// What became of one item of `batch_get`.
struct ReadResult {
  std::optional<Value> value;  // nothing if the key is absent, or if there is an error
  std::optional<Metadata> metadata;
  std::optional<Error> error;
};

// What became of one item of `batch_write`.
struct WriteResult {
  std::optional<Metadata> metadata;  // nothing after a delete, and in a store without versions
  std::optional<Error> error;
};

// The result of a patch.
struct PatchResult {
  std::optional<Value> value;  // the new one, if it was asked for
  std::optional<Metadata> metadata;
};

// A shard that is missing from partial results.
struct MissingShard {
  std::string name;
  Error error;
};

// How one store, and those it is composed of, evaluated a query. Its texts are for people.
struct Explanation {
  std::string store;               // its kind, e.g. "sharded"
  std::string shard;               // the name of the shard that it is, if it is one
  std::vector<std::string> parts;  // of the query, and how much of each the store applied
  std::int64_t scanned = 0;        // how many entries it examined
  std::int64_t returned = 0;       // how many it returned
  std::string note;                // what is missing here, and why
  std::vector<Explanation> children;
};

// How the results of a query ended.
struct Summary {
  enum class Reason : std::uint8_t { exhausted, limit, partial };

  Reason reason = Reason::exhausted;
  std::int64_t entries = 0;                // how many entries were given out, over all calls
  std::vector<MissingShard> unreachable;   // with `partial`
  std::optional<Explanation> explanation;  // if it was asked for
};

// One page of a query's results.
struct Page {
  std::vector<Entry> entries;
  std::string next_page_token;      // empty on the last page
  std::optional<Entry> last_entry;  // if set, it must be sent back with the token
  std::vector<MissingShard> unreachable;
};

}  // namespace datastore
