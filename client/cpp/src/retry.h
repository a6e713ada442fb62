// When to repeat a failed call, and whether its server is expected back. Decides, but does not wait.
// docs/protocol.md, "Deadlines and retries".
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>

#include "datastore/error.h"

namespace datastore::detail {

using Clock = std::chrono::steady_clock;

// How long a lost server that answered before is expected back.
constexpr std::chrono::seconds resume_timeout(30);
// The delay of an error that the client itself finds safe to retry.
constexpr std::chrono::milliseconds retry_delay(100);

// Whether a call that ended with this error may be repeated unchanged: nothing was done, or it was a read.
inline bool may_repeat(const Error& error) noexcept { return error.retry_after().has_value(); }

// The deadline of one call or stream over all its attempts, and the waits between them.
class Policy {
 public:
  // `timeout` is milliseconds::max() for none. It ends at `latest` if that is earlier: for a call that is part of
  // another.
  explicit Policy(std::chrono::milliseconds timeout, Clock::time_point latest = Clock::time_point::max());

  [[nodiscard]] std::chrono::milliseconds timeout() const noexcept { return timeout_; }
  [[nodiscard]] bool is_limited() const noexcept { return deadline_ != Clock::time_point::max(); }
  [[nodiscard]] Clock::time_point deadline() const noexcept { return deadline_; }
  // The time left, always above zero, so that gRPC reports an exceeded deadline.
  [[nodiscard]] Clock::duration left() const;
  // Notes that the server has sent a message.
  void saw_message() noexcept;
  // How long to wait before the next attempt, after one ended with this error; nothing to give up.
  std::optional<Clock::duration> backoff(const Error& error);
  // Notes that one address could not be reached. Whether another one of so many is left to try, immediately.
  bool goes_on(std::size_t addresses) noexcept;

 private:
  std::chrono::milliseconds timeout_;
  Clock::time_point deadline_;
  // When the wait for the server began; nothing while messages arrive.
  std::optional<Clock::time_point> cut_at_;
  Clock::duration backoff_;
  std::size_t unreached_ = 0;
};

// Whether the server is up, judged by the outcomes of calls. One that never answered is not waited for, because its
// address may be wrong. Safe for threads.
class Link {
 public:
  // Whether to repeat calls that could not reach the server.
  [[nodiscard]] bool is_expected_back() const;
  // Notes that the server answered.
  void up();
  // Notes that a call failed in transit, and whether a connection had been made.
  void down(bool connected);

 private:
  mutable std::mutex mutex_;
  std::atomic<bool> is_up_ = false;
  bool was_up_ = false;
  std::optional<Clock::time_point> down_since_;
};

}  // namespace datastore::detail
