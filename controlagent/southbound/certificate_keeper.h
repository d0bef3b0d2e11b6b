// Brings certificates for the identities that attached workloads have: asks the data plane for a request, has it
// signed, installs the chain, renews it in time, and has forgotten what is no longer local (D20: no key comes here).
#pragma once

#include <atomic>
#include <optional>
#include <set>
#include <string>

#include "base/random.h"
#include "control/api/certificates.grpc.pb.h"
#include "log/log.h"
#include "reconcile/certificates.h"
#include "southbound/keeper.h"
#include "southbound/southbound.h"

namespace culvert::southbound {

class CertificateKeeper final : public Keeper {
 public:
  CertificateKeeper(Sign sign, log::Log& log) : sign_(std::move(sign)), log_(log), random_(kernel_seed()) {}

  // Identities that speak HBONE, once a mesh is known.
  void set_meshed(std::set<std::string> identities);
  uint64_t installed() const { return installed_; }

 protected:
  Instant turn(const SessionPtr& session, Instant now) override;

 private:
  std::optional<std::vector<reconcile::CertificateStatus>> list(const Session& session, api::Certificates::Stub& stub);
  void renew(const Session& session, api::Certificates::Stub& stub, const std::string& identity);
  // The error is one sentence; "" when the data plane is away, which is told elsewhere.
  Result<api::CertificateState, std::string> fetch(const Session& session, api::Certificates::Stub& stub,
                                                   const std::string& identity);
  void forget(const Session& session, api::Certificates::Stub& stub, const std::string& identity);

  const Sign sign_;
  log::Log& log_;
  std::mutex meshed_mutex_;
  std::optional<std::set<std::string>> meshed_;

  // The keeper's thread only.
  Random random_;
  reconcile::CertificateRetries retries_;
  std::atomic<uint64_t> installed_{0};
};

}  // namespace culvert::southbound
