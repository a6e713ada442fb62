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
  token_ = options.token;
  begins_by_ = Clock::now() + connection_->options().timeout;
  if (pb::WatchResponse* response = message()) first_ = take(*response);
  begins_by_.reset();
  if (!first_) token_ = request_.resume_token();
}

std::optional<ChangeBatch> WatchReader::next() {
  std::optional<ChangeBatch> batch = std::exchange(first_, std::nullopt);
  while (!batch) {
    pb::WatchResponse* response = message();
    if (response == nullptr) return std::nullopt;
    batch = take(*response);
  }
  token_ = batch->token;
  return batch;
}

std::optional<ChangeBatch> WatchReader::take(pb::WatchResponse& response) {
  for (pb::EntryChange& change : *response.mutable_changes()) held_.push_back(read_change(change));
  if (response.resume_token().empty()) return std::nullopt;
  request_.set_resume_token(response.resume_token());
  if (held_.empty() && !response.caught_up()) {
    // A heartbeat.
    token_ = response.resume_token();
    return std::nullopt;
  }
  return ChangeBatch{std::exchange(held_, {}), response.resume_token(), response.caught_up()};
}

pb::WatchResponse* WatchReader::message() {
  while (!cancellation_.is_cancelled()) {
    if (!stream_) {
      held_.clear();
      stream_.emplace(*connection_, policy_, cancellation_, &pb::DatastoreService::Stub::async::Watch, request_);
    }
    if (begins_by_ && !stream_->wait_until(*begins_by_)) {
      stream_.reset();
      throw DeadlineExceededError(Reason::deadline_exceeded,
                                  connection_->server() + " did not begin the watch within " +
                                      std::to_string(connection_->options().timeout.count()) + " ms");
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
