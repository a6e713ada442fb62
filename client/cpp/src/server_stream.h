// One streaming call, and the ways to end it from outside.
#pragma once

#include <google/protobuf/arena.h>
#include <grpcpp/support/client_callback.h>

#include <array>
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

// A call whose responses are read one by one; the next one is received while one is looked at. Made by gRPC's
// callbacks, because with them its threads keep answering the server's pings while nobody reads. Takes one of the
// client's places for streams until it is destroyed.
template <typename Request, typename Response>
class ServerStream final : private grpc::ClientReadReactor<Response> {
 public:
  using Stub = pb::DatastoreService::Stub;
  using Method = void (Stub::async::*)(grpc::ClientContext*, const Request*, grpc::ClientReadReactor<Response>*);

  ServerStream(Connection& connection, Policy& policy, Cancellation& cancellation, Method method, Request request)
      : connection_(connection),
        policy_(policy),
        cancellation_(cancellation),
        place_(connection.stream_place(policy)),
        address_(connection.current()),
        request_(std::move(request)) {
    connection.prepare(context_, policy);
    (connection.streams(address_).async()->*method)(&context_, &request_, this);
    // Reads are begun from outside of callbacks, so the call must not be over before `end_reading`.
    this->AddHold();
    this->StartRead(messages_[0].renew());
    this->StartCall();
    cancellation_.watch(&context_);
    connection_.begun(context_);
  }
  ServerStream(const ServerStream&) = delete;
  ServerStream& operator=(const ServerStream&) = delete;
  ~ServerStream() override {
    cancellation_.watch(nullptr);
    connection_.over(context_);
    context_.TryCancel();
    end_reading();
    wait_until_done();
  }

  // Waits until there is something to read, a message or the end. Whether there was before the deadline.
  bool wait_until(Clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, deadline, [this] { return has_message_ || has_ended_; });
  }

  // The next message, which belongs to the stream, until `read` is called again. nullptr at the end, and if the call
  // failed: see `failure`.
  Response* read() {
    if (!wait_for_message()) {
      end_reading();
      return nullptr;
    }
    connection_.note_answer();
    policy_.saw_message();
    Response* message = messages_[next_].message;
    next_ = 1 - next_;
    this->StartRead(messages_[next_].renew());
    return message;
  }

  // Why the call ended; nothing if it came to its end. Only after the last `read`.
  std::optional<Error> failure() {
    wait_until_done();
    return connection_.ended(status_, address_, policy_, true);
  }

 private:
  // A message of many small parts, which are freed at once.
  struct Message {
    google::protobuf::Arena arena;
    Response* message = nullptr;

    Response* renew() {
      arena.Reset();
      return message = google::protobuf::Arena::CreateMessage<Response>(&arena);
    }
  };

  void OnReadDone(bool ok) override {
    const std::scoped_lock lock(mutex_);
    (ok ? has_message_ : has_ended_) = true;
    changed_.notify_all();
  }

  void OnDone(const grpc::Status& status) override {
    // Notified with the lock, because this may be gone as soon as it is free.
    const std::scoped_lock lock(mutex_);
    status_ = status;
    is_done_ = true;
    changed_.notify_all();
  }

  bool wait_for_message() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return has_message_ || has_ended_; });
    return std::exchange(has_message_, false);
  }

  void end_reading() {
    if (std::exchange(may_read_, false)) this->RemoveHold();
  }

  void wait_until_done() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_done_; });
  }

  Connection& connection_;
  Policy& policy_;
  Cancellation& cancellation_;
  Place place_;
  std::size_t address_;
  Request request_;
  grpc::ClientContext context_;
  std::array<Message, 2> messages_;
  std::size_t next_ = 0;  // the one that is received
  bool may_read_ = true;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool has_message_ = false;
  bool has_ended_ = false;
  bool is_done_ = false;
  grpc::Status status_;
};

}  // namespace datastore::detail
