// Clients, cursors and watches by number, and the operations on them.
#include <exception>
#include <future>
#include <memory>

#include "operations.h"

namespace driver {

using namespace datastore;

namespace {

// A query that is read bit by bit. An error comes after the entries before it.
struct Cursor {
  QueryStream stream;
  bool keys_only;
  std::exception_ptr error;

  Json next(std::int64_t count) {
    if (error) std::rethrow_exception(error);
    Json result = {{"entries", Json::array()}};
    try {
      while (count-- > 0) {
        const auto entry = stream.next();
        if (!entry) {
          result["summary"] = to_json(stream.summary());
          break;
        }
        result["entries"].push_back(to_json(*entry, !keys_only));
      }
    } catch (...) {
      if (result["entries"].empty()) throw;
      error = std::current_exception();
    }
    return result;
  }
};

class Session {
 public:
  Json connect(const Json& request) {
    Options options;
    options.tls = request.value("tls", false);
    options.ca = request.value("ca", "");
    options.cert = request.value("cert", "");
    options.key = request.value("key_file", "");
    options.token = request.value("token", "");
    options.timeout = std::chrono::milliseconds(request.value("timeout_ms", 10'000));
    options.query_timeout = std::chrono::milliseconds(request.value("query_timeout_ms", 3'600'000));
    options.retry = request.value("retry", true);
    options.retry_writes = request.value("retry_writes", false);
    clients_.emplace(++last_, Client(request.at("addresses").get<std::vector<std::string>>(), options));
    return {{"client", last_}};
  }

  Json close(const Json& request) {
    client(request).close();
    return Json::object();
  }

  Json describe(const Json& request) {
    const Description description = client(request).describe();
    Json features = Json::array();
    for (const Feature feature : description.features) features.push_back(to_string(feature));
    Json limits = Json::object();
    for (const auto& [name, limit] : description.limits) limits[name] = std::to_string(limit);
    return {{"features", features}, {"limits", limits}, {"server_version", description.server_version}};
  }

  Json get(const Json& request) {
    if (!request.value("metadata", false)) return found(client(request).get(key(request)), {});
    const auto entry = client(request).get_entry(key(request));
    return entry ? found(entry->value, entry->metadata) : Json::object();
  }

  Json put(const Json& request) {
    return found({}, client(request).put(key(request), value_of(request.at("value")), options(request)));
  }

  Json erase(const Json& request) {
    client(request).erase(key(request), condition_of(request));
    return Json::object();
  }

  Json contains(const Json& request) { return {{"contains", client(request).contains(key(request))}}; }

  Json touch(const Json& request) { return found({}, client(request).touch(key(request), options(request))); }

  Json patch(const Json& request) {
    const PatchOptions options{condition_of(request), expiry_of(request), request.value("return_value", false)};
    const PatchResult result = client(request).patch(key(request), patch_of(request), options);
    return found(result.value, result.metadata);
  }

  Json update(const Json& request) {
    const std::string field = request.at("add").at(0);
    const std::int64_t added = number(request.at("add").at(1));
    const Entry entry = client(request).update(key(request), [&](std::optional<Value> value) {
      Value changed = value ? std::move(*value) : Value(Map{});
      const std::int64_t* held = changed[field].get_if<std::int64_t>();
      changed[field] = (held == nullptr ? 0 : *held) + added;
      return changed;
    });
    return {{"value", to_json(entry.value)}};
  }

  Json batch_get(const Json& request) {
    Json results = Json::array();
    const ReadOptions options{request.value("metadata", false)};
    for (const ReadResult& result : client(request).batch_get(keys_of(request.at("keys")), options)) {
      results.push_back(result.error ? Json{{"error", to_json(*result.error)}} : found(result.value, result.metadata));
    }
    return {{"results", results}};
  }

  Json batch_write(const Json& request) {
    std::vector<Write> writes;
    for (const Json& write : request.at("writes")) writes.push_back(write_of(write));
    Client& made_by = client(request);
    const bool atomic = request.value("atomic", false);
    Json results = Json::array();
    for (const WriteResult& result : atomic ? made_by.atomic_write(writes) : made_by.batch_write(writes)) {
      results.push_back(result.error ? Json{{"error", to_json(*result.error)}} : found({}, result.metadata));
    }
    return {{"results", results}};
  }

  Json lone_gets(const Json& request) {
    std::vector<std::future<std::optional<Value>>> begun;
    for (const Key& key : keys_of(request.at("keys"))) {
      begun.push_back(std::async(std::launch::async, [&, key] { return client(request).get(key); }));
    }
    Json results = Json::array();
    for (auto& each : begun) {
      try {
        results.push_back(found(each.get(), {}));
      } catch (const Error& error) {
        results.push_back({{"error", to_json(error)}});
      }
    }
    return {{"results", results}};
  }

  Json read(const Json& request) {
    QueryStream stream = open(request);
    const bool keys_only = request.at("query").value("keys_only", false);
    Json entries = Json::array();
    for (const Entry& entry : stream) entries.push_back(to_json(entry, !keys_only));
    return {{"entries", entries}, {"summary", to_json(stream.summary())}};
  }

  Json open_query(const Json& request) {
    cursors_.emplace(++last_, Cursor{open(request), request.at("query").value("keys_only", false), {}});
    return {{"cursor", last_}};
  }

  Json next(const Json& request) { return cursors_.at(request.at("cursor")).next(request.at("count")); }

  Json leave(const Json& request) {
    if (request.contains("cursor")) cursors_.erase(request["cursor"].get<int>());
    if (request.contains("watch")) watches_.erase(request["watch"].get<int>());
    return Json::object();
  }

  Json list_entries(const Json& request) {
    PageOptions options;
    options.page_size = request.value("page_size", 100);
    options.page_token = from_hex(request.value("page_token", ""));
    if (request.contains("last_entry")) options.last_entry = entry_of(request["last_entry"]);
    options.allow_partial = request.value("allow_partial", false);
    const Page page = client(request).list_entries(query_of(request.at("query")), options);
    const bool keys_only = request.at("query").value("keys_only", false);
    Json result = {{"entries", Json::array()}, {"unreachable", names_of(page.unreachable)}};
    for (const Entry& entry : page.entries) result["entries"].push_back(to_json(entry, !keys_only));
    if (!page.next_page_token.empty()) result["next_page_token"] = to_hex(page.next_page_token);
    if (page.last_entry) result["last_entry"] = to_json(*page.last_entry);
    return result;
  }

  Json aggregate(const Json& request) {
    Grouping grouping;
    grouping.group_by = request.value("group_by", std::vector<std::string>());
    for (const Json& order : request.value("orders", Json::array()))
      grouping.orders.emplace_back(order.get<std::string>());
    if (request.contains("limit")) grouping.limit = number(request["limit"]);
    Json groups = Json::array();
    for (const Group& group : client(request).aggregate(query_of(request.at("query")),
                                                        aggregations_of(request.at("aggregations")), grouping)) {
      Json values = Json::array();
      Json results = Json::array();
      for (const Value& value : group.group) values.push_back(to_json(value));
      for (const Value& value : group.values) results.push_back(to_json(value));
      groups.push_back({{"group", values}, {"values", results}});
    }
    return {{"groups", groups}};
  }

  Json open_watch(const Json& request) {
    const WatchOptions options{request.value("initial", false), from_hex(request.value("token", ""))};
    watches_.emplace(++last_, client(request).watch(query_of(request.at("query")), options));
    return {{"watch", last_}};
  }

  Json changes(const Json& request) {
    WatchStream& watch = watches_.at(request.at("watch"));
    Json changes = Json::array();
    bool caught_up = false;
    while (changes.size() < request.at("count").get<std::size_t>()) {
      const auto batch = watch.next();
      if (!batch) break;
      for (const Change& change : batch->changes) changes.push_back(to_json(change));
      caught_up = caught_up || batch->caught_up;
    }
    return {{"changes", changes}, {"token", to_hex(watch.token())}, {"caught_up", caught_up}};
  }

  Json write(const Json& request) {
    const std::int64_t count = number(request.at("count"));
    const Bytes bytes(std::string(request.at("value_bytes").get<std::size_t>(), 'x'));
    const std::string prefix = request.at("prefix");
    std::vector<Write> writes;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::string digits = std::to_string(i);
      std::string key = prefix;
      key.append("/").append(8 - std::min<std::size_t>(8, digits.size()), '0').append(digits);
      writes.push_back(Write::put(key, bytes));
      if (writes.size() == 10'000 || i + 1 == count) {
        for (const WriteResult& result : client(request).batch_write(std::exchange(writes, {}))) {
          if (result.error) result.error->raise();
        }
      }
    }
    return Json::object();
  }

 private:
  Client& client(const Json& request) { return clients_.at(request.at("client")); }
  static Key key(const Json& request) { return request.at("key").get<std::string>(); }
  static WriteOptions options(const Json& request) { return {condition_of(request), expiry_of(request)}; }
  QueryStream open(const Json& request) {
    return client(request).query(query_of(request.at("query")),
                                 {request.value("allow_partial", false), request.value("explain", false)});
  }

  int last_ = 0;
  std::map<int, Client> clients_;
  std::map<int, Cursor> cursors_;
  std::map<int, WatchStream> watches_;
};

}  // namespace

void add_session(Operations& operations) {
  const auto session = std::make_shared<Session>();
  const auto add = [&](const char* name, Json (Session::*method)(const Json&)) {
    operations[name] = [session, method](const Json& request) { return (*session.*method)(request); };
  };
  add("connect", &Session::connect);
  add("close", &Session::close);
  add("describe", &Session::describe);
  add("get", &Session::get);
  add("put", &Session::put);
  add("delete", &Session::erase);
  add("contains", &Session::contains);
  add("touch", &Session::touch);
  add("patch", &Session::patch);
  add("update", &Session::update);
  add("batch_get", &Session::batch_get);
  add("batch_write", &Session::batch_write);
  add("lone_gets", &Session::lone_gets);
  add("read", &Session::read);
  add("open_query", &Session::open_query);
  add("next", &Session::next);
  add("leave", &Session::leave);
  add("list_entries", &Session::list_entries);
  add("aggregate", &Session::aggregate);
  add("open_watch", &Session::open_watch);
  add("changes", &Session::changes);
  add("write", &Session::write);
}

}  // namespace driver
