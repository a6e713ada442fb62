// The results of a query over as many calls as needed. docs/protocol.md, "Continuing".
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "datastore/client.h"
#include "datastore/v1/service.pb.h"
#include "server_stream.h"

namespace datastore::detail {

class QueryReader {
 public:
  QueryReader(std::shared_ptr<Connection> connection, const Query& query, const QueryOptions& options);

  // Replaces `batch` by the next entries, at least one. False at the end.
  bool read(std::vector<Entry>& batch);
  [[nodiscard]] const std::optional<Summary>& summary() const noexcept { return summary_; }
  void cancel() noexcept { cancellation_.cancel(); }

 private:
  using Stream = ServerStream<pb::QueryRequest, pb::QueryResponse>;

  void begin();
  // Takes what a message says; true if it has entries, or was the last.
  bool take(pb::QueryResponse& response, std::vector<Entry>& batch);
  void take_entries(pb::QueryResponse& response, std::vector<Entry>& batch);
  void end(const pb::QuerySummary& summary);
  // Waits until the query can be continued. Throws if it cannot be.
  void recover();

  std::shared_ptr<Connection> connection_;
  pb::QueryRequest request_;
  std::optional<Policy> policy_;  // from the first entry on
  Cancellation cancellation_;
  std::optional<Stream> stream_;
  std::string begun_at_;      // the token that the current call continues
  std::int64_t of_call_ = 0;  // the entries of the current call
  std::int64_t entries_ = 0;  // those of all calls
  std::optional<Summary> summary_;
};

}  // namespace datastore::detail
