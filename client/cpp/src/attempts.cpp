#include "attempts.h"

#include <ctime>
#include <random>

namespace datastore::detail {

namespace {

constexpr std::size_t id_bytes = 16;
#ifdef CLOCK_BOOTTIME
constexpr clockid_t clock_id = CLOCK_BOOTTIME;
#else
constexpr clockid_t clock_id =
    CLOCK_MONOTONIC;  // which runs while the machine sleeps, on the systems without the other
#endif

}  // namespace

std::int64_t elapsed_us() {
  timespec now{};
  clock_gettime(clock_id, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1'000;
}

Attempt::Attempt() {
  // Reads the random numbers of the system.
  std::random_device random;
  while (request_id_.size() < id_bytes) {
    const auto bits = random();
    request_id_.append(reinterpret_cast<const char*>(&bits), sizeof bits);
  }
}

void Attempt::write(datastore::v1::Attempt& message, std::int64_t now_us) const {
  message.set_request_id(request_id_);
  message.set_age_us(first_us_ ? now_us - *first_us_ : 0);
}

}  // namespace datastore::detail
