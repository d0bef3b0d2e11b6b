// The agent without its process: what is read from files becomes what the data plane is told, and follows the files.
//
// Not a thread: the owner's loop polls descriptors(), and calls turn() when one is readable or due() has come.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/load.h"
#include "local/file_watch.h"
#include "log/log.h"
#include "node/pod_link.h"
#include "southbound/southbound.h"

namespace culvert::agent {

class Agent {
 public:
  // `links` and `log` outlive it.
  Agent(std::string config_path, config::Overrides overrides, config::Loaded loaded, node::Links& links, log::Log& log);

  // Reads the mesh file and begins to talk to the data plane. A mesh file that is missing or bad is told and waited
  // for: until there is a good one, the data plane keeps what it has.
  void start();
  // Leaves links, attachments and certificates as they are.
  void stop();

  std::vector<int> descriptors() const;
  Instant due() const;
  void turn(Instant now);
  // Reads both files now.
  void reload();

  southbound::Progress progress() const { return southbound_.progress(); }
  // "node n1, 2 attachments, 1 port": for the line printed when it is ready.
  std::string summary() const;

 private:
  void read_mesh();
  void read_config();
  void tell_links();
  southbound::Sign signer() const;

  const std::string config_path_;
  const config::Overrides overrides_;
  config::Loaded loaded_;  // as it was at the start, but for the attachments
  log::Log& log_;
  local::FileWatch config_watch_;
  std::optional<local::FileWatch> mesh_watch_;
  reconcile::MeshStore mesh_;
  southbound::Southbound southbound_;
};

}  // namespace culvert::agent
