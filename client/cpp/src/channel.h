// How a client connects: addresses, credentials and channel options.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "datastore/client.h"

namespace grpc {
class ChannelCredentials;
class Channel;
}  // namespace grpc

namespace datastore::detail {

// A server's "HOST:PORT", and whether it is reached over TLS.
struct Target {
  std::string address;
  bool tls = false;
};

// The target of "HOST:PORT", "grpc://HOST:PORT" or "grpcs://HOST:PORT"; the port is 7420 if there is none. Throws Error
// CONFIG for anything else.
Target parse_target(const std::string& address, bool tls);
// The targets of all addresses. Throws Error CONFIG if there are none, some with TLS and others without, a token that
// is not valid or would be sent unencrypted to another machine, or files that would be ignored.
std::vector<Target> parse_targets(const std::vector<std::string>& addresses, const Options& options);

// Throws Error CONFIG for files that cannot be read, or are not what they should be.
std::shared_ptr<grpc::ChannelCredentials> credentials_of(const Options& options, bool tls);
// Connects at the first call. Streams have a connection apart from other calls, so that none waits behind unread
// results.
std::shared_ptr<grpc::Channel> open_channel(const Target& target,
                                            const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                                            bool for_streams);

}  // namespace datastore::detail
