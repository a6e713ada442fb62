#include "connection.h"

#include <grpcpp/channel.h>

#include "status.h"

namespace datastore::detail {

namespace {

constexpr std::size_t calls_at_once = 100;
constexpr std::size_t streams_at_once = 1'000;
constexpr std::size_t waiting_calls = 10'000;

std::string joined(const std::vector<Target>& targets) {
  std::string text;
  for (const Target& target : targets) text += (text.empty() ? "" : ", ") + target.address;
  return text;
}

void check_timeout(std::chrono::milliseconds timeout, const char* name) {
  if (timeout.count() > 0) return;
  throw InvalidError(Reason::invalid, std::string(name) + " must be above 0", ErrorDetails{.field = name});
}

}  // namespace

Connection::Connection(const std::vector<std::string>& addresses, const Options& options)
    : options_(options), calls_(calls_at_once, waiting_calls), streams_(streams_at_once, waiting_calls) {
  check_timeout(options.timeout, "timeout");
  check_timeout(options.query_timeout, "query_timeout");
  if (options.retry_writes && !options.retry) {
    throw InvalidError(Reason::invalid, "retry_writes needs retry", ErrorDetails{.field = "retry_writes"});
  }
  const std::vector<Target> targets = parse_targets(addresses, options);
  server_ = joined(targets);
  tls_ = targets.front().tls;
  const auto credentials = credentials_of(options, tls_);
  for (const Target& target : targets) {
    endpoints_.push_back({pb::DatastoreService::NewStub(open_channel(target, credentials, false)),
                          pb::DatastoreService::NewStub(open_channel(target, credentials, true))});
  }
}

std::optional<Error> Connection::unary(bool is_read, const Attempt& attempt, const MayFollow& may_follow,
                                       Clock::time_point latest) {
  Policy policy(options_.timeout, latest);
  while (true) {
    std::optional<Error> failure;
    {
      const Slots::Turn turn = calls_.take(policy.deadline());
      if (turn != Slots::Turn::taken) return refusal(turn, policy, false);
      const Place place(calls_);
      const std::size_t address = current();
      grpc::ClientContext context;
      prepare(context, policy);
      begun(context);
      const grpc::Status status = attempt(*endpoints_[address].calls, context);
      over(context);
      failure = ended(status, address, policy, is_read);
    }
    if (!failure) return std::nullopt;
    const auto wait = backoff(*failure, policy, may_follow);
    if (!wait) return failure;
    pause(*wait);
  }
}

Place Connection::stream_place(const Policy& policy) {
  const Clock::time_point deadline = std::min(policy.deadline(), Clock::now() + options_.timeout);
  const Slots::Turn turn = streams_.take(deadline);
  if (turn != Slots::Turn::taken) refusal(turn, policy, true)->raise();
  return Place(streams_);
}

void Connection::prepare(grpc::ClientContext& context, const Policy& policy) const {
  if (policy.is_limited()) context.set_deadline(std::chrono::system_clock::now() + policy.left());
  if (!options_.token.empty()) context.AddMetadata("authorization", "Bearer " + options_.token);
}

void Connection::begun(grpc::ClientContext& context) {
  const std::scoped_lock lock(mutex_);
  in_progress_.insert(&context);
  if (closed_) context.TryCancel();
}

void Connection::over(grpc::ClientContext& context) {
  const std::scoped_lock lock(mutex_);
  in_progress_.erase(&context);
}

void Connection::pause(Clock::duration duration) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, duration, [this] { return closed_; });
}

std::optional<Error> Connection::ended(const grpc::Status& status, std::size_t address, const Policy& policy,
                                       bool is_read) {
  if (status.ok() || is_answer(status)) link_.up();
  if (status.ok()) return std::nullopt;
  if (status.error_code() == grpc::CANCELLED && is_closed()) return closed_error(false);
  Error error = error_of(status, {server_, tls_, policy.timeout()});
  if (is_answer(status) || error.reason() != Reason::unavailable) return error;
  link_.down(!is_unsent(status));
  // Unless another call was first to leave it.
  if (is_unsent(status)) current_.compare_exchange_strong(address, (address + 1) % endpoints_.size());
  if (link_.is_expected_back() && (is_read || is_unsent(status))) {
    ErrorDetails details = error.details();
    details.retry_after = retry_delay;
    error = Error(error.reason(), error.what(), std::move(details));
  }
  return error;
}

std::optional<Clock::duration> Connection::backoff(const Error& error, Policy& policy, const MayFollow& may_follow) {
  // The call was not sent, so this is not a repetition.
  if (error.details().unsent && policy.goes_on(endpoints_.size())) return Clock::duration::zero();
  if (!options_.retry || !may_follow(error)) return std::nullopt;
  return policy.backoff(error);
}

void Connection::close() noexcept {
  calls_.close();
  streams_.close();
  const std::scoped_lock lock(mutex_);
  closed_ = true;
  for (grpc::ClientContext* context : in_progress_) context->TryCancel();
  changed_.notify_all();
}

bool Connection::is_closed() {
  const std::scoped_lock lock(mutex_);
  return closed_;
}

Error Connection::closed_error(bool was_unsent) const {
  return {Reason::datastore_closed, "the connection to " + server_ + " was closed", ErrorDetails{.unsent = was_unsent}};
}

std::optional<Error> Connection::refusal(Slots::Turn turn, const Policy& policy, bool is_stream) const {
  if (turn == Slots::Turn::closed) return closed_error(true);
  if (turn == Slots::Turn::full || is_stream) {
    const std::string why = is_stream ? "1,000 streams to " + server_ + " are open, the limit of one client; end some"
                                      : "10,000 calls to " + server_ + " are waiting, the limit of one client";
    return Error(Reason::overloaded, why, ErrorDetails{.retry_after = retry_delay, .unsent = true});
  }
  return Error(Reason::deadline_exceeded,
               "the call was not sent to " + server_ + " within " + std::to_string(policy.timeout().count()) +
                   " ms: 100 other calls of this client were in progress",
               ErrorDetails{.unsent = true});
}

}  // namespace datastore::detail
