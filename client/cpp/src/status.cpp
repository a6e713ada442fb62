#include "status.h"

#include <grpcpp/support/status.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "datastore/wire.h"
#include "google/rpc/error_details.pb.h"

namespace datastore::detail {

namespace {

using Words = std::pair<std::string_view, std::string_view>;

// gRPC's connection errors, by a part of their text, in words that do not require knowledge of gRPC.
constexpr std::array<Words, 13> plain_words{{
    {"Connection refused", "connection refused"},
    {"Domain name not found", "no such host"},
    {"No route to host", "no route to that host"},
    {"Network is unreachable", "network unreachable"},
    {"http1.x", "it speaks HTTP/1, not gRPC"},
    {"Connection reset", "connection reset"},
    {"Broken pipe", "connection lost"},
    {"Socket closed", "connection lost"},
    {"ping timeout", "connection lost"},
    {"timed out before receiving SETTINGS", "it accepts connections but does not respond"},
    {"Cancelling all calls", "it was stopped"},
    {"RST_STREAM", "it ended the call"},
    {"CANCELLED", "it ended the call"},
}};
// gRPC's errors of TLS handshakes that this client ended, the general ones last.
constexpr std::array<Words, 7> refusals{{
    {"WRONG_VERSION_NUMBER", "it does not use TLS: connect without tls"},
    {"wrong version number", "it does not use TLS: connect without tls"},
    {"certificate has expired", "its certificate has expired"},
    {"certificate is not yet valid", "its certificate is not valid yet; do the clocks agree?"},
    {"unsupported certificate purpose", "its certificate is not for a server"},
    {"Hostname Verification Check failed", "its certificate is for another host"},
    {"certificate verify failed",
     "its certificate is not of an authority that is trusted here, name its file with ca;"
     " or it has expired"},
}};
constexpr std::array<std::string_view, 3> ended{"Socket closed", "Connection reset", "Broken pipe"};
constexpr std::array<std::string_view, 4> unsent{"failed to connect to all addresses", "errors resolving",
                                                 "DNS resolution failed", "empty address list"};

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

template <std::size_t N>
std::string_view words_for(const std::array<Words, N>& words, std::string_view details) {
  const auto* const found =
      std::find_if(words.begin(), words.end(), [&](const Words& w) { return has(details, w.first); });
  return found == words.end() ? std::string_view() : found->second;
}

std::string plainly(const std::string& details) {
  const std::string_view words = words_for(plain_words, details);
  return words.empty() ? details : std::string(words);
}

// Why there is no connection to a server, and what may help.
std::string unconnected(const std::string& details, const FailedCall& call) {
  std::string refused(words_for(refusals, details));
  const bool was_ended = std::any_of(ended.begin(), ended.end(), [&](auto part) { return has(details, part); });
  if (refused.empty() && was_ended) {
    refused =
        call.tls
            ? "it ended the TLS handshake; it may demand a certificate, cert and key, of an authority that it trusts"
            : "it closed the connection; if it uses TLS, connect with tls";
  }
  if (refused.empty() && call.tls && has(details, "handshake failed")) {
    refused =
        "the TLS handshake failed; its certificate may have expired or be of an authority that is not trusted here,"
        " or it does not use TLS";
  }
  if (!refused.empty()) return "cannot connect to " + call.server + " (" + refused + ")";
  return "nothing answers at " + call.server + " (" + plainly(details) + ")";
}

Reason reason_of_code(int code, bool has_retry_info) {
  switch (code) {
    case grpc::INVALID_ARGUMENT:
    case grpc::OUT_OF_RANGE:
      return Reason::invalid;
    case grpc::RESOURCE_EXHAUSTED:
      return has_retry_info ? Reason::overloaded : Reason::limit_exceeded;
    case grpc::UNAUTHENTICATED:
      return Reason::unauthenticated;
    case grpc::PERMISSION_DENIED:
      return Reason::permission_denied;
    case grpc::UNIMPLEMENTED:
      return Reason::query_not_supported;
    case grpc::DEADLINE_EXCEEDED:
      return Reason::deadline_exceeded;
    case grpc::UNAVAILABLE:
    case grpc::CANCELLED:  // how gRPC ends calls when a server stops; those that we cancel do not get here
      return Reason::unavailable;
    case grpc::DATA_LOSS:
      return Reason::corrupt_data;
    case grpc::INTERNAL:
    case grpc::UNKNOWN:
      return Reason::internal;
    default:
      return Reason::datastore;
  }
}

// The name of a code that has no class here.
std::string name_of_code(int code) {
  switch (code) {
    case grpc::NOT_FOUND:
      return "NOT_FOUND";
    case grpc::ALREADY_EXISTS:
      return "ALREADY_EXISTS";
    case grpc::FAILED_PRECONDITION:
      return "FAILED_PRECONDITION";
    case grpc::ABORTED:
      return "ABORTED";
    default:
      return "code " + std::to_string(code);
  }
}

std::int64_t number(const std::string& text) {
  std::int64_t parsed = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed);
  return error == std::errc() && end == text.data() + text.size() && parsed > 0 ? parsed : 0;
}

// The first detail of a type; nothing if there is none, or it is malformed.
template <typename Detail>
std::optional<Detail> detail_of(const google::rpc::Status& status) {
  Detail detail;
  for (const auto& packed : status.details()) {
    if (packed.Is<Detail>()) return packed.UnpackTo(&detail) ? std::optional(detail) : std::nullopt;
  }
  return std::nullopt;
}

ErrorDetails facts_of(const google::rpc::ErrorInfo& info) {
  const auto fact = [&](const char* name) {
    const auto found = info.metadata().find(name);
    return found == info.metadata().end() ? std::string() : found->second;
  };
  ErrorDetails details;
  details.shard = fact("shard");
  details.field = fact("field");
  details.path = fact("path");
  details.limit = fact("limit");
  details.maximum = number(fact("maximum"));
  details.version = number(fact("version"));
  details.index = number(fact("index"));
  details.owner = fact("owner");
  details.epoch = number(fact("epoch"));
  details.right = fact("right");
  details.incident = fact("incident");
  return details;
}

std::chrono::milliseconds delay_of(const google::rpc::RetryInfo& retry) {
  constexpr std::int64_t longest_s = 315'576'000'000;
  const std::int64_t seconds = std::clamp<std::int64_t>(retry.retry_delay().seconds(), 0, longest_s);
  const std::int64_t nanos = std::clamp(retry.retry_delay().nanos(), 0, 999'999'999);
  return std::chrono::milliseconds(seconds * 1000 + (nanos + 999'999) / 1'000'000);
}

Error with_text(const Error& error, Reason reason, const std::string& text, bool was_unsent = false) {
  ErrorDetails details = error.details();
  details.unsent = was_unsent;
  return {reason, text, std::move(details)};
}

// The error that a status states.
Error stated(const google::rpc::Status& status) {
  const auto info = detail_of<google::rpc::ErrorInfo>(status);
  const auto retry = detail_of<google::rpc::RetryInfo>(status);
  const bool is_ours = info && info->domain() == "datastore";
  const std::optional<Reason> known = is_ours ? reason_of(info->reason()) : std::nullopt;
  const Reason reason = known ? *known : reason_of_code(status.code(), retry.has_value());
  ErrorDetails details = is_ours ? facts_of(*info) : ErrorDetails{};
  if (const auto request = detail_of<google::rpc::RequestInfo>(status)) details.request_id = request->request_id();
  if (retry && (reason == Reason::unavailable || reason == Reason::overloaded)) details.retry_after = delay_of(*retry);
  std::string text = status.message();
  if (!known && reason == Reason::datastore) text = name_of_code(status.code()) + ": " + text;
  return {reason, text, std::move(details)};
}

}  // namespace

Error error_of(const google::rpc::Status& status) {
  Error error = stated(status);
  // The server's store was closed, not this client's.
  return error.reason() == Reason::datastore_closed ? with_text(error, Reason::unavailable, error.what()) : error;
}

Error error_of(const grpc::Status& status, const FailedCall& call) {
  google::rpc::Status whole;
  const bool matches = whole.ParseFromString(status.error_details()) && whole.code() == status.error_code();
  if (!matches) {
    whole.Clear();
    whole.set_code(status.error_code());
    whole.set_message(status.error_message());
  }
  Error error = error_of(whole);
  if (is_answer(status)) return error;
  const std::string& details = status.error_message();
  const bool is_reset = (error.reason() == Reason::internal || error.reason() == Reason::limit_exceeded) &&
                        (has(details, "RST_STREAM") || has(details, "Stream removed"));
  if (error.reason() == Reason::unavailable || is_reset) {
    const bool was_unsent = is_unsent(status);
    const std::string text = was_unsent ? unconnected(details, call)
                                        : "a call to " + call.server + " was cut short (" + plainly(details) + ")";
    return with_text(error, Reason::unavailable, text, was_unsent);
  }
  if (error.reason() == Reason::deadline_exceeded) {
    return with_text(
        error, error.reason(),
        "the call to " + call.server + " did not finish within " + std::to_string(call.timeout.count()) + " ms");
  }
  // What gRPC says of an answer that it could not read, too.
  if (has(details, "No message returned")) {
    return with_text(error, Reason::corrupt_data, "the answer of " + call.server + " is missing or cannot be read");
  }
  if (status.error_code() == grpc::UNIMPLEMENTED) {
    return with_text(
        error, error.reason(),
        call.server + " speaks another version of the protocol than this client's, datastore.v1 (" + details + ")");
  }
  return with_text(error, error.reason(), call.server + ": " + error.what());
}

bool is_answer(const grpc::Status& status) { return !status.error_details().empty(); }

bool is_unsent(const grpc::Status& status) {
  const std::string& text = status.error_message();
  return std::any_of(unsent.begin(), unsent.end(), [&](auto start) { return text.starts_with(start); });
}

}  // namespace datastore::detail

namespace datastore::wire {

Error decode_error(std::string_view status) {
  google::rpc::Status message;
  if (!message.ParseFromArray(status.data(), static_cast<int>(status.size()))) {
    return {Reason::internal, "the status of an error cannot be read"};
  }
  return detail::stated(message);
}

}  // namespace datastore::wire
