// The verbs: each is convert, call, convert.
#include "datastore/client.h"

#include <google/protobuf/message.h>

#include <array>

#include "attempts.h"
#include "batch.h"
#include "connection.h"
#include "convert.h"
#include "query_reader.h"
#include "status.h"
#include "watch_reader.h"

namespace datastore {

namespace {

using detail::Clock;
using Stub = pb::DatastoreService::Stub;

template <typename Request, typename Response>
using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&, Response*);

template <typename Request, typename Response>
Response read(detail::Connection& connection, Method<Request, Response> method, const Request& request,
              Clock::time_point latest = Clock::time_point::max()) {
  Response response;
  const auto failure = connection.unary(
      true, [&](Stub& stub, grpc::ClientContext& context) { return (stub.*method)(&context, request, &response); },
      detail::may_repeat, latest);
  if (failure) failure->raise();
  return response;
}

// A write is sent again if that is safe, and with `retry_writes` also if its outcome is unknown.
template <typename Request, typename Response>
Response write(detail::Connection& connection, Method<Request, Response> method, Request& request,
               Clock::time_point latest = Clock::time_point::max()) {
  Response response;
  std::optional<detail::Attempt> attempt;
  if (connection.options().retry_writes) attempt.emplace();
  std::optional<Error> unknown;
  std::int64_t sent_us = 0;
  const auto send = [&](Stub& stub, grpc::ClientContext& context) {
    sent_us = detail::elapsed_us();
    if (attempt) attempt->write(*request.mutable_attempt(), sent_us);
    return (stub.*method)(&context, request, &response);
  };
  const auto may_follow = [&](const Error& error) {
    if (detail::may_repeat(error)) return true;
    if (!attempt || error.reason() != Reason::unavailable || !error.may_have_been_made()) return false;
    if (!unknown) unknown = error;
    attempt->follow(sent_us);
    return true;
  };
  const auto failure = connection.unary(false, send, may_follow, latest);
  if (failure) detail::outcome_of(*failure, unknown).raise();
  return response;
}

// What there is of a key; with its metadata, if that is asked for.
std::optional<Entry> entry_of(detail::Connection& connection, const Key& key, bool metadata,
                              Clock::time_point latest = Clock::time_point::max()) {
  pb::GetRequest request;
  request.mutable_key()->set_text(key.text());
  request.set_include_metadata(metadata);
  auto response = read(connection, &Stub::Get, request, latest);
  std::optional<Value> value = detail::value_in(response);
  if (!value) return std::nullopt;
  return Entry{key, std::move(*value), detail::metadata_in(response)};
}

std::optional<Metadata> put_entry(detail::Connection& connection, const Key& key, const Value& value,
                                  const WriteOptions& options, Clock::time_point latest = Clock::time_point::max()) {
  pb::PutRequest request;
  detail::write_put(key, value, *request.mutable_entry());
  detail::write_options(options.condition, options.expiry, request);
  return detail::metadata_in(write(connection, &Stub::Put, request, latest));
}

// The fields of a message of numbers, by name.
std::map<std::string, std::int64_t> numbers(const google::protobuf::Message& message) {
  std::map<std::string, std::int64_t> named;
  const auto* const descriptor = message.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const auto* const field = descriptor->field(i);
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_INT64) continue;
    named[field->name()] = message.GetReflection()->GetInt64(message, field);
  }
  return named;
}

std::string described(const pb::Store& store) {
  std::string text = store.kind();
  if (!store.description().empty()) text += " (" + store.description() + ")";
  for (int i = 0; i < store.children_size(); ++i) {
    text += (i == 0 ? " of " : ", ") + described(store.children(i));
  }
  return text;
}

}  // namespace

std::string_view to_string(Feature feature) noexcept {
  constexpr std::array<std::string_view, 4> names{"VERSIONS", "EXPIRY", "CHANGES", "ATOMIC"};
  return names[static_cast<std::size_t>(feature) - 1];
}

Client::Client(const std::vector<std::string>& addresses, const Options& options)
    : connection_(std::make_shared<detail::Connection>(addresses, options)) {}
Client::Client(const std::string& address, const Options& options)
    : Client(std::vector<std::string>{address}, options) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

std::optional<Value> Client::get(const Key& key) {
  std::optional<Entry> entry = entry_of(*connection_, key, false);
  if (!entry) return std::nullopt;
  return std::move(entry->value);
}

std::optional<Entry> Client::get_entry(const Key& key) { return entry_of(*connection_, key, true); }

bool Client::contains(const Key& key) {
  pb::ContainsRequest request;
  request.mutable_key()->set_text(key.text());
  return read(*connection_, &Stub::Contains, request).contains();
}

std::vector<ReadResult> Client::batch_get(const std::vector<Key>& keys, ReadOptions options) {
  return detail::batch_get(*connection_, keys, options);
}

std::optional<Metadata> Client::put(const Key& key, const Value& value, const WriteOptions& options) {
  return put_entry(*connection_, key, value, options);
}

void Client::erase(const Key& key, const std::optional<Condition>& condition) {
  pb::DeleteRequest request;
  request.mutable_key()->set_text(key.text());
  if (condition) detail::write_condition(*condition, *request.mutable_condition());
  write(*connection_, &Stub::Delete, request);
}

std::optional<Metadata> Client::touch(const Key& key, const WriteOptions& options) {
  pb::TouchRequest request;
  request.mutable_key()->set_text(key.text());
  detail::write_options(options.condition, options.expiry, request);
  return detail::metadata_in(write(*connection_, &Stub::Touch, request));
}

PatchResult Client::patch(const Key& key, const Patch& patch, const PatchOptions& options) {
  pb::PatchRequest request;
  detail::write_patch(key, patch, *request.mutable_patch());
  detail::write_options(options.condition, options.expiry, request);
  request.set_include_value(options.return_value);
  auto response = write(*connection_, &Stub::Patch, request);
  return {detail::value_in(response), detail::metadata_in(response)};
}

Entry Client::update(const Key& key, const std::function<Value(std::optional<Value>)>& change) {
  detail::Policy policy(connection_->options().timeout);
  while (true) {
    std::optional<Entry> entry = entry_of(*connection_, key, true, policy.deadline());
    // A store without versions has refused the call.
    if (entry && !entry->metadata) {
      throw Error(Reason::corrupt_data, connection_->server() + " sent an entry without its metadata");
    }
    WriteOptions options{entry ? Condition::version(entry->metadata->version) : Condition::absent(), {}};
    if (entry && entry->metadata->expire_time) options.expiry = Expiry::at(*entry->metadata->expire_time);
    Value changed = change(entry ? std::optional(std::move(entry->value)) : std::nullopt);
    try {
      const auto written = put_entry(*connection_, key, changed, options, policy.deadline());
      return {key, std::move(changed), written};
    } catch (const ConditionFailedError& error) {
      const auto wait = policy.backoff(error);
      if (!wait) throw;
      connection_->pause(*wait);
    }
  }
}

std::vector<WriteResult> Client::batch_write(const std::vector<Write>& writes) {
  return detail::batch_write(*connection_, writes);
}

std::vector<WriteResult> Client::atomic_write(const std::vector<Write>& writes) {
  return detail::atomic_write(*connection_, writes);
}

QueryStream Client::query(const Query& query, QueryOptions options) {
  return QueryStream(std::make_unique<detail::QueryReader>(connection_, query, options));
}

Page Client::list_entries(const Query& query, const PageOptions& options) {
  if (options.page_size < 0) {
    throw InvalidQueryError(Reason::invalid_query, "a page size must be at least 0",
                            ErrorDetails{.field = "page_size"});
  }
  pb::ListEntriesRequest request;
  QueryAccess::write(query, *request.mutable_query());
  request.set_page_size(options.page_size);
  request.set_page_token(options.page_token);
  request.set_allow_partial(options.allow_partial);
  if (options.last_entry) detail::write_entry(*options.last_entry, *request.mutable_last_entry());
  auto response = read(*connection_, &Stub::ListEntries, request);
  Page page;
  page.next_page_token = response.next_page_token();
  for (pb::Entry& entry : *response.mutable_entries()) page.entries.push_back(detail::read_entry(entry));
  if (response.needs_last_entry()) {
    page.last_entry = page.entries.empty() ? options.last_entry : std::optional(page.entries.back());
    if (!page.entries.empty()) detail::cut_last(request.query(), page.entries.back());
  }
  for (const pb::ShardSummary& shard : response.unreachable()) {
    page.unreachable.push_back({shard.shard(), detail::error_of(shard.status())});
  }
  return page;
}

std::vector<Group> Client::aggregate(const Query& query, const std::vector<Aggregation>& aggregations,
                                     const Grouping& grouping) {
  const pb::AggregateRequest request = detail::aggregate_request(query, aggregations, grouping);
  detail::Policy policy(connection_->options().query_timeout);
  detail::Cancellation cancellation;
  while (true) {
    detail::ServerStream<pb::AggregateRequest, pb::AggregateResponse> stream(*connection_, policy, cancellation,
                                                                             &Stub::async::Aggregate, request);
    std::vector<Group> groups;
    bool has_summary = false;
    while (pb::AggregateResponse* response = has_summary ? nullptr : stream.read()) {
      for (auto& group : *response->mutable_groups()) {
        groups.push_back(detail::read_group(group));
        if (groups.back().group.size() == grouping.group_by.size() &&
            groups.back().values.size() == aggregations.size()) {
          continue;
        }
        throw Error(Reason::corrupt_data, connection_->server() + " sent a group of another size");
      }
      has_summary = response->has_summary();
      if (has_summary && static_cast<std::size_t>(response->summary().groups()) == groups.size()) return groups;
    }
    const auto failure = has_summary ? std::nullopt : stream.failure();
    if (!failure) {
      throw TruncatedStreamError(Reason::truncated_stream,
                                 "the groups from " + connection_->server() + " ended without their summary");
    }
    const auto wait = connection_->backoff(*failure, policy);
    if (!wait) failure->raise();
    connection_->pause(*wait);
  }
}

WatchStream Client::watch(const Query& query, const WatchOptions& options) {
  return WatchStream(std::make_unique<detail::WatchReader>(connection_, query, options));
}

Description Client::describe() {
  const auto response = read(*connection_, &Stub::DescribeStore, pb::DescribeStoreRequest());
  Description description;
  description.server_version = response.server_version();
  description.store = described(response.store());
  description.cluster = response.cluster_name();
  for (const pb::Shard& shard : response.shards()) description.shards.push_back(shard.name());
  if (response.has_entries()) description.entries = response.entries();
  for (const int feature : response.features()) {
    const bool is_known = feature >= pb::FEATURE_VERSIONS && feature <= pb::FEATURE_ATOMIC;
    if (is_known) description.features.insert(static_cast<Feature>(feature));
  }
  description.limits = numbers(response.limits());
  return description;
}

void Client::close() noexcept { connection_->close(); }

}  // namespace datastore
