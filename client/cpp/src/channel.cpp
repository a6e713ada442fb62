#include "channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "datastore/error.h"
#include "utf8.h"

namespace datastore::detail {

namespace {

constexpr std::string_view default_port = "7420";
constexpr int message_bytes = 4 * 1024 * 1024;
constexpr int query_request_bytes = 3 * message_bytes;
// How far a server may send ahead of the reader of a stream: about one message while another one is read.
constexpr int lookahead_bytes = 256 * 1024;

[[noreturn]] void refuse(const std::string& why) { throw Error(Reason::config, why); }

bool is_port(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port > 0 && port < 65536;
}

bool is_host(std::string_view text) {
  const bool is_number = std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (text.starts_with('[')) return text.ends_with(']') && text.size() > 2;
  return !is_number && text.find_first_of(" \t\n/:@[]") == std::string_view::npos;
}

bool is_loopback(std::string_view address) {
  const std::string_view host = address.substr(0, address.rfind(':'));
  return host == "localhost" || host.starts_with("127.") || host == "[::1]";
}

std::string read_pem(const std::string& path, std::string_view marker) {
  std::ifstream file(path, std::ios::binary);
  if (path.empty() || !file || std::filesystem::is_directory(path)) refuse(path + ": cannot read this file");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (text.find(marker) == std::string::npos) refuse(path + ": not in PEM: it has no \"" + std::string(marker) + "\"");
  return text;
}

// The authorities that the system trusts, where gRPC would not find them.
std::string system_ca() {
  constexpr std::array<const char*, 3> files{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                             "/etc/ssl/cert.pem"};
  const auto* const found =
      std::find_if(files.begin(), files.end(), [](auto path) { return std::filesystem::exists(path); });
  return found == files.end() ? "" : *found;
}

void check_token(const std::string& token, const std::vector<Target>& targets) {
  constexpr std::string_view symbols = "-._~+/=";
  const auto is_valid = [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           symbols.find(c) != std::string_view::npos;
  };
  if (!std::all_of(token.begin(), token.end(), is_valid)) refuse("a token has only letters, digits and -._~+/=");
  for (const Target& target : targets) {
    if (!target.tls && !is_loopback(target.address)) {
      refuse("the token would be sent unencrypted to " + target.address + ": connect with tls");
    }
  }
}

}  // namespace

Target parse_target(const std::string& address, bool tls) {
  std::string_view rest = address;
  if (rest.starts_with("grpc://")) {
    rest.remove_prefix(7);
  } else if (rest.starts_with("grpcs://")) {
    rest.remove_prefix(8);
    tls = true;
  }
  if (rest.ends_with('/')) rest.remove_suffix(1);
  // The colons within the brackets of an IPv6 address are not that of a port.
  const std::size_t bracket = rest.rfind(']');
  const std::size_t colon = rest.find(':', bracket == std::string_view::npos ? 0 : bracket);
  const std::string_view host = rest.substr(0, colon);
  const std::string_view port = colon == std::string_view::npos ? default_port : rest.substr(colon + 1);
  if (!is_host(host) || !is_port(port)) {
    refuse(shown(address) + " is not the address of a server; write HOST:PORT, or grpcs://HOST:PORT for TLS, e.g." +
           " 127.0.0.1:7420");
  }
  return {std::string(host) + ":" + std::string(port), tls};
}

std::vector<Target> parse_targets(const std::vector<std::string>& addresses, const Options& options) {
  std::vector<Target> targets;
  targets.reserve(addresses.size());
  for (const std::string& address : addresses) targets.push_back(parse_target(address, options.tls));
  if (targets.empty()) refuse("there is no address to connect to; write HOST:PORT");
  const auto is_other = [&](const Target& target) { return target.tls != targets.front().tls; };
  if (std::any_of(targets.begin(), targets.end(), is_other)) refuse("all addresses must use TLS, or none of them");
  if (!options.token.empty()) check_token(options.token, targets);
  const bool has_files = !options.ca.empty() || !options.cert.empty() || !options.key.empty();
  if (has_files && !targets.front().tls) {
    refuse(targets.front().address + " is not reached over TLS and would ignore ca, cert and key: set tls");
  }
  if (options.cert.empty() != options.key.empty()) {
    refuse(options.cert + options.key + ": a certificate and its private key must be given together");
  }
  return targets;
}

std::shared_ptr<grpc::ChannelCredentials> credentials_of(const Options& options, bool tls) {
  if (!tls) return grpc::InsecureChannelCredentials();
  constexpr std::string_view certificate = "-----BEGIN CERTIFICATE-----";
  grpc::SslCredentialsOptions pem;
  const std::string ca = options.ca.empty() ? system_ca() : options.ca;
  if (!ca.empty()) pem.pem_root_certs = read_pem(ca, certificate);
  if (!options.cert.empty()) {
    pem.pem_cert_chain = read_pem(options.cert, certificate);
    pem.pem_private_key = read_pem(options.key, "PRIVATE KEY-----");
  }
  return grpc::SslCredentials(pem);
}

std::shared_ptr<grpc::Channel> open_channel(const Target& target,
                                            const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                                            bool for_streams) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(message_bytes);
  arguments.SetMaxSendMessageSize(query_request_bytes);
  // Otherwise gRPC lets a server send megabytes ahead of its reader.
  arguments.SetInt("grpc.http2.bdp_probe", 0);
  // Otherwise gRPC sends calls through the proxy in `http_proxy`, even those to this machine.
  arguments.SetInt("grpc.enable_http_proxy", 0);
  // If a connection dies silently, or its server stops responding, calls waiting on it fail after 17 s. The last of the
  // three is the actual timeout of a ping.
  arguments.SetInt("grpc.keepalive_time_ms", 12'000);
  arguments.SetInt("grpc.keepalive_timeout_ms", 5'000);
  arguments.SetInt("grpc.http2.ping_timeout_ms", 5'000);
  arguments.SetInt("grpc.http2.max_pings_without_data", 0);
  // A server that is back is found within a second.
  arguments.SetInt("grpc.initial_reconnect_backoff_ms", 100);
  arguments.SetInt("grpc.max_reconnect_backoff_ms", 1000);
  arguments.SetInt("grpc.min_reconnect_backoff_ms", 5000);
  // Otherwise the channels of a process share a connection.
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);
  // Calls are repeated here, by the rules of the protocol.
  arguments.SetInt("grpc.enable_retries", 0);
  if (for_streams) arguments.SetInt("grpc.http2.lookahead_bytes", lookahead_bytes);
  return grpc::CreateCustomChannel(target.address, credentials, arguments);
}

}  // namespace datastore::detail
