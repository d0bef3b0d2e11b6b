// Which certificates to ask for, to renew and to forget now, and what to warn of: a pure function of what the data
// plane says it has, of what the mesh says it needs and of what was tried before (reference 15.3).
//
// An identity is wanted when an attached workload has it and it speaks HBONE, or when it is one of this node's that is
// not attached yet (prefetch: its certificate then waits for its pod). Renewal comes at half of a certificate's life,
// here up to a twentieth of its life earlier, so that the identities of a node that started together do not stay in
// step.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/time.h"

namespace culvert::reconcile {

using WallClock = std::chrono::sys_time<std::chrono::milliseconds>;

// One identity as the data plane knows it.
struct CertificateStatus {
  std::string identity;
  bool valid = false;                   // has a certificate in force
  bool attached = false;                // an attached workload has this identity
  WallClock not_before{}, not_after{};  // of the certificate in force or of the last one; not_after 0: none ever
  std::string serial;

  bool has_expired(WallClock now) const { return not_after != WallClock{} && (!valid || not_after <= now); }
};

// What is remembered of each identity between two plans. Not thread-safe.
class CertificateMemory {
 public:
  // Waits after failures: 1 s, then twice as long each time, each shifted by up to a fifth, at most `retry_max`.
  static constexpr std::chrono::milliseconds kRetryMax = 150s;
  CertificateMemory() = default;
  explicit CertificateMemory(std::chrono::milliseconds retry_max) : retry_max_(retry_max) {}

  // `random` spreads the waits; any number.
  void failed(const std::string& identity, std::string reason, WallClock now, uint64_t random);
  void granted(const std::string& identity, WallClock now);
  // Of the last failure since the last success; empty: none.
  const std::string& reason(const std::string& identity) const;

  // When the next try is allowed: `now` without failures. A certificate that is still valid is not let expire while
  // waiting.
  WallClock allowed(const CertificateStatus& status, WallClock now) const;
  // When a certificate in force is to be renewed. One that was past its half already when it came (istiod dates short
  // ones two minutes back) is renewed at half of what was left then, and none within a second of its coming.
  WallClock renewal(const CertificateStatus& status) const;
  // When a certificate that should have been renewed long ago is worth a line: at four fifths of its life.
  WallClock late(const CertificateStatus& status) const;

  // A warning of this kind, about this certificate, is not repeated.
  enum class Stage : uint8_t { kNone, kLate, kExpired };
  void told(const std::string& identity, const std::string& serial, Stage stage);
  Stage told(const CertificateStatus& status) const;

  // Forgets all identities but these.
  void keep(const std::set<std::string>& identities);
  size_t size() const { return of_.size(); }

 private:
  struct Past {
    std::chrono::milliseconds span{};
    WallClock until{};
    std::string reason;
    std::optional<WallClock> granted_at;
    std::string told_serial;
    Stage told_stage = Stage::kNone;
  };
  const Past* find(const std::string& identity) const;
  // Where the life of a certificate begins for us.
  WallClock begin(const CertificateStatus& status) const;

  const std::chrono::milliseconds retry_max_ = kRetryMax;
  std::map<std::string, Past> of_;
};

// Reference 15.3: a workload's traffic waits; a workload will come; there is time.
enum class Urgency : uint8_t { kRealTime, kWarmup, kBackground };

struct CertificateRequest {
  std::string identity;
  Urgency urgency = Urgency::kRealTime;
  friend bool operator==(const CertificateRequest&, const CertificateRequest&) = default;
};

struct CertificateWarning {
  std::string identity, serial;
  CertificateMemory::Stage stage = CertificateMemory::Stage::kLate;
  WallClock not_after{};
  std::string reason;  // of the last failure; empty: none was tried
};

struct CertificatePlan {
  std::vector<CertificateRequest> request;  // the most urgent first; renewals by their end
  std::vector<std::string> forget;          // no longer an identity of this node
  std::vector<CertificateWarning> warnings;
  std::optional<WallClock> next;  // when time alone will change the plan
};

struct CertificateNeeds {
  // Whether an identity is one of a workload that speaks HBONE. Empty while no mesh is known: then what is attached
  // counts, and nothing is forgotten.
  std::function<bool(const std::string&)> meshed;
  std::vector<std::string> local;  // identities of this node's workloads that speak HBONE, attached or not
};

// `in_flight`: identities that are being fetched; they are neither asked for again nor forgotten meanwhile.
CertificatePlan plan(const std::vector<CertificateStatus>& known, const CertificateNeeds& needs,
                     const CertificateMemory& memory, const std::set<std::string>& in_flight, WallClock now);

// Fetches at once (reference 15.3). What can wait leaves room for what cannot, so that a CA that hangs on renewals does
// not hold up a pod.
inline constexpr size_t kFetchesMax = 8, kPatientFetchesMax = 6;

// Those of `wanted` that may begin beside the running ones, in their order.
std::vector<CertificateRequest> admitted(const std::vector<CertificateRequest>& wanted,
                                         const std::vector<Urgency>& running);

// When half of this certificate's life is over, or up to a twentieth of its life earlier: the same for the same
// certificate, wherever it is asked.
WallClock half_life(const CertificateStatus& status);

}  // namespace culvert::reconcile
