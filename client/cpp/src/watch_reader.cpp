#include "watch_reader.h"

#include "convert.h"

namespace datastore::detail {

namespace {

void check_watched(const pb::Query& query) {
  const bool is_plain = query.orders().empty() && !query.has_limit() && query.offset() == 0 &&
                        query.field_paths().empty() && !query.has_start_after() && !query.include_metadata();
  if (is_plain) return;
  throw InvalidQueryError(Reason::invalid_query, "a watch selects by key, scope and filters only",
                          ErrorDetails{.field = "query"});
}

}  // namespace

WatchReader::WatchReader(std::shared_ptr<Connection> connection, const Query& query, const WatchOptions& options)
    : connection_(std::move(connection)), policy_(std::chrono::milliseconds::max()) {
  QueryAccess::write(query, *request_.mutable_query());
  check_watched(request_.query());
  request_.set_initial(options.initial);
  request_.set_resume_token(options.token);
  // It has no changes.
  if (const pb::WatchResponse* first = message(); first != nullptr && !first->resume_token().empty()) {
    request_.set_resume_token(first->resume_token());
  }
}

std::optional<ChangeBatch> WatchReader::next() {
  while (pb::WatchResponse* response = message()) {
    for (pb::EntryChange& change : *response->mutable_changes()) held_.push_back(read_change(change));
    // More messages of the same batch follow.
    if (response->resume_token().empty()) continue;
    request_.set_resume_token(response->resume_token());
    // A heartbeat.
    if (held_.empty() && !response->caught_up()) continue;
    return ChangeBatch{std::exchange(held_, {}), response->resume_token(), response->caught_up()};
  }
  return std::nullopt;
}

pb::WatchResponse* WatchReader::message() {
  while (!cancellation_.is_cancelled()) {
    if (!stream_) {
      held_.clear();
      stream_.emplace(*connection_, policy_, cancellation_, &pb::DatastoreService::Stub::async::Watch, request_);
    }
    if (pb::WatchResponse* response = stream_->read()) return response;
    recover();
  }
  return nullptr;
}

void WatchReader::recover() {
  const std::optional<Error> failure = stream_->failure();
  stream_.reset();
  if (cancellation_.is_cancelled()) return;
  if (!failure) {
    throw TruncatedStreamError(Reason::truncated_stream, "the changes from " + connection_->server() + " ended");
  }
  const bool is_away = failure->reason() == Reason::unavailable || failure->reason() == Reason::overloaded;
  // Without a token the watch has not begun, and is like any other call.
  std::optional<Clock::duration> wait;
  if (token().empty() || failure->details().unsent) wait = connection_->backoff(*failure, policy_);
  if (!wait && !token().empty() && is_away) wait = policy_.backoff(*failure);
  if (!wait) failure->raise();
  cancellation_.wait_for(*wait);
}

}  // namespace datastore::detail
