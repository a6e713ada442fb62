// A fixed number of places for calls, given in the order in which they were asked for. Safe for threads.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <list>
#include <mutex>

#include "retry.h"

namespace datastore::detail {

class Slots {
 public:
  enum class Turn { taken, closed, full, late };

  Slots(std::size_t places, std::size_t most_waiting) noexcept : free_(places), most_waiting_(most_waiting) {}

  // Waits for a place, until a deadline. If it is `taken`, the caller must release it.
  Turn take(Clock::time_point deadline);
  void release();
  // Refuses those that wait, and all later ones.
  void close();

 private:
  struct Waiter {
    std::condition_variable changed;
    bool has_place = false;
  };

  std::mutex mutex_;
  std::size_t free_;
  std::size_t most_waiting_;
  std::list<Waiter> waiting_;
  bool closed_ = false;
};

}  // namespace datastore::detail
