#include "query_reader.h"

#include "convert.h"
#include "status.h"

namespace datastore::detail {

namespace {

[[noreturn]] void truncated(const std::string& why) { throw TruncatedStreamError(Reason::truncated_stream, why); }

}  // namespace

QueryReader::QueryReader(std::shared_ptr<Connection> connection, const Query& query, const QueryOptions& options)
    : connection_(std::move(connection)) {
  QueryAccess::write(query, *request_.mutable_query());
  request_.set_allow_partial(options.allow_partial);
  request_.set_explain(options.explain);
}

bool QueryReader::read(std::vector<Entry>& batch) {
  batch.clear();
  if (!policy_) policy_.emplace(connection_->options().query_timeout);
  while (!summary_) {
    if (cancellation_.is_cancelled()) return false;
    if (!stream_) begin();
    if (pb::QueryResponse* response = stream_->read()) {
      if (take(*response, batch)) return !batch.empty();
    } else {
      recover();
    }
  }
  return false;
}

void QueryReader::begin() {
  begun_at_ = request_.resume_token();
  of_call_ = 0;
  stream_.emplace(*connection_, *policy_, cancellation_, &pb::DatastoreService::Stub::async::Query, request_);
}

bool QueryReader::take(pb::QueryResponse& response, std::vector<Entry>& batch) {
  // From here on the reader has these entries, so the next call continues after them.
  request_.set_resume_token(response.resume_token());
  if (!response.needs_last_entry()) {
    request_.clear_last_entry();
  } else if (response.entries_size() > 0) {
    *request_.mutable_last_entry() = response.entries(response.entries_size() - 1);
  }
  take_entries(response, batch);
  const bool is_last = response.has_summary();
  if (is_last) end(response.summary());
  return is_last || !batch.empty();
}

void QueryReader::take_entries(pb::QueryResponse& response, std::vector<Entry>& batch) {
  batch.reserve(static_cast<std::size_t>(response.entries_size()));
  for (pb::Entry& entry : *response.mutable_entries()) batch.push_back(read_entry(entry));
  of_call_ += response.entries_size();
  entries_ += response.entries_size();
  if (response.needs_last_entry() && !batch.empty()) cut_last(request_.query(), batch.back());
}

void QueryReader::end(const pb::QuerySummary& summary) {
  if (summary.entries() != of_call_) {
    truncated(connection_->server() + " sent " + std::to_string(summary.entries()) + " entries, but " +
              std::to_string(of_call_) + " arrived");
  }
  summary_.emplace();
  summary_->entries = entries_;
  summary_->reason = summary.reason() == pb::QuerySummary::REASON_LIMIT     ? Summary::Reason::limit
                     : summary.reason() == pb::QuerySummary::REASON_PARTIAL ? Summary::Reason::partial
                                                                            : Summary::Reason::exhausted;
  for (const pb::ShardSummary& shard : summary.shards()) {
    if (shard.has_status()) summary_->unreachable.push_back({shard.shard(), error_of(shard.status())});
  }
  if (summary.has_explanation()) summary_->explanation = read_explanation(summary.explanation());
  // With the message that the summary is in.
  stream_.reset();
}

void QueryReader::recover() {
  const std::optional<Error> failure = stream_->failure();
  stream_.reset();
  if (cancellation_.is_cancelled()) return;
  if (!failure) truncated("the entries from " + connection_->server() + " ended without their summary");
  const bool is_late = failure->reason() == Reason::deadline_exceeded;
  const bool is_away = failure->reason() == Reason::unavailable || failure->reason() == Reason::overloaded;
  const std::string& token = request_.resume_token();
  std::optional<Clock::duration> wait;
  if (token.empty() || failure->details().unsent) wait = connection_->backoff(*failure, *policy_);
  // If the server's time limit ended a call that made no progress, it would end every further one, too.
  if (!wait && !token.empty() && (is_away || (is_late && token != begun_at_))) wait = policy_->backoff(*failure);
  if (!wait) failure->raise();
  cancellation_.wait_for(*wait);
}

}  // namespace datastore::detail
