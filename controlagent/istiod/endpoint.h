// The way to istiod that the xDS client and the CA client share: where it is, whom to believe that it is it, and how we
// say who we are (reference 14.1, 15.1).
//
//   Endpoint istiod({.address = "https://istiod.istio-system.svc:15012", .root = "…/root-cert.pem", …});
//   auto channel = istiod.channel();                // reads the root anew
//   grpc::ClientContext context;
//   auto said = istiod.authorize(context);          // reads the token anew
//
// An Endpoint has no state besides its options: it may be used from any thread, and nothing is read before it is asked.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace culvert::istiod {

// Reference 14.1.
inline constexpr Duration kPingInterval = 30s, kPingPatience = 10s, kConnectPatience = 5s;
inline constexpr int kMessageBytesMax = 200 * 1024 * 1024;
// No trust bundle and no token is longer; a file that is, is something else.
inline constexpr size_t kRootBytesMax = 4 * 1024 * 1024, kTokenBytesMax = 16 * 1024;

struct Options {
  std::string address = {};      // https://host:port; the scheme may be left out, http:// is refused by channel()
  std::string root = {};         // a file, a PEM text, or SYSTEM: the machine's own trust bundle
  std::string server_name = {};  // what the certificate has to name; empty: the address's host
  std::string token = {};        // a file or the token itself; empty, or a file that does not exist: none is sent
  std::string cluster_id = {};
  std::vector<std::pair<std::string, std::string>> headers = {};  // sent with every call, names in lower case
};

struct Error {
  enum class Kind : uint8_t {
    kAddress,  // it leads nowhere: counts as a failed connection (reference 14.5)
    kRoot,     // the trust bundle cannot be used
    kHeaders,  // the token or another header cannot be sent
  };
  Kind kind;
  std::string sentence;  // what is wrong with which file or value, and what to do
};

class Endpoint {
 public:
  explicit Endpoint(Options options);

  // A channel of its own connection, lazily made: an istiod that is away shows in the first call. TLS without a client
  // certificate, ALPN h2, a PING every kPingInterval even when idle.
  Result<std::shared_ptr<grpc::Channel>, Error> channel() const;

  // Token, cluster and extra headers of one call.
  Result<void, Error> authorize(grpc::ClientContext& context) const;

  // The trust bundle as it is now: certificates in PEM. The CA client makes a new channel when it has changed.
  Result<std::string, Error> root_pem() const;
  // The file it is read from; empty when it is a text or the machine's own.
  std::string root_file() const;

  // host:port, for log lines.
  const std::string& where() const { return where_; }
  // What the certificate has to name.
  const std::string& server_name() const { return server_name_; }

  // gRPC's words for a failed call, without its preamble and with what a person has to look at.
  std::string explain(const grpc::Status& status) const;

 private:
  const Options options_;
  std::string address_problem_;  // a sentence when `address` cannot be used
  std::string where_, server_name_;
};

}  // namespace culvert::istiod
