// Brings certificates for the identities that attached workloads have: asks the data plane for a request, has it
// signed, installs the chain, renews it in time, and has forgotten what is no longer local (D20: no key comes here).
#pragma once

#include <atomic>
#include <optional>
#include <string>

#include "base/random.h"
#include "control/api/certificates.grpc.pb.h"
#include "log/log.h"
#include "reconcile/certificates.h"
#include "reconcile/mesh_store.h"
#include "southbound/keeper.h"
#include "southbound/southbound.h"

namespace culvert::southbound {

class CertificateKeeper final : public Keeper {
 public:
  // `mesh` outlives it: which identities speak HBONE, once it is known. Whoever changes those calls wake().
  CertificateKeeper(const reconcile::MeshStore& mesh, Sign sign, log::Log& log)
      : mesh_(mesh), sign_(std::move(sign)), log_(log), random_(kernel_seed()) {}

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

  const reconcile::MeshStore& mesh_;
  const Sign sign_;
  log::Log& log_;

  // The keeper's thread only.
  Random random_;
  reconcile::CertificateRetries retries_;
  std::atomic<uint64_t> installed_{0};
};

}  // namespace culvert::southbound
