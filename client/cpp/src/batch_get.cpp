#include <numeric>

#include "batch.h"
#include "convert.h"
#include "status.h"

namespace datastore::detail {

namespace {

constexpr std::size_t batch_items = 1'000;

bool did_not_fit(const std::optional<Error>& error) {
  return error && error->reason() == Reason::limit_exceeded && error->details().limit == "message_bytes";
}

ReadResult result_of(pb::BatchGetResponse::Result& message) {
  if (message.has_status()) return {{}, {}, error_of(message.status())};
  try {
    return {value_in(message), metadata_in(message), {}};
  } catch (const Error& error) {
    return {{}, {}, error};
  }
}

// Reads many keys. `asked_` are the places of those that are still to be read, in order.
class BatchReader {
 public:
  BatchReader(Connection& connection, const std::vector<Key>& keys, ReadOptions options)
      : connection_(connection), keys_(keys), options_(options), results_(keys.size()), asked_(keys.size()) {
    std::iota(asked_.begin(), asked_.end(), std::size_t{0});
  }

  std::vector<ReadResult> read() {
    Policy policy(connection_.options().timeout);
    auto latest = Clock::time_point::max();
    while (!asked_.empty()) {
      const std::size_t begun = asked_.size();
      std::vector<std::size_t> again;
      while (!asked_.empty()) read_part(again, latest);
      // Those that are asked for again share the deadline of the first.
      latest = policy.deadline();
      if (again.size() < begun) policy.saw_message();
      asked_ = std::move(again);
      if (asked_.empty()) break;
      const auto wait = connection_.backoff(*results_[asked_.front()].error, policy);
      if (!wait) break;
      connection_.pause(*wait);
    }
    return std::move(results_);
  }

 private:
  // Reads the next keys, as many as fit in a message. Adds those to be asked for once more, after a while.
  void read_part(std::vector<std::size_t>& again, Clock::time_point latest) {
    const std::size_t count = std::min(most_, asked_.size());
    pb::BatchGetRequest request;
    request.set_include_metadata(options_.metadata);
    for (std::size_t i = 0; i < count; ++i) request.add_keys()->set_text(keys_[asked_[i]].text());
    pb::BatchGetResponse response;
    std::optional<Error> failure = connection_.unary(
        true,
        [&](pb::DatastoreService::Stub& stub, grpc::ClientContext& context) {
          return stub.BatchGet(&context, request, &response);
        },
        may_repeat, latest);
    const std::int64_t maximum = failure && failure->details().limit == "batch_items" ? failure->details().maximum : 0;
    if (maximum > 0 && static_cast<std::size_t>(maximum) < count) {
      most_ = limit_ = static_cast<std::size_t>(maximum);
      return;
    }
    if (!failure && static_cast<std::size_t>(response.results_size()) != count) {
      failure =
          Error(Reason::corrupt_data, connection_.server() + " returned " + std::to_string(response.results_size()) +
                                          " results for " + std::to_string(count) + " keys");
    }
    take(response, failure, count, again);
  }

  void take(pb::BatchGetResponse& response, const std::optional<Error>& failure, std::size_t count,
            std::vector<std::size_t>& again) {
    std::size_t taken = 0;
    for (; taken < count; ++taken) {
      ReadResult& result = results_[asked_[taken]];
      result = failure ? ReadResult{{}, {}, failure} : result_of(*response.mutable_results(static_cast<int>(taken)));
      // The rest did not fit either. The first always does, unless it is an error of its own.
      if (taken > 0 && did_not_fit(result.error)) break;
      if (!failure && result.error && may_repeat(*result.error)) again.push_back(asked_[taken]);
    }
    asked_.erase(asked_.begin(), asked_.begin() + static_cast<std::ptrdiff_t>(taken));
    // Values that do not fit in an answer were read for nothing, so ask only for about as many as fit.
    most_ = std::min(2 * taken, limit_);
  }

  Connection& connection_;
  const std::vector<Key>& keys_;
  ReadOptions options_;
  std::vector<ReadResult> results_;
  std::vector<std::size_t> asked_;
  std::size_t limit_ = batch_items;
  std::size_t most_ = batch_items;
};

}  // namespace

std::vector<ReadResult> batch_get(Connection& connection, const std::vector<Key>& keys, ReadOptions options) {
  return BatchReader(connection, keys, options).read();
}

}  // namespace datastore::detail
