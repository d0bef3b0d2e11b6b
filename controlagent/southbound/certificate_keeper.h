// Brings certificates for the identities of this node's workloads: decides by reconcile::plan() what to fetch, has up
// to eight fetched at once, installs and renews them in time, warns of those that cannot be renewed, and has forgotten
// what is no longer local (D20: no key comes here).
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "base/random.h"
#include "control/api/certificates.grpc.pb.h"
#include "log/log.h"
#include "reconcile/certificates.h"
#include "reconcile/mesh_store.h"
#include "southbound/certificate_fetchers.h"
#include "southbound/certificate_sight.h"
#include "southbound/keeper.h"
#include "southbound/southbound.h"

namespace culvert::southbound {

class CertificateKeeper final : public Keeper {
 public:
  // `mesh` outlives it: which identities speak HBONE, once it is known. Whoever changes those calls wake().
  CertificateKeeper(const reconcile::MeshStore& mesh, Sign sign, Duration retry_max, log::Log& log);

  void stop() override;
  // From any thread.
  CertificateSight sight() const;

 protected:
  Instant turn(const SessionPtr& session, Instant now) override;

 private:
  // Ends what was begun under another session.
  void follow(const SessionPtr& session);
  void take_fetched();
  std::optional<std::vector<reconcile::CertificateStatus>> list(const Session& session, api::Certificates::Stub& stub);
  void forget(const Session& session, api::Certificates::Stub& stub, const std::string& identity);
  void warn(const reconcile::CertificateWarning& warning);
  void note(const std::vector<reconcile::CertificateStatus>& known);

  const reconcile::MeshStore& mesh_;
  log::Log& log_;

  // The keeper's thread only.
  Random random_;
  reconcile::CertificateMemory memory_;
  std::map<std::string, reconcile::Urgency> in_flight_;
  std::map<std::string, std::string> told_failures_;  // by identity: the sentence of the last line
  uint64_t session_number_ = 0;
  std::stop_source session_ended_;

  mutable std::mutex sight_mutex_;
  CertificateSight sight_;

  CertificateFetchers fetchers_;  // last: its threads call wake()
};

}  // namespace culvert::southbound
