#include "istiod/endpoint.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <string_view>

#include "base/ip_address.h"
#include "istiod/source.h"

namespace culvert::istiod {
namespace {

constexpr std::string_view kSystem = "SYSTEM";
constexpr std::string_view kPemMark = "-----BEGIN ";

bool is_pem(std::string_view text) { return text.find(kPemMark) != std::string_view::npos; }

int ms(Duration span) { return static_cast<int>(to_ms(span)); }

struct HostPort {
  std::string host, port, problem;
};

HostPort no_address(const std::string& text, std::string_view why) {
  return {{}, {}, "istiod's address `" + text + "` " + std::string(why) + ": give https://HOST:PORT"};
}

// The parts of https://host:port, or what is wrong with it.
HostPort split(const std::string& text) {
  std::string_view rest = text;
  if (const size_t at = rest.find("://"); at != std::string_view::npos) {
    const std::string_view scheme = rest.substr(0, at);
    // ztunnel's words, which people search for (reference 14.1).
    if (scheme != "https") return no_address(text, "has an unsupported scheme " + std::string(scheme));
    rest.remove_prefix(at + 3);
  }
  if (const size_t slash = rest.find('/'); slash != std::string_view::npos) {
    if (slash + 1 != rest.size()) return no_address(text, "has a path");
    rest.remove_suffix(1);
  }
  std::string_view host = rest, port = "443";
  if (rest.starts_with('[')) {
    const size_t end = rest.find(']');
    if (end == std::string_view::npos) return no_address(text, "has no `]`");
    host = rest.substr(1, end - 1);
    if (!IpAddress::parse(host)) return no_address(text, "has no IPv6 address in brackets");
    rest.remove_prefix(end + 1);
    if (!rest.empty() && !rest.starts_with(':')) return no_address(text, "has something behind `]`");
    if (!rest.empty()) port = rest.substr(1);
  } else if (const size_t colon = rest.find(':'); colon != std::string_view::npos) {
    host = rest.substr(0, colon);
    port = rest.substr(colon + 1);
  }
  if (host.empty()) return no_address(text, "names no host");
  if (host.find_first_of(" \t\r\n@?#%") != std::string_view::npos) return no_address(text, "names no valid host");
  const bool number = !port.empty() && port.size() <= 5 &&
                      std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!number || std::stoi(std::string(port)) < 1 || std::stoi(std::string(port)) > 65535) {
    return no_address(text, "has no port from 1 to 65535");
  }
  return {std::string(host), std::string(port), {}};
}

// RFC 9113 8.2.1; gRPC ends the process when it is handed a name or a value that it cannot send.
bool is_header_name(std::string_view name) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789-_.";
  return !name.empty() && name.find_first_not_of(kLetters) == std::string_view::npos && !name.starts_with("grpc-") &&
         name != "content-type" && name != "te" && name != "user-agent";
}
bool is_header_value(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

Error unreadable(Error::Kind kind, std::string_view what, const std::string& file, FileError why,
                 std::string_view longest, std::string_view then) {
  std::string reason;
  switch (why) {
    case FileError::kMissing:
      reason = "does not exist";
      break;
    case FileError::kUnreadable:
      reason = "cannot be read";
      break;
    case FileError::kTooLong:
      reason = "is longer than " + std::string(longest);
      break;
  }
  return {kind, std::string(what) + " " + file + " " + reason + ": " + std::string(then)};
}

}  // namespace

Endpoint::Endpoint(Options options) : options_(std::move(options)) {
  HostPort parts = split(options_.address);
  address_problem_ = std::move(parts.problem);
  if (!address_problem_.empty()) {
    where_ = options_.address;
    return;
  }
  const bool bracketed = parts.host.find(':') != std::string::npos;
  where_ = (bracketed ? "[" + parts.host + "]" : parts.host) + ":" + parts.port;
  server_name_ = options_.server_name.empty() ? parts.host : options_.server_name;
}

std::string Endpoint::root_file() const {
  return options_.root == kSystem || is_pem(options_.root) ? std::string() : options_.root;
}

Result<std::string, Error> Endpoint::root_pem() const {
  std::string pem, name = "istiod's root certificate";
  if (is_pem(options_.root)) {
    pem = options_.root;
  } else {
    const bool system = options_.root == kSystem;
    const std::string file = system ? system_root_file() : options_.root;
    if (file.empty()) {
      return Failure{Error{Error::Kind::kRoot, system ? "this machine has no trust bundle where distributions keep it: "
                                                        "set SSL_CERT_FILE, or give istiod's root as a file"
                                                      : "istiod's root certificate is not set: give a file, a PEM "
                                                        "text or SYSTEM"}};
    }
    auto text = read_file(file, kRootBytesMax);
    if (!text) {
      return Failure{unreadable(Error::Kind::kRoot, name, file, text.error(), "4 MiB",
                                "mount istiod's root certificate there (ConfigMap istio-ca-root-cert)")};
    }
    pem = std::move(*text);
    name += " " + file;
  }
  if (!holds_certificates(pem)) {
    return Failure{Error{Error::Kind::kRoot, name + " holds no whole certificate: it has to be PEM"}};
  }
  return pem;
}

Result<std::shared_ptr<grpc::Channel>, Error> Endpoint::channel() const {
  if (!address_problem_.empty()) return Failure{Error{Error::Kind::kAddress, address_problem_}};
  auto root = root_pem();
  if (!root) return Failure{root.error()};

  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = std::move(*root);
  grpc::ChannelArguments arguments;
  // Each connection is ours alone: gRPC would share it between channels, with its own waits between tries.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, ms(kConnectPatience));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, ms(kPingInterval));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, ms(kPingPatience));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Who calls decides about the next try.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // The mesh's control plane is not behind the proxy that the environment may name, and DNS holds no settings for us.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
  arguments.SetMaxSendMessageSize(kMessageBytesMax);
  if (!options_.server_name.empty()) arguments.SetSslTargetNameOverride(options_.server_name);
  return grpc::CreateCustomChannel("dns:///" + where_, grpc::SslCredentials(tls), arguments);
}

Result<void, Error> Endpoint::authorize(grpc::ClientContext& context) const {
  std::string token = options_.token;
  std::string name = "the token";
  if (!token.empty() && is_file_name(token)) {
    name += " in " + token;
    auto text = read_file(token, kTokenBytesMax);
    if (text) {
      token = std::move(*text);
    } else if (text.error() == FileError::kMissing) {
      token.clear();
    } else {
      return Failure{unreadable(Error::Kind::kHeaders, "the token file", token, text.error(), "16 KiB",
                                "mount the service account's token there (audience istio-ca)")};
    }
  }
  token = trimmed(token);
  if (!is_header_value(token)) {
    return Failure{Error{Error::Kind::kHeaders, name + " holds bytes that no header carries: it has to be one line"}};
  }
  for (const auto& [header, value] : options_.headers) {
    if (!is_header_name(header) || !is_header_value(value)) {
      return Failure{Error{Error::Kind::kHeaders, "the extra header `" + header +
                                                      "` cannot be sent: its name has to be "
                                                      "lower case letters, digits, - _ . and its value printable"}};
    }
  }
  if (!is_header_value(options_.cluster_id)) {
    return Failure{Error{Error::Kind::kHeaders, "the cluster id holds bytes that no header carries"}};
  }
  if (!token.empty()) {
    context.AddMetadata("authorization", "Bearer " + token);
    // Without a token ztunnel sends neither (reference 14.1).
    if (!options_.cluster_id.empty()) context.AddMetadata("clusterid", options_.cluster_id);
  }
  for (const auto& [header, value] : options_.headers) context.AddMetadata(header, value);
  return {};
}

std::string Endpoint::explain(const grpc::Status& status) const {
  std::string text = status.error_message();
  constexpr std::string_view kPreamble = "last error: ";
  if (const size_t at = text.find(kPreamble); at != std::string::npos) text.erase(0, at + kPreamble.size());
  if (text.starts_with("UNKNOWN: ")) text.erase(0, 9);
  if (text.empty()) text = "no reason given";
  const auto says = [&text](std::string_view words) { return text.find(words) != std::string::npos; };
  if (says("certificate verify failed")) {
    const std::string file = root_file();
    text += " (its certificate is not signed by " + (file.empty() ? "the given root" : "the root in " + file) +
            ", or not valid today)";
  } else if (says("Hostname Verification") || says("is not in peer certificate")) {
    text += " (its certificate does not name " + server_name_ + ")";
  } else if (status.error_code() == grpc::StatusCode::UNAUTHENTICATED) {
    text += options_.token.empty() ? " (no token is set)"
            : is_file_name(options_.token)
                ? " (istiod refused the token in " + options_.token + ", or the file is missing)"
                : " (istiod refused the token)";
  }
  return text;
}

}  // namespace culvert::istiod
