// One streaming call, and the ways to end it from outside.
#pragma once

#include <grpcpp/support/sync_stream.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "connection.h"

namespace datastore::detail {

// Ends the calls of a stream from any thread.
class Cancellation {
 public:
  // The call to end from now on, or nullptr. Ends it immediately if that was asked for before.
  void watch(grpc::ClientContext* context) {
    const std::scoped_lock lock(mutex_);
    context_ = context;
    if (is_cancelled_ && context_ != nullptr) context_->TryCancel();
  }
  void cancel() noexcept {
    const std::scoped_lock lock(mutex_);
    is_cancelled_ = true;
    if (context_ != nullptr) context_->TryCancel();
    changed_.notify_all();
  }
  [[nodiscard]] bool is_cancelled() const {
    const std::scoped_lock lock(mutex_);
    return is_cancelled_;
  }
  // Waits for so long, or until it is cancelled.
  void wait_for(Clock::duration duration) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, duration, [this] { return is_cancelled_; });
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool is_cancelled_ = false;
  grpc::ClientContext* context_ = nullptr;
};

// A call whose responses are read one by one. Takes one of the client's places for streams until it is destroyed.
template <typename Response>
class ServerStream {
 public:
  using Reader = std::unique_ptr<grpc::ClientReader<Response>>;

  // `begin` makes the call: (Stub&, ClientContext*) -> Reader.
  template <typename Begin>
  ServerStream(Connection& connection, Policy& policy, Cancellation& cancellation, const Begin& begin)
      : connection_(connection),
        policy_(policy),
        cancellation_(cancellation),
        place_(connection.stream_place(policy)),
        address_(connection.current()) {
    connection.prepare(context_, policy);
    reader_ = begin(connection.streams(address_), &context_);
    cancellation_.watch(&context_);
  }
  ServerStream(const ServerStream&) = delete;
  ServerStream& operator=(const ServerStream&) = delete;
  ~ServerStream() {
    cancellation_.watch(nullptr);
    if (reader_ == nullptr) return;
    context_.TryCancel();
    reader_->Finish();
  }

  // Reads the next message. False at the end, and if the call failed: see `failure`.
  bool read(Response& message) {
    if (!reader_->Read(&message)) return false;
    connection_.note_answer();
    policy_.saw_message();
    return true;
  }

  // Why the call ended; nothing if it came to its end. Only after `read` was false.
  std::optional<Error> failure() {
    const grpc::Status status = std::exchange(reader_, nullptr)->Finish();
    return connection_.ended(status, address_, policy_, true);
  }

 private:
  Connection& connection_;
  Policy& policy_;
  Cancellation& cancellation_;
  Place place_;
  std::size_t address_;
  grpc::ClientContext context_;
  Reader reader_;
};

}  // namespace datastore::detail
