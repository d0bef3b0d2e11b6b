// Certificates from istiod: IstioCertificateService.CreateCertificate over the way that `istiod` gives (reference 15).
//
//   istioca::Client ca({.istiod = {.address = "https://istiod.istio-system.svc:15012", …}}, log);
//   auto chain = ca.sign(csr_pem, "spiffe://cluster.local/ns/demo/sa/web", stop);
//
// One call is one try: schedule and retries are the caller's (southbound). Each call reads the token anew, and the
// root: when that changed, or when the last connection failed, it begins with a new connection. All calls may be made
// from any thread, several at once over one connection.
//
// What comes back is judged here by its form and by the name it is for. Whether it belongs to the key, and is valid,
// the data plane judges, which holds the key (D20): neither a key nor a part of it comes by here.
#pragma once

#include <grpcpp/channel.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "istiod/endpoint.h"
#include "log/log.h"

namespace culvert::istioca {

struct Options {
  istiod::Options istiod = {};
  std::chrono::seconds validity{86'400};  // SECRET_TTL: what is asked for; istiod may grant less
  bool impersonate = true;                // shared mode: the identity is not the token's own
  Duration patience = 10s;                // for one call, connecting included
};

struct SignedChain {
  std::string chain_pem;  // leaf first, then intermediates
  std::string roots_pem;  // all that this identity's peers are to be judged by
};

// An answer is not taken when it is larger: no chain is, and the data plane would have to hold it.
inline constexpr int kChainElementsMax = 16;
inline constexpr size_t kChainBytesMax = 1024 * 1024;

class Client {
 public:
  // `log` outlives it.
  Client(Options options, log::Log& log) : options_(std::move(options)), istiod_(options_.istiod), log_(log) {}

  // Has the request signed for an identity. Returns at once when `stop` is asked for. The error is one sentence, with
  // gRPC's code and what to do.
  Result<SignedChain, std::string> sign(const std::string& csr_pem, const std::string& identity,
                                        const std::stop_token& stop);

  const std::string& where() const { return istiod_.where(); }

 private:
  using ChannelPtr = std::shared_ptr<grpc::Channel>;
  Result<ChannelPtr, std::string> channel();
  // The connection of a call that could not reach istiod is not used again: gRPC would wait before its next try.
  void give_up(const ChannelPtr& channel);
  std::string refused(const grpc::Status& status) const;

  const Options options_;
  const istiod::Endpoint istiod_;
  log::Log& log_;
  std::mutex mutex_;
  ChannelPtr channel_;  // null: none, or one that failed
  std::string root_;    // that it was made with
};

}  // namespace culvert::istioca
