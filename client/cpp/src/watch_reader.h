// The changes of a watch over as many calls as needed. docs/protocol.md, "Watching".
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "datastore/client.h"
#include "datastore/v1/service.pb.h"
#include "server_stream.h"

namespace datastore::detail {

class WatchReader {
 public:
  // Waits until the watch has begun.
  WatchReader(std::shared_ptr<Connection> connection, const Query& query, const WatchOptions& options);

  // Waits for the next changes; nothing if it was cancelled.
  std::optional<ChangeBatch> next();
  [[nodiscard]] const std::string& token() const noexcept { return token_; }
  void cancel() noexcept { cancellation_.cancel(); }

 private:
  using Stream = ServerStream<pb::WatchRequest, pb::WatchResponse>;

  // The next message; nullptr if it was cancelled. Continues calls that are cut off.
  pb::WatchResponse* message();
  // The batch that a message completes; nothing if more messages follow, or it was a heartbeat.
  std::optional<ChangeBatch> take(pb::WatchResponse& response);
  void recover();

  std::shared_ptr<Connection> connection_;
  pb::WatchRequest request_;
  Policy policy_;
  Cancellation cancellation_;
  std::optional<Stream> stream_;
  std::vector<Change> held_;                    // those of a batch that is not complete
  std::optional<ChangeBatch> first_;            // what came with the beginning
  std::string token_;                           // after what was given
  std::optional<Clock::time_point> begins_by_;  // until the first message has come
};

}  // namespace datastore::detail
