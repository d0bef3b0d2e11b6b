#include "config/load.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

#include "config/reader.h"
#include "config/sections.h"
#include "config/ztunnel_environment.h"

namespace culvert::config {

namespace {

// Larger than any file that fits kYamlNodesMax in practice; keeps a path to a device from filling the memory.
constexpr size_t kFileBytesMax = 64u << 20;

// Reference 14.1: where istiod is when Kubernetes starts us.
constexpr const char* kIstiodInCluster = "https://istiod.istio-system.svc:15012";

// Keys that a flag or a variable can set: those of single values outside of lists.
constexpr std::string_view kSettable[] = {
    "node.name",
    "node.network",
    "node.cluster",
    "node.trust_domain",
    "control.socket",
    "control.descriptors",
    "memory.huge_pages",
    "memory.buffers_mb",
    "workers.count",
    "workers.poll",
    "mesh.file",
    "istiod.address",
    "istiod.root",
    "istiod.server_name",
    "istiod.token",
    "istiod.on_demand",
    "istiod.ca_address",
    "istiod.ca_root",
    "istiod.ca_server_name",
    "istiod.secret_ttl",
    "istiod.pod_name",
    "istiod.pod_namespace",
    "istiod.instance_ip",
    "ca.dir",
    "ca.leaf_lifetime",
    "ca.crl",
    "admin.listen",
    "admin.metrics",
    "admin.readiness",
    "drain.deadline",
    "log.level",
    "log.format",
    "limits.connections",
    "limits.memory_mb",
};

std::string culvert_variable(std::string_view key) {
  std::string out = "CULVERT_";
  for (const char c : key) out += c == '.' ? '_' : (c >= 'a' && c <= 'z') ? static_cast<char>(c - 'a' + 'A') : c;
  return out;
}

// The names built from keys live as long as the program: environment_names() hands out views.
const std::vector<std::string>& culvert_variables() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const std::string_view key : kSettable) out.push_back(culvert_variable(key));
    return out;
  }();
  return names;
}

}  // namespace

std::string_view name_of(HugePages value) {
  return value == HugePages::kAuto ? "auto" : value == HugePages::kAlways ? "always" : "never";
}
std::string_view name_of(Poll value) { return value == Poll::kAdaptive ? "adaptive" : "always"; }
std::string_view name_of(Driver value) { return value == Driver::kTap ? "tap" : "ethdev"; }
std::string_view name_of(LogLevel value) {
  switch (value) {
    case LogLevel::kError:
      return "error";
    case LogLevel::kWarn:
      return "warn";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kDebug:
      break;
  }
  return "debug";
}

std::string_view name_of(LogFormat value) { return value == LogFormat::kPlain ? "plain" : "json"; }

std::vector<EnvironmentName> environment_names() {
  std::vector<EnvironmentName> out;
  for (size_t i = 0; i < std::size(kSettable); ++i) out.push_back({culvert_variables()[i], kSettable[i]});
  // ztunnel's. ISTIO_META_CLUSTER_ID wins over CLUSTER_ID (reference 20).
  out.push_back({"NODE_NAME", "node.name"});
  out.push_back({"NETWORK", "node.network"});
  out.push_back({"ISTIO_META_CLUSTER_ID", "node.cluster"});
  out.push_back({"CLUSTER_ID", "node.cluster"});
  out.push_back({"TRUST_DOMAIN", "node.trust_domain"});
  out.push_back({"LOCAL_XDS_PATH", "mesh.file"});
  out.push_back({"XDS_ADDRESS", "istiod.address"});
  out.push_back({"XDS_ROOT_CA", "istiod.root"});
  out.push_back({"ALT_XDS_HOSTNAME", "istiod.server_name"});
  out.push_back({"AUTH_TOKEN", "istiod.token"});
  out.push_back({"XDS_ON_DEMAND", "istiod.on_demand"});
  out.push_back({"CA_ADDRESS", "istiod.ca_address"});
  out.push_back({"CA_ROOT_CA", "istiod.ca_root"});
  out.push_back({"ALT_CA_HOSTNAME", "istiod.ca_server_name"});
  out.push_back({"SECRET_TTL", "istiod.secret_ttl"});
  out.push_back({"POD_NAME", "istiod.pod_name"});
  out.push_back({"POD_NAMESPACE", "istiod.pod_namespace"});
  out.push_back({"INSTANCE_IP", "istiod.instance_ip"});
  out.push_back({"CRL_PATH", "ca.crl"});
  out.push_back({"CONNECTION_TERMINATION_DEADLINE", "drain.deadline"});
  out.push_back({"TERMINATION_GRACE_PERIOD_SECONDS", "drain.deadline"});
  out.push_back({"ZTUNNEL_WORKER_THREADS", "workers.count"});
  out.push_back({"LOG_FORMAT", "log.format"});
  return out;
}

std::optional<std::string> process_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? std::optional<std::string>(value) : std::nullopt;
}

Result<Loaded, Problems> parse(std::string_view text, const std::string& file, const Overrides& overrides) {
  Result<YamlNode, YamlProblem> tree = parse_yaml(text);
  if (!tree) {
    const YamlProblem& problem = tree.error();
    return Problems{file + (problem.line ? ":" + std::to_string(problem.line) : "") + ": " + problem.text};
  }
  Overrides in_terms = overrides;
  if (overrides.environment) {
    in_terms.environment = in_our_terms(overrides.environment, std::max(1u, std::thread::hardware_concurrency()));
  }
  Reader reader(file, in_terms);
  Loaded loaded;
  Config& config = loaded.config;
  if (overrides.environment) {
    EnvironmentReport report = check_environment(overrides.environment);
    if (!report.problems.empty()) return std::move(report.problems);
    loaded.notes = std::move(report.notes);
    if (overrides.environment("KUBERNETES_SERVICE_HOST")) config.istiod.address = kIstiodInCluster;
  }
  Section top(reader, "", &*tree, false);
  if (reader.failed()) return reader.take_problems();
  read_node(top, reader, config.node);
  read_control(top, reader, config.control);
  read_memory(top, reader, config.memory);
  read_workers(top, reader, config.workers);
  read_lists(top, reader, config);
  read_mesh(top, reader, config.mesh);
  read_istiod(top, reader, config.istiod);
  read_ca(top, reader, config.ca);
  read_admin(top, reader, config.admin);
  read_drain(top, reader, config.drain);
  read_log(top, reader, config.log);
  read_limits(top, reader, config.limits);
  top.finish();
  reader.finish();
  if (reader.failed()) return reader.take_problems();
  loaded.effective = reader.take_effective();
  return loaded;
}

Result<Loaded, Problems> load(const std::string& path, const Overrides& overrides) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Problems{path + ": cannot be opened: " + std::strerror(errno)};
  std::string text;
  char block[64 * 1024];
  while (file.read(block, sizeof(block)) || file.gcount() > 0) {
    text.append(block, static_cast<size_t>(file.gcount()));
    if (text.size() > kFileBytesMax) {
      return Problems{path + ": at most " + std::to_string(kFileBytesMax >> 20) + " MiB are accepted"};
    }
  }
  // A folder opens, and then cannot be read.
  if (file.bad()) return Problems{path + ": cannot be read: " + std::strerror(errno)};
  return parse(text, path, overrides);
}

std::string print(const std::vector<Effective>& effective) {
  size_t key_width = 0, value_width = 0;
  for (const Effective& row : effective) {
    key_width = std::max(key_width, row.key.size());
    value_width = std::max(value_width, std::min<size_t>(row.value.size(), 48));
  }
  std::ostringstream out;
  for (const Effective& row : effective) {
    out << row.key << std::string(key_width - row.key.size(), ' ') << " = " << row.value
        << std::string(value_width > row.value.size() ? value_width - row.value.size() : 0, ' ') << "  # " << row.origin
        << "\n";
  }
  return out.str();
}

}  // namespace culvert::config
