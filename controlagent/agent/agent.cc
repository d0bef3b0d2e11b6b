#include "agent/agent.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <thread>

#include "admin/effective_config.h"
#include "ca/ca.h"
#include "local/mesh_file.h"

namespace culvert::agent {
namespace {

constexpr char kPortName[] = "port:";  // control/api/attachments.proto

// Reference 16.
constexpr local::FileWatch::Timing kCrlTiming{.quiet = 2s, .patience = 10s, .look_without_event = 5s};
constexpr size_t kCrlBytesMax = 16u << 20;

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

std::set<reconcile::Source> sources_of(const config::Config& config) {
  std::set<reconcile::Source> out;
  if (has_xds(config)) out.insert(reconcile::Source::kIstiod);
  if (!config.mesh.file.empty() || out.empty()) out.insert(reconcile::Source::kFile);
  return out;
}

// What of the filter is the data plane's.
southbound::LogSettings log_settings(const log::Filter& filter) {
  southbound::LogSettings out;
  for (const char* target : {"access", "culvert"}) out.levels[target] = filter.level_of(target);
  return out;
}

std::string count(size_t n, const char* one) { return std::to_string(n) + " " + one + (n == 1 ? "" : "s"); }

}  // namespace

Agent::Agent(std::string config_path, config::Overrides overrides, config::Loaded loaded, node::Links& links,
             log::AgentLog& log, std::function<void()> quit)
    : config_path_(std::move(config_path)),
      overrides_(std::move(overrides)),
      loaded_(std::move(loaded)),
      log_(log),
      quit_(std::move(quit)),
      mesh_log_(log, "mesh"),
      southbound_log_(log, "southbound"),
      xds_log_(log, "xds"),
      ca_log_(log, "ca"),
      environment_(istiod_environment()),
      config_watch_(config_path_, monotonic_now()),
      mesh_(loaded_.config.node.name, sources_of(loaded_.config)),
      southbound_(options_of(loaded_.config), mesh_, links, signer(), southbound_log_) {
  if (!loaded_.config.mesh.file.empty()) mesh_watch_.emplace(loaded_.config.mesh.file, monotonic_now());
  if (!loaded_.config.ca.crl.empty()) crl_watch_.emplace(loaded_.config.ca.crl, monotonic_now(), kCrlTiming);
}

Agent::~Agent() { stop(); }

southbound::Sign Agent::signer() {
  const config::CaSection ca = loaded_.config.ca;
  if (has_istio_ca(loaded_.config)) {
    ca_ = std::make_unique<istioca::Client>(ca_options(loaded_.config, environment_), ca_log_);
    return [this](const std::string& csr_pem, const std::string& identity,
                  const std::stop_token& stop) -> Result<southbound::SignedChain, std::string> {
      auto chain = ca_->sign(csr_pem, identity, stop);
      if (!chain) return chain.error();
      return southbound::SignedChain{.chain_pem = std::move(chain->chain_pem),
                                     .roots_pem = std::move(chain->roots_pem)};
    };
  }
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

Result<void, std::string> Agent::start() {
  const config::Config& config = loaded_.config;
  const admin::Options faces{.admin = config.admin.listen,
                             .metrics = config.admin.metrics,
                             .readiness = config.admin.readiness,
                             .version = CULVERT_VERSION,
                             .node = config.node.name};
  if (has_xds(config)) {
    if (config.istiod.on_demand) {
      return std::string(
          "istiod.on_demand (XDS_ON_DEMAND) is not built yet, since the data plane does not wait for "
          "answers: leave it out, and the whole mesh is followed");
    }
    auto client = xds::Client::make(xds_options(config, environment_), mesh_, xds_log_);
    if (!client) return client.error();
    xds_ = std::move(*client);
  }
  auto opened = admin::Admin::start(faces, sources(), log_);
  if (!opened) return opened.error();
  admin_ = std::move(*opened);
  for (const std::string& note : loaded_.notes) log_.info(note);
  if (has_istio_ca(config)) {
    log_.info("certificates come from " + ca_->where());
  } else if (config.ca.dir.empty()) {
    log_.warn("neither istiod.address nor ca.dir is set: no certificates, and mesh traffic is refused");
  } else if (auto authority = ca::Authority::open(config.ca.dir, wall_clock()); !authority) {
    log_.error("the CA cannot be used: " + authority.error());
  }
  if (mesh_watch_) {
    read_mesh();
  } else if (!xds_) {
    log_.warn("neither mesh.file nor istiod.address is set: the mesh is empty");
    mesh_.complete(reconcile::Source::kFile);
  }
  if (crl_watch_) read_crl();
  tell_links();
  // A filter from the environment holds for the whole node; otherwise the data plane reads culvert.yaml itself.
  if (config::process_environment("RUST_LOG")) southbound_.set_log(log_settings(log_.filter()));
  southbound_.start();
  if (xds_) xds_->start();
  return {};
}

void Agent::stop() {
  if (xds_) xds_->stop();
  southbound_.stop();
  admin_.reset();
}

void Agent::drain() {
  const auto begun = southbound_.sight().drain(std::nullopt);
  if (!begun) {
    log_.warn("the data plane is not told to drain: " + begun.error());
    return;
  }
  const Instant until = monotonic_now() + loaded_.config.drain.deadline + 1s;
  while (southbound_.sight().connected() && monotonic_now() < until) std::this_thread::sleep_for(50ms);
}

std::vector<int> Agent::descriptors() const {
  std::vector<int> out;
  if (config_watch_.descriptor() >= 0) out.push_back(config_watch_.descriptor());
  for (const auto* watch : {&mesh_watch_, &crl_watch_}) {
    if (*watch && (*watch)->descriptor() >= 0) out.push_back((*watch)->descriptor());
  }
  return out;
}

Instant Agent::due() const {
  Instant due = config_watch_.due();
  for (const auto* watch : {&mesh_watch_, &crl_watch_}) {
    if (*watch) due = std::min(due, (*watch)->due());
  }
  return due;
}

void Agent::turn(Instant now) {
  if (config_watch_.poll(now)) read_config();
  if (mesh_watch_ && mesh_watch_->poll(now)) read_mesh();
  if (crl_watch_ && crl_watch_->poll(now)) read_crl();
}

void Agent::reload() {
  read_config();
  if (mesh_watch_) read_mesh();
  if (crl_watch_) read_crl();
}

void Agent::read_mesh() {
  auto file = local::load_mesh(loaded_.config.mesh.file);
  if (!file) {
    for (const std::string& problem : file.error()) mesh_log_.error(problem);
    mesh_log_.error(loaded_.config.mesh.file + " is not used, the mesh stays as it is");
    return;
  }
  for (const std::string& warning : file->warnings) mesh_log_.warn(warning);
  mesh_log_.info(loaded_.config.mesh.file + " read: " + count(file->mesh.workloads.size(), "workload") + ", " +
                 count(file->mesh.services.size(), "service") + ", " + std::to_string(file->mesh.policies.size()) +
                 (file->mesh.policies.size() == 1 ? " policy" : " policies"));
  {
    const std::lock_guard lock(shown_mutex_);
    static_mesh_ = std::make_shared<const reconcile::Mesh>(file->mesh);
  }
  mesh_.replace(reconcile::Source::kFile, std::move(file->mesh));
}

void Agent::read_crl() {
  const std::string& path = loaded_.config.ca.crl;
  std::ifstream file(path, std::ios::binary);
  std::string bytes;
  if (file) bytes.assign(std::istreambuf_iterator<char>(file), {});
  if (!file || bytes.empty() || bytes.size() > kCrlBytesMax) {
    ca_log_.error(path + ": " +
                  (!file           ? "cannot be read"
                   : bytes.empty() ? "is empty"
                                   : "is longer than 16 MiB") +
                  "; the revocation lists stay as they are");
    return;
  }
  southbound_.set_crl({std::move(bytes)});
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
  std::vector<admin::PodRow> pods;
  for (const config::Attachment& attachment : loaded_.config.attachments) {
    links.push_back(link_of(attachment));
    pods.push_back({.id = attachment.id, .workload = attachment.workload, .service_account = ""});
  }
  southbound_.set_links(std::move(links));
  const std::lock_guard lock(shown_mutex_);
  pods_ = std::move(pods);
}

admin::Sources Agent::sources() {
  return {.mesh = mesh_,
          .data_plane = southbound_.sight(),
          .static_config =
              [this] {
                const std::lock_guard lock(shown_mutex_);
                return static_mesh_;
              },
          .config = [value = admin::effective_config(loaded_.config, loaded_.effective)] { return value; },
          .pods =
              [this] {
                const std::lock_guard lock(shown_mutex_);
                return pods_;
              },
          .certificate_errors =
              [this] {
                std::map<std::string, std::string> out;
                for (const auto& one : southbound_.certificates().identities) {
                  if (!one.last_failure.empty()) out[one.identity] = one.last_failure;
                }
                return out;
              },
          .pending =
              [this] {
                std::set<std::string> out;
                if (xds_ && !xds_->ready()) out.insert("state manager");
                return out;
              },
          .counts = [this] { return counts(); },
          .filter_changed = [this](const log::Filter& filter) { southbound_.set_log(log_settings(filter)); },
          .quit = quit_};
}

admin::AgentCounts Agent::counts() const {
  admin::AgentCounts out;
  if (xds_) {
    const xds::Metrics xds = xds_->metrics();
    out.xds_terminations = {{"ConnectionError", xds.connection_error},
                            {"Error", xds.error},
                            {"Reconnect", xds.reconnect},
                            {"Complete", xds.complete}};
    for (const auto& [url, messages] : xds.messages) out.xds_messages[url] = {messages.count, messages.bytes};
    out.xds_connected = xds_->status().connected;
    out.xds_resources = {
        {"taken", xds.resources_taken}, {"removed", xds.resources_removed}, {"refused", xds.resources_refused}};
  }
  const southbound::CertificateSight certificates = southbound_.certificates();
  out.ca_requests = {{"issued", certificates.installed + certificates.data_plane_refused},
                     {"failed", certificates.ca_refused}};
  const southbound::Progress progress = southbound_.progress();
  out.sessions = progress.sessions;
  out.mesh_transactions = progress.mesh_transactions;
  out.mesh_records_sent = progress.mesh_records_sent;
  out.certificates_installed = progress.certificates_installed;
  out.proxies_started = progress.pods_started;
  out.proxies_stopped = progress.pods_stopped;
  out.mesh_push_seconds = progress.mesh_push_seconds;
  return out;
}

std::string Agent::summary() const {
  return "node " + loaded_.config.node.name + ", " + count(loaded_.config.attachments.size(), "attachment") + ", " +
         count(loaded_.config.ports.size(), "port");
}

}  // namespace culvert::agent
