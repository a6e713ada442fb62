#include "retry.h"

#include <algorithm>
#include <random>

namespace datastore::detail {

namespace {

constexpr std::chrono::milliseconds first_backoff(50);
constexpr std::chrono::milliseconds longest_backoff(1000);

// Shortened at random by up to a half, so that many clients do not return at once.
Clock::duration randomized(Clock::duration backoff) {
  thread_local std::minstd_rand random{std::random_device{}()};
  return std::chrono::duration_cast<Clock::duration>(backoff * std::uniform_real_distribution(0.5, 1.0)(random));
}

}  // namespace

Policy::Policy(std::chrono::milliseconds timeout, Clock::time_point latest)
    : timeout_(timeout),
      deadline_(timeout == std::chrono::milliseconds::max() ? latest : std::min(latest, Clock::now() + timeout)),
      backoff_(first_backoff) {}

Clock::duration Policy::left() const {
  return std::max<Clock::duration>(deadline_ - Clock::now(), std::chrono::milliseconds(1));
}

void Policy::saw_message() noexcept {
  cut_at_.reset();
  backoff_ = first_backoff;
  unreached_ = 0;
}

std::optional<Clock::duration> Policy::backoff(const Error& error) {
  const Clock::time_point now = Clock::now();
  if (!cut_at_) cut_at_ = now;
  if (now >= *cut_at_ + resume_timeout) return std::nullopt;
  // Compared before it is converted: a server may ask for centuries.
  auto asked = error.retry_after().value_or(std::chrono::milliseconds(0));
  if (!is_limited()) asked = std::min<std::chrono::milliseconds>(asked, resume_timeout);
  if (is_limited() && asked >= std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - now)) {
    return std::nullopt;
  }
  const Clock::duration wait = randomized(backoff_) + asked;
  backoff_ = std::min<Clock::duration>(2 * backoff_, longest_backoff);
  unreached_ = 0;
  if (is_limited() && wait >= deadline_ - now) return std::nullopt;
  return wait;
}

bool Policy::goes_on(std::size_t addresses) noexcept { return ++unreached_ < addresses; }

bool Link::is_expected_back() const {
  const std::scoped_lock lock(mutex_);
  return was_up_ && (!down_since_ || Clock::now() < *down_since_ + resume_timeout);
}

void Link::up() {
  // Runs after every call.
  if (is_up_.load(std::memory_order_acquire)) return;
  const std::scoped_lock lock(mutex_);
  was_up_ = true;
  down_since_.reset();
  is_up_.store(true, std::memory_order_release);
}

void Link::down(bool connected) {
  const std::scoped_lock lock(mutex_);
  is_up_.store(false, std::memory_order_release);
  was_up_ = was_up_ || connected;
  if (!down_since_) down_since_ = Clock::now();
}

}  // namespace datastore::detail
