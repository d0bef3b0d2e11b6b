// The agent without its process: what files and istiod say becomes what the data plane is told, and follows them; the
// tools of a mesh see it at its faces (admin, metrics, readiness).
//
//   mesh file ─┐                      ┌─▶ southbound ─▶ data plane
//   istiod xDS ┴─▶ reconcile::MeshStore ┤
//   file CA or istiod's CA ◀─ southbound └─▶ admin ─▶ istioctl, Prometheus, kubelet
//
// Not a thread: the owner's loop polls descriptors(), and calls turn() when one is readable or due() has come.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "admin/admin.h"
#include "agent/istiod_options.h"
#include "config/load.h"
#include "local/file_watch.h"
#include "log/agent_log.h"
#include "node/pod_link.h"
#include "reconcile/mesh_store.h"
#include "southbound/southbound.h"
#include "xds/client.h"

namespace culvert::agent {

class Agent {
 public:
  // `links` and `log` outlive it. `quit` is called when somebody asks for the end (/quitquitquit), from any thread.
  Agent(std::string config_path, config::Overrides overrides, config::Loaded loaded, node::Links& links,
        log::AgentLog& log, std::function<void()> quit = {});
  ~Agent();

  // Opens the faces, reads the mesh file and begins to talk to istiod and the data plane. A mesh file that is missing
  // or bad is told and waited for: until there is a good one, the data plane keeps what it has. The error is one
  // sentence: a face's address cannot be had, an option cannot be used.
  Result<void, std::string> start();
  // Leaves links, attachments and certificates as they are.
  void stop();
  // Tells the data plane to drain and waits until it has gone, at most drain.deadline and a second: the faces answer
  // meanwhile.
  void drain();

  std::vector<int> descriptors() const;
  Instant due() const;
  void turn(Instant now);
  // Reads all files now.
  void reload();

  southbound::Progress progress() const { return southbound_.progress(); }
  // "node n1, 2 attachments, 1 port": for the line printed when it is ready.
  std::string summary() const;
  // Null without one.
  const admin::Admin* faces() const { return admin_.get(); }

 private:
  void read_mesh();
  void read_config();
  void read_crl();
  void tell_links();
  southbound::Sign signer();
  admin::Sources sources();
  admin::AgentCounts counts() const;

  const std::string config_path_;
  const config::Overrides overrides_;
  config::Loaded loaded_;  // as it was at the start, but for the attachments
  log::AgentLog& log_;
  const std::function<void()> quit_;
  log::Part mesh_log_, southbound_log_, xds_log_, ca_log_;
  const IstiodEnvironment environment_;
  local::FileWatch config_watch_;
  std::optional<local::FileWatch> mesh_watch_, crl_watch_;
  reconcile::MeshStore mesh_;
  std::unique_ptr<istioca::Client> ca_;  // before southbound_, whose threads sign by it
  southbound::Southbound southbound_;
  std::unique_ptr<xds::Client> xds_;

  mutable std::mutex shown_mutex_;  // what the faces' threads read
  std::shared_ptr<const reconcile::Mesh> static_mesh_;
  std::vector<admin::PodRow> pods_;

  std::unique_ptr<admin::Admin> admin_;  // last: it asks all of the above
};

}  // namespace culvert::agent
