#include "agent/agent.h"

#include <algorithm>
#include <map>

#include "ca/ca.h"
#include "local/mesh_file.h"

namespace culvert::agent {
namespace {

constexpr char kPortName[] = "port:";  // control/api/attachments.proto

Instant monotonic_now() { return Instant(std::chrono::steady_clock::now().time_since_epoch()); }
UnixTime wall_clock() { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

southbound::Options options_of(const config::Config& config) {
  southbound::Options options;
  options.control_socket = config.control.socket;
  options.descriptor_socket = config.control.descriptors;
  options.node = config.node.name;
  options.build = CULVERT_VERSION;
  return options;
}

southbound::WantedLink link_of(const config::Attachment& attachment) {
  return {.spec = {.name = attachment.id,
                   .netns = attachment.netns,
                   .interface = attachment.interface,
                   .mtu = attachment.mtu,
                   .pod = true,
                   .addresses = attachment.addresses,
                   .gateways = attachment.gateways},
          .workload = attachment.workload};
}

southbound::WantedLink link_of(const config::Port& port) {
  southbound::WantedLink link;
  link.spec.name = kPortName + port.name;
  link.spec.netns = port.netns;
  link.spec.interface = port.device;
  link.spec.mtu = port.mtu;
  link.spec.pod = false;
  return link;
}

// Every value that a running agent does not take in. Origins do not matter: a line may move.
std::map<std::string, std::string> fixed_values(const config::Loaded& loaded) {
  std::map<std::string, std::string> out;
  for (const config::Effective& one : loaded.effective) {
    if (!one.key.starts_with("attachments")) out[one.key] = one.value;
  }
  return out;
}

std::vector<std::string> changed_keys(const config::Loaded& before, const config::Loaded& after) {
  auto left = fixed_values(before);
  std::vector<std::string> out;
  for (const auto& [key, value] : fixed_values(after)) {
    const auto found = left.find(key);
    if (found == left.end() || found->second != value) out.push_back(key);
    if (found != left.end()) left.erase(found);
  }
  for (const auto& [key, value] : left) out.push_back(key);
  return out;
}

std::string count(size_t n, const char* one) { return std::to_string(n) + " " + one + (n == 1 ? "" : "s"); }

}  // namespace

Agent::Agent(std::string config_path, config::Overrides overrides, config::Loaded loaded, node::Links& links,
             log::Log& log)
    : config_path_(std::move(config_path)),
      overrides_(std::move(overrides)),
      loaded_(std::move(loaded)),
      log_(log),
      config_watch_(config_path_, monotonic_now()),
      mesh_(loaded_.config.node.name, {reconcile::Source::kFile}),
      southbound_(options_of(loaded_.config), mesh_, links, signer(), log) {
  if (!loaded_.config.mesh.file.empty()) mesh_watch_.emplace(loaded_.config.mesh.file, monotonic_now());
}

southbound::Sign Agent::signer() const {
  const config::CaSection ca = loaded_.config.ca;
  if (ca.dir.empty()) return {};
  // Opened for each request: a CA that was made, replaced or repaired meanwhile is used at once.
  return [ca](const std::string& csr_pem, const std::string& identity,
              const std::stop_token&) -> Result<southbound::SignedChain, std::string> {
    const UnixTime now = wall_clock();
    auto authority = ca::Authority::open(ca.dir, now);
    if (!authority) return authority.error();
    auto chain = (*authority)->sign(csr_pem, identity, ca.leaf_lifetime, now);
    if (!chain) return chain.error();
    return southbound::SignedChain{.chain_pem = chain->chain_pem, .roots_pem = chain->roots_pem};
  };
}

void Agent::start() {
  if (loaded_.config.ca.dir.empty()) {
    log_.warn("ca.dir is not set: no certificates, and mesh traffic is refused");
  } else if (auto authority = ca::Authority::open(loaded_.config.ca.dir, wall_clock()); !authority) {
    log_.error("the CA cannot be used: " + authority.error());
  }
  if (mesh_watch_) {
    read_mesh();
  } else {
    log_.warn("mesh.file is not set: the mesh is empty");
    mesh_.complete(reconcile::Source::kFile);
  }
  tell_links();
  southbound_.start();
}

void Agent::stop() { southbound_.stop(); }

std::vector<int> Agent::descriptors() const {
  std::vector<int> out;
  if (config_watch_.descriptor() >= 0) out.push_back(config_watch_.descriptor());
  if (mesh_watch_ && mesh_watch_->descriptor() >= 0) out.push_back(mesh_watch_->descriptor());
  return out;
}

Instant Agent::due() const {
  return mesh_watch_ ? std::min(config_watch_.due(), mesh_watch_->due()) : config_watch_.due();
}

void Agent::turn(Instant now) {
  if (config_watch_.poll(now)) read_config();
  if (mesh_watch_ && mesh_watch_->poll(now)) read_mesh();
}

void Agent::reload() {
  read_config();
  if (mesh_watch_) read_mesh();
}

void Agent::read_mesh() {
  auto file = local::load_mesh(loaded_.config.mesh.file);
  if (!file) {
    for (const std::string& problem : file.error()) log_.error(problem);
    log_.error(loaded_.config.mesh.file + " is not used, the mesh stays as it is");
    return;
  }
  for (const std::string& warning : file->warnings) log_.warn(warning);
  log_.info(loaded_.config.mesh.file + " read: " + count(file->mesh.workloads.size(), "workload") + ", " +
            count(file->mesh.services.size(), "service") + ", " + std::to_string(file->mesh.policies.size()) +
            (file->mesh.policies.size() == 1 ? " policy" : " policies"));
  mesh_.replace(reconcile::Source::kFile, std::move(file->mesh));
}

void Agent::read_config() {
  auto loaded = config::load(config_path_, overrides_);
  if (!loaded) {
    for (const std::string& problem : loaded.error()) log_.error(problem);
    log_.error(config_path_ + " is not used, the configuration stays as it is");
    return;
  }
  std::string keys;
  for (const std::string& key : changed_keys(loaded_, *loaded)) keys += (keys.empty() ? "" : ", ") + key;
  if (!keys.empty()) log_.warn(config_path_ + ": changes that need a restart: " + keys);
  if (loaded->config.attachments == loaded_.config.attachments) return;
  loaded_.config.attachments = std::move(loaded->config.attachments);
  log_.info(config_path_ + " read: " + count(loaded_.config.attachments.size(), "attachment"));
  tell_links();
}

void Agent::tell_links() {
  std::vector<southbound::WantedLink> links;
  for (const config::Port& port : loaded_.config.ports) {
    if (port.driver == config::Driver::kTap) links.push_back(link_of(port));
  }
  for (const config::Attachment& attachment : loaded_.config.attachments) links.push_back(link_of(attachment));
  southbound_.set_links(std::move(links));
}

std::string Agent::summary() const {
  return "node " + loaded_.config.node.name + ", " + count(loaded_.config.attachments.size(), "attachment") + ", " +
         count(loaded_.config.ports.size(), "port");
}

}  // namespace culvert::agent
