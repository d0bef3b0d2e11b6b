// The agent's side of the contract with the data plane (D2): tells it what is desired, gives it descriptors, brings it
// certificates, and goes on doing so over restarts of either process.
//
// Six threads: the connection (greets, watches for events, comes back with a back-off) and five keepers, one each for
// links, mesh, certificates, revocation lists and log levels, so that a long push of one never delays the others; a
// lost pod is withdrawn within half a second whatever else goes on. Everything here may be called from one other thread
// at any time; nothing waits for the data plane but stop(), which cancels what is under way.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "log/log.h"
#include "node/pod_link.h"
#include "reconcile/certificates.h"
#include "reconcile/mesh_store.h"
#include "southbound/certificate_sight.h"
#include "southbound/sight.h"

namespace culvert::southbound {

// A link the node is to have. `spec.name` is the attachment's id, or "port:" and the name of a port of culvert.yaml.
struct WantedLink {
  node::LinkSpec spec;
  std::string workload;  // "namespace/name"; of an attachment
  friend bool operator==(const WantedLink&, const WantedLink&) = default;
};

struct SignedChain {
  std::string chain_pem;  // leaf first, then intermediates
  std::string roots_pem;
};
// Has a request signed for an identity. Called in threads of this room, up to reconcile::kFetchesMax at once; returns
// soon when `stop` is asked for. The error is one sentence.
using Sign = std::function<Result<SignedChain, std::string>(const std::string& csr_pem, const std::string& identity,
                                                            const std::stop_token& stop)>;

struct Options {
  std::string control_socket, descriptor_socket;
  std::string node;   // our own NODE_NAME; a data plane of another name is worth a warning
  std::string build;  // our version
  // How often namespaces and devices are looked at. A pod's peers are to see a reset within a second of its end.
  Duration look_every = 250ms;
  Duration retry_max = 500ms;  // ceiling of the back-off towards a data plane that does not answer
  Duration certificate_retry_max = reconcile::CertificateMemory::kRetryMax;  // towards a CA that does not sign
};

// How the data plane is to write its lines; it keeps what is not named.
struct LogSettings {
  std::map<std::string, std::optional<log::Level>> levels;  // by target, "access" and "culvert"; none: off
  std::optional<bool> json;
  friend bool operator==(const LogSettings&, const LogSettings&) = default;
};

// For tests and for the line that is printed when the agent stops.
struct Progress {
  uint64_t sessions = 0;           // greetings that succeeded
  uint64_t mesh_transactions = 0;  // acknowledged
  uint64_t mesh_records_sent = 0;  // records and removals in those
  uint64_t certificates_installed = 0;
  uint64_t links_attached = 0;  // now
  uint64_t pods_started = 0, pods_stopped = 0;
  Histogram mesh_push_seconds;  // from taking changes up to the word that they are in force
};

class Southbound {
 public:
  // `mesh`, `links`, `log` and what `sign` uses outlive it. An empty `sign`: there is no CA, and no certificates are
  // asked for. Until the mesh is known the data plane keeps what it has.
  Southbound(Options options, reconcile::MeshStore& mesh, node::Links& links, Sign sign, log::Log& log);
  ~Southbound();

  void start();
  // Ends every thread. Links, attachments and certificates stay as they are.
  void stop();

  // Links that are not named any more are removed, with their devices.
  void set_links(std::vector<WantedLink> links);

  // In force in this data plane and in those that come after it.
  void set_log(LogSettings settings);
  // The bytes of each file of revocation lists (reference 16); a set that cannot be read is told, and the one before
  // stays in force.
  void set_crl(std::vector<std::string> files);

  // Lives as long as this does; after stop() every call fails.
  Sight& sight();

  Progress progress() const;
  // For metrics.
  CertificateSight certificates() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::southbound
