#include <algorithm>
#include <numeric>
#include <set>

#include "attempts.h"
#include "batch.h"
#include "convert.h"
#include "status.h"

namespace datastore::detail {

namespace {

constexpr std::size_t batch_items = 1'000;
constexpr std::size_t batch_message_bytes = 3 * 1024 * 1024 + 64 * 1024;
// The most that an item takes besides its content: lengths, a condition, an expiry, an attempt.
constexpr std::size_t frame_bytes = 96;

using Places = std::vector<std::size_t>;

// One write, how it is sent, and what is known of it.
struct Item {
  const Write* write;
  pb::BatchWriteRequest::Write message;
  std::optional<Attempt> attempt;
  std::optional<Error> unknown;  // the error of the first attempt that may have been made
  WriteResult result;
};

// Sends writes and repeats those that may be. Places are of `items_`.
class BatchWriter {
 public:
  BatchWriter(Connection& connection, const std::vector<Write>& writes, bool atomic)
      : connection_(connection), atomic_(atomic), items_(writes.size()) {
    for (std::size_t i = 0; i < writes.size(); ++i) {
      Item& item = items_[i];
      item.write = &writes[i];
      if (connection.options().retry_writes) item.attempt.emplace();
      try {
        write_item(writes[i], item.message);
      } catch (const Error& error) {
        if (atomic) throw;
        item.result.error = error;
      }
    }
  }

  std::vector<WriteResult> write() {
    Places part;
    std::size_t bytes = 0;
    for (std::size_t place = 0; place < items_.size(); ++place) {
      if (items_[place].result.error) continue;
      const std::size_t size = items_[place].message.ByteSizeLong() + frame_bytes;
      if (part.size() >= most_ || (!part.empty() && bytes + size > batch_message_bytes)) {
        send_part(std::exchange(part, {}));
        bytes = 0;
      }
      part.push_back(place);
      bytes += size;
    }
    if (!part.empty()) send_part(part);
    return results();
  }

  std::vector<WriteResult> write_atomic() {
    Places all(items_.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    Policy policy(connection_.options().timeout);
    while (true) {
      if (const auto failure = send(all, policy)) failure->raise();
      // All together, or not at all.
      if (repeatable(all).size() < all.size() || all.empty() || !wait(policy, all.front())) return results();
    }
  }

 private:
  // Sends the writes of one message, and again those that may be. After one whose outcome is unknown the later parts
  // are not sent, because they could overtake it.
  void send_part(Places part) {
    Policy policy(connection_.options().timeout);
    while (!part.empty()) {
      if (stopped_) return fail(part, *stopped_);
      if (const auto failure = send(part, policy)) {
        const auto maximum = static_cast<std::size_t>(std::max<std::int64_t>(failure->details().maximum, 0));
        const bool is_too_many = failure->details().limit == "batch_items" && maximum > 0 && maximum < part.size();
        if (is_too_many) return split(part, maximum);
        fail(part, *failure);
        const Reason reason = failure->reason();
        if (reason == Reason::unavailable || reason == Reason::overloaded || reason == Reason::deadline_exceeded) {
          stopped_ = failure;
        }
        return;
      }
      part = repeatable(part);
      if (!part.empty() && !wait(policy, part.front())) return;
    }
  }

  // The server accepts fewer items in a message, and has done nothing.
  void split(const Places& part, std::size_t most) {
    most_ = most;
    for (std::size_t begin = 0; begin < part.size(); begin += most) {
      const auto first = part.begin() + static_cast<std::ptrdiff_t>(begin);
      send_part(Places(first, first + static_cast<std::ptrdiff_t>(std::min(most, part.size() - begin))));
    }
  }

  // Sends writes as one message and notes their results. Returns the error of the call, if it failed.
  std::optional<Error> send(const Places& part, const Policy& policy) {
    pb::BatchWriteRequest request;
    request.set_atomic(atomic_);
    for (const std::size_t place : part) *request.add_writes() = items_[place].message;
    pb::BatchWriteResponse response;
    std::int64_t sent_us = 0;
    const auto attempt = [&](pb::DatastoreService::Stub& stub, grpc::ClientContext& context) {
      sent_us = elapsed_us();
      for (std::size_t i = 0; i < part.size(); ++i) {
        const Item& item = items_[part[i]];
        if (item.attempt) item.attempt->write(*request.mutable_writes(static_cast<int>(i))->mutable_attempt(), sent_us);
      }
      return stub.BatchWrite(&context, request, &response);
    };
    const auto may_follow = [&](const Error& error) {
      if (may_repeat(error)) return true;
      const bool is_cut_off = error.reason() == Reason::unavailable && error.may_have_been_made();
      if (!connection_.options().retry_writes || !is_cut_off) return false;
      for (const std::size_t place : part) note_unknown(items_[place], error, sent_us);
      return true;
    };
    if (auto failure = connection_.unary(false, attempt, may_follow, policy.deadline())) return failure;
    if (static_cast<std::size_t>(response.results_size()) != part.size()) {
      return Error(Reason::corrupt_data, connection_.server() + " returned " + std::to_string(response.results_size()) +
                                             " results for " + std::to_string(part.size()) + " writes");
    }
    for (std::size_t i = 0; i < part.size(); ++i) {
      take(items_[part[i]], response.results(static_cast<int>(i)), sent_us);
    }
    return std::nullopt;
  }

  static void take(Item& item, const pb::BatchWriteResponse::Result& message, std::int64_t sent_us) {
    item.result = {metadata_in(message), {}};
    if (!message.has_status()) return;
    const Error error = error_of(message.status());
    if (error.may_have_been_made()) note_unknown(item, error, sent_us);
    item.result.error = outcome_of(error, item.unknown);
  }

  static void note_unknown(Item& item, const Error& error, std::int64_t sent_us) {
    if (!item.unknown) item.unknown = error;
    if (item.attempt) item.attempt->follow(sent_us);
  }

  void fail(const Places& part, const Error& error) {
    for (const std::size_t place : part) items_[place].result.error = outcome_of(error, items_[place].unknown);
  }

  [[nodiscard]] bool may_follow(const Error& error) const {
    return may_repeat(error) || (connection_.options().retry_writes && error.may_have_been_made());
  }

  // The writes that may be sent again after their errors, in their order. Not one to a key that a later one has written
  // since, or may have.
  [[nodiscard]] Places repeatable(const Places& part) const {
    Places again;
    std::set<Key> written;
    for (auto place = part.rbegin(); place != part.rend(); ++place) {
      const Item& item = items_[*place];
      if (!item.result.error || !may_follow(*item.result.error)) {
        written.insert(item.write->key);
      } else if (!written.contains(item.write->key)) {
        again.push_back(*place);
      }
    }
    std::reverse(again.begin(), again.end());
    return again;
  }

  bool wait(Policy& policy, std::size_t place) {
    const auto wait =
        connection_.backoff(*items_[place].result.error, policy, [this](const Error& e) { return may_follow(e); });
    if (wait) connection_.pause(*wait);
    return wait.has_value();
  }

  std::vector<WriteResult> results() {
    std::vector<WriteResult> results;
    results.reserve(items_.size());
    for (Item& item : items_) results.push_back(std::move(item.result));
    return results;
  }

  Connection& connection_;
  bool atomic_;
  std::vector<Item> items_;
  std::size_t most_ = batch_items;
  std::optional<Error> stopped_;  // why no more is sent
};

}  // namespace

std::vector<WriteResult> batch_write(Connection& connection, const std::vector<Write>& writes) {
  return BatchWriter(connection, writes, false).write();
}

std::vector<WriteResult> atomic_write(Connection& connection, const std::vector<Write>& writes) {
  return BatchWriter(connection, writes, true).write_atomic();
}

}  // namespace datastore::detail
