// Which certificates to ask for, to renew and to forget now: a pure function of what the data plane says it has and of
// what the mesh says it needs. Schedule as in reference 15.3: renewal at half of a certificate's life, here up to a
// twentieth of its life earlier, so that the identities of a node that started together do not stay in step.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"

namespace culvert::reconcile {

using WallClock = std::chrono::sys_time<std::chrono::milliseconds>;

// One identity as the data plane knows it.
struct CertificateStatus {
  std::string identity;
  bool valid = false;     // has a certificate in force
  bool attached = false;  // an attached workload has this identity
  WallClock not_before{}, not_after{};
  std::string serial;
};

// After failures of one identity: 1 s, then twice as long each time, each shifted by up to a fifth, at most kRetryMax;
// a certificate that is still valid is never let expire while waiting.
class CertificateRetries {
 public:
  static constexpr Duration kRetryMax = 30s;

  // `random` spreads the waits; any number.
  void failed(const std::string& identity, WallClock now, uint64_t random);
  void succeeded(const std::string& identity) { waits_.erase(identity); }
  // When the next try is allowed: `now` without failures.
  WallClock allowed(const CertificateStatus& status, WallClock now) const;

 private:
  struct Wait {
    std::chrono::milliseconds span{};
    WallClock until{};
  };
  std::map<std::string, Wait> waits_;
};

struct CertificatePlan {
  std::vector<std::string> request;  // those without a certificate first
  std::vector<std::string> forget;   // no longer an identity of this node
  std::optional<WallClock> next;     // when time alone will change the plan
};

// `meshed`: whether an identity is one of a workload that speaks HBONE; empty while no mesh is known, and then attached
// alone counts.
CertificatePlan plan(const std::vector<CertificateStatus>& known, const std::function<bool(const std::string&)>& meshed,
                     const CertificateRetries& retries, WallClock now);

// When this certificate is to be renewed: the same for the same certificate, wherever it is asked.
WallClock renewal(const CertificateStatus& status);

}  // namespace culvert::reconcile
