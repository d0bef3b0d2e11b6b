// The faces of the agent (reference 21 to 24): admin (config_dump, logging, quitquitquit), metrics and readiness, each
// an HTTP server on an address of its own.
//
// What they show is asked for when somebody asks: nothing is kept here, and with the data plane away they answer with
// what the agent knows. Everything in Sources is called from the servers' threads, several at once.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "admin/config_dump.h"
#include "admin/metrics.h"
#include "admin/value.h"
#include "base/ip_address.h"
#include "base/result.h"
#include "log/agent_log.h"
#include "reconcile/mesh_store.h"
#include "southbound/sight.h"

namespace culvert::admin {

struct Options {
  // HOST:PORT, HOST an address or "localhost"; "": that server is not started; port 0: any free one. These are
  // admin.listen, admin.metrics, admin.readiness of culvert.yaml.
  std::string admin = "127.0.0.1:15000";
  std::string metrics = "[::]:15020";
  std::string readiness = "[::]:15021";
  std::string version = "unknown";
  std::string git_revision = "unknown";
  std::string node;
};

// What is shown and done. The references outlive the Admin; a function that is empty has nothing to tell.
struct Sources {
  const reconcile::MeshStore& mesh;
  southbound::Sight& data_plane;
  // What the mesh file says, as last read; null: there is none.
  std::function<std::shared_ptr<const reconcile::Mesh>()> static_config;
  // The effective configuration, an object of camelCase keys.
  std::function<Value()> config;
  // Pods that the agent wants served, whatever the data plane says.
  std::function<std::vector<PodRow>()> pods;
  // Identities whose last certificate request failed, and why.
  std::function<std::map<std::string, std::string>()> certificate_errors;
  // The agent's own tasks that are not done (reference 21.2): "state manager", "workload proxy manager".
  std::function<std::set<std::string>()> pending;
  // What the agent itself counts.
  std::function<AgentCounts()> counts;
  // The log's filter changed: the data plane is to follow.
  std::function<void(const log::Filter&)> filter_changed;
  // Starts the end of the agent and of the node, and returns at once.
  std::function<void()> quit;
};

class Admin {
 public:
  // Binds all addresses. `log` and `sources` outlive it. The error is one sentence that names address and setting.
  static Result<std::unique_ptr<Admin>, std::string> start(const Options& options, Sources sources, log::AgentLog& log);
  virtual ~Admin() = default;  // answers under way are cut

  // As bound; unspecified and port 0 for one that is not started.
  virtual Endpoint admin_address() const = 0;
  virtual Endpoint metrics_address() const = 0;
  virtual Endpoint readiness_address() const = 0;
};

}  // namespace culvert::admin
