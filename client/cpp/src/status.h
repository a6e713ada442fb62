// Failed calls as errors of the library, in plain words. Makes no calls.
#pragma once

#include <chrono>
#include <string>

#include "datastore/error.h"
#include "google/rpc/status.pb.h"

namespace grpc {
class Status;
}

namespace datastore::detail {

// The error of a status that a server answered with, alone or for an item of a batch.
Error error_of(const google::rpc::Status& status);

// A failed call, as its error needs it.
struct FailedCall {
  std::string server;  // the addresses, for people
  bool tls = false;
  std::chrono::milliseconds timeout;
};

// The error of a call that failed. The text of an error that the server answered with is the server's; any other names
// the server. A call that was reset in transit is UNAVAILABLE, whatever gRPC calls it.
Error error_of(const grpc::Status& status, const FailedCall& call);
// Whether a call ended with a status of our server, and not of gRPC itself.
bool is_answer(const grpc::Status& status);
// Whether a call was never sent, because there was no connection: nothing was done.
bool is_unsent(const grpc::Status& status);

}  // namespace datastore::detail
