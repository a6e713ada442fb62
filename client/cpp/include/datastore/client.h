// The client of a datastore server, node or proxy.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "datastore/entry.h"
#include "datastore/query.h"
#include "datastore/stream.h"
#include "datastore/write.h"

namespace datastore {

namespace detail {
class Connection;
}

// How to reach a server, and how to call it.
struct Options {
  bool tls = false;       // also set by an address that begins with "grpcs://"
  std::string ca = {};    // the PEM file of the authorities to trust; by default the system's
  std::string cert = {};  // the PEM files of a certificate and its key, for a server that demands one
  std::string key = {};
  std::string token = {};  // identifies the caller; refused without TLS, unless the server is on this machine
  std::chrono::milliseconds timeout = std::chrono::seconds(10);     // of a call: all attempts and waits
  std::chrono::milliseconds query_timeout = std::chrono::hours(1);  // of a query, from its first entry to its last
  bool retry = true;                                                // whether calls are repeated when that is safe
  bool retry_writes = false;  // whether writes whose outcome is unknown are, too; each is still made only once
};

// What a read asks for.
struct ReadOptions {
  bool metadata = false;
};

// What a query asks for besides its entries.
struct QueryOptions {
  bool allow_partial = false;  // to do without shards that cannot be reached; the summary lists them
  bool explain = false;        // to say in the summary how it was evaluated
};

// Where a watch begins. By default now.
struct WatchOptions {
  bool initial = false;    // with the entries that exist, as puts
  std::string token = {};  // after the changes of a watch of the same query
};

// Which page of a query's results.
struct PageOptions {
  int page_size = 100;
  std::string page_token = {};           // of the page before; empty for the first
  std::optional<Entry> last_entry = {};  // of the page before, if it had one
  bool allow_partial = false;
};

// On what terms a patch is made.
struct PatchOptions {
  std::optional<Condition> condition = {};
  std::optional<Expiry> expiry = {};
  bool return_value = false;
};

// What the store of a server can do beyond reading, writing and querying.
enum class Feature : std::uint8_t { versions = 1, expiry, changes, atomic };

// "VERSIONS" and so on, as in DescribeStore.
std::string_view to_string(Feature feature) noexcept;

// What a server serves.
struct Description {
  std::string server_version;
  std::string store;    // what it is and what it is composed of, for people
  std::string cluster;  // empty for a single node
  std::vector<std::string> shards;
  std::optional<std::int64_t> entries;
  std::set<Feature> features;
  std::map<std::string, std::int64_t> limits;  // by the names of docs/protocol.md
};

// A connection to a server. Its methods block, and may be called by any number of threads: 100 calls run at a time, the
// others wait in order. Throws the classes of error.h. Movable. Streams outlive their client.
class Client {
 public:
  // The server at "HOST:PORT" (or "grpc://HOST:PORT", "grpcs://HOST:PORT"). Several addresses are those of equal
  // servers, e.g. proxies of one cluster: the first that answers is used, and the next when it cannot be reached.
  // Nothing is sent before the first call. Throws Error with the reason CONFIG for an address, a file or a token that
  // is not valid.
  explicit Client(const std::vector<std::string>& addresses, const Options& options = {});
  explicit Client(const std::string& address, const Options& options = {});
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();

  // The value of a key; nothing if it is absent.
  std::optional<Value> get(const Key& key);
  // The same with its key and metadata. Throws UnsupportedError if the store keeps no versions.
  std::optional<Entry> get_entry(const Key& key);
  bool contains(const Key& key);
  // Results in the order of the keys, however many there are; one that fails does not affect the others.
  std::vector<ReadResult> batch_get(const std::vector<Key>& keys, ReadOptions options = {});

  // Replaces the value of a key. Returns the metadata, if the store keeps versions. A null deletes the entry.
  std::optional<Metadata> put(const Key& key, const Value& value, const WriteOptions& options = {});
  // Deletes an entry; an absent one is deleted already.
  void erase(const Key& key, const std::optional<Condition>& condition = {});
  // Changes when an entry expires; without an expiry to never. Throws ConditionFailedError if it is absent.
  std::optional<Metadata> touch(const Key& key, const WriteOptions& options = {});
  // Changes parts of a value in one step.
  PatchResult patch(const Key& key, const Patch& patch, const PatchOptions& options = {});
  // Replaces a value by what `change` makes of it, and again of the newer one if somebody else writes meanwhile, until
  // the timeout. `change` gets nothing for an absent key, and returns null to delete. Returns the entry as written.
  Entry update(const Key& key, const std::function<Value(std::optional<Value>)>& change);
  // Makes many writes, however many there are, in messages that fit. Results in their order; one that fails does not
  // affect the others. Writes of the same key are made in their order.
  std::vector<WriteResult> batch_write(const std::vector<Write>& writes);
  // Makes all of the writes or, if one fails, none. Throws UnsupportedError if the store cannot do that, or the keys
  // are not on one shard.
  std::vector<WriteResult> atomic_write(const std::vector<Write>& writes);

  QueryStream query(const Query& query, QueryOptions options = {});
  // The same results page by page, each by one call.
  Page list_entries(const Query& query, const PageOptions& options = {});
  // The aggregations of the entries that a query selects, for each group; computed by the server.
  std::vector<Group> aggregate(const Query& query, const std::vector<Aggregation>& aggregations,
                               const Grouping& grouping = {});
  // Selects by key, scope and filters; `keys_only` leaves values out. Returns when the watch has begun.
  WatchStream watch(const Query& query, const WatchOptions& options = {});

  Description describe();

  // Ends the connection: calls and streams in progress, those that wait for their turn, and all later ones throw Error
  // with the reason DATASTORE_CLOSED. A write in progress may or may not have been made.
  void close() noexcept;

 private:
  std::shared_ptr<detail::Connection> connection_;
};

}  // namespace datastore
