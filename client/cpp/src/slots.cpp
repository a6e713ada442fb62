#include "slots.h"

namespace datastore::detail {

Slots::Turn Slots::take(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  if (closed_) return Turn::closed;
  if (free_ > 0) {
    --free_;
    return Turn::taken;
  }
  if (waiting_.size() >= most_waiting_) return Turn::full;
  const auto waiter = waiting_.emplace(waiting_.end());
  const auto is_over = [&] { return waiter->has_place || closed_; };
  if (deadline == Clock::time_point::max()) {
    waiter->changed.wait(lock, is_over);
  } else {
    waiter->changed.wait_until(lock, deadline, is_over);
  }
  const bool has_place = waiter->has_place;
  waiting_.erase(waiter);
  if (has_place) return Turn::taken;
  return closed_ ? Turn::closed : Turn::late;
}

void Slots::release() {
  const std::scoped_lock lock(mutex_);
  for (Waiter& waiter : waiting_) {
    if (waiter.has_place) continue;
    waiter.has_place = true;
    // With the lock: the waiter is gone once it has woken up.
    waiter.changed.notify_one();
    return;
  }
  ++free_;
}

void Slots::close() {
  const std::scoped_lock lock(mutex_);
  closed_ = true;
  for (Waiter& waiter : waiting_) waiter.changed.notify_one();
}

}  // namespace datastore::detail
