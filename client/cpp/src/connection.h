// The connection of one client: its channels, its places for calls, and retries. Knows calls and their failures, but
// not what messages mean. Safe for threads.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "channel.h"
#include "datastore/client.h"
#include "datastore/v1/service.grpc.pb.h"
#include "retry.h"
#include "slots.h"

namespace datastore::detail {

namespace pb = datastore::v1;

// The stubs of one address.
struct Endpoint {
  std::unique_ptr<pb::DatastoreService::Stub> calls;
  std::unique_ptr<pb::DatastoreService::Stub> streams;
};

// One place for a call, which is given back when this is destroyed.
class Place {
 public:
  Place() = default;
  explicit Place(Slots& slots) noexcept : slots_(&slots) {}
  Place(Place&& other) noexcept : slots_(std::exchange(other.slots_, nullptr)) {}
  Place& operator=(Place&& other) noexcept {
    std::swap(slots_, other.slots_);
    return *this;
  }
  ~Place() {
    if (slots_ != nullptr) slots_->release();
  }

 private:
  Slots* slots_ = nullptr;
};

class Connection {
 public:
  using Attempt = std::function<grpc::Status(pb::DatastoreService::Stub&, grpc::ClientContext&)>;
  using MayFollow = std::function<bool(const Error&)>;

  Connection(const std::vector<std::string>& addresses, const Options& options);

  [[nodiscard]] const Options& options() const noexcept { return options_; }
  // The addresses, for people.
  [[nodiscard]] const std::string& server() const noexcept { return server_; }

  // Makes a unary call, and again what may be repeated, within the deadline, which is `latest` if that is earlier.
  // Returns the error of the last attempt.
  std::optional<Error> unary(bool is_read, const Attempt& attempt, const MayFollow& may_follow = may_repeat,
                             Clock::time_point latest = Clock::time_point::max());
  // Waits for so long, or until this is closed.
  void pause(Clock::duration duration);

  // Waits for a place for a stream. Throws if there is none in time.
  Place stream_place(const Policy& policy);
  // The address that calls go to now.
  [[nodiscard]] std::size_t current() const noexcept { return current_.load(std::memory_order_acquire); }
  pb::DatastoreService::Stub& streams(std::size_t address) noexcept { return *endpoints_[address].streams; }
  // Gives a call its deadline and metadata.
  void prepare(grpc::ClientContext& context, const Policy& policy) const;
  // Calls that have begun and not ended. Closing cancels them.
  void begun(grpc::ClientContext& context);
  void over(grpc::ClientContext& context);
  // Notes how a call to an address ended. Returns the error, if it failed.
  std::optional<Error> ended(const grpc::Status& status, std::size_t address, const Policy& policy, bool is_read);
  void note_answer() { link_.up(); }
  // How long to wait before a call that ended with this error is repeated; nothing if it must not be.
  std::optional<Clock::duration> backoff(const Error& error, Policy& policy, const MayFollow& may_follow = may_repeat);

  // Ends everything that is in progress, and all that waits.
  void close() noexcept;

 private:
  [[nodiscard]] bool is_closed();
  [[nodiscard]] Error closed_error(bool was_unsent) const;
  std::optional<Error> refusal(Slots::Turn turn, const Policy& policy, bool is_stream) const;

  Options options_;
  std::string server_;
  bool tls_ = false;
  std::vector<Endpoint> endpoints_;
  std::atomic<std::size_t> current_ = 0;
  Slots calls_;
  Slots streams_;
  Link link_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closed_ = false;
  std::set<grpc::ClientContext*> in_progress_;
};

}  // namespace datastore::detail
