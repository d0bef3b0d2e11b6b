// The threads that fetch certificates, so that a CA which answers one identity slowly does not hold up another: up to
// reconcile::kFetchesMax at once, made when they are first needed.
//
// One fetch: a request from the data plane, its signature from the CA, the chain back to the data plane. Every wait in
// it ends at once when the fetchers are told to stop, or when the session it began under has ended.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "control/api/certificates.grpc.pb.h"
#include "reconcile/certificates.h"
#include "southbound/session.h"
#include "southbound/southbound.h"

namespace culvert::southbound {

struct Fetched {
  enum class Outcome : uint8_t {
    kInstalled,
    kCaRefused,         // the CA did not sign, or was not reached
    kDataPlaneRefused,  // no request, or it did not take the chain
    kLost,              // the session ended, or we are stopping: nobody's fault, and told elsewhere
  };
  reconcile::CertificateRequest request;
  Outcome outcome = Outcome::kLost;
  std::string reason;           // one sentence, of a refusal
  api::CertificateState state;  // of what was installed
};

class CertificateFetchers {
 public:
  // `on_fetched` is called in a fetcher's thread.
  CertificateFetchers(Sign sign, std::function<void()> on_fetched)
      : sign_(std::move(sign)), on_fetched_(std::move(on_fetched)) {}
  ~CertificateFetchers() { stop(); }
  CertificateFetchers(const CertificateFetchers&) = delete;
  CertificateFetchers& operator=(const CertificateFetchers&) = delete;

  // Fewer than kFetchesMax are running.
  void begin(const SessionPtr& session, const std::stop_token& of_session, reconcile::CertificateRequest request);
  // What has been done since the last call.
  std::vector<Fetched> take();
  // Ends what is under way and waits for the threads.
  void stop();

 private:
  struct Job {
    SessionPtr session;
    std::stop_token of_session;
    reconcile::CertificateRequest request;
  };
  void run(const std::stop_token& ours);
  Fetched fetch(const Job& job, const std::stop_token& stop);

  const Sign sign_;
  const std::function<void()> on_fetched_;
  std::mutex mutex_;
  std::condition_variable_any arrived_;
  std::deque<Job> jobs_;
  std::vector<Fetched> done_;
  size_t idle_ = 0;
  std::stop_source stopping_;
  std::vector<std::thread> threads_;
};

}  // namespace culvert::southbound
