#include "config/load.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "config/reader.h"
#include "config/sections.h"

namespace culvert::config {

namespace {

// Larger than any file that fits kYamlNodesMax in practice; keeps a path to a device from filling the memory.
constexpr size_t kFileBytesMax = 64u << 20;

// Keys that a flag or a variable can set: those of single values outside of lists.
constexpr std::string_view kSettable[] = {
    "node.name",        "node.network",        "node.cluster",       "node.trust_domain",
    "control.socket",   "control.descriptors", "memory.huge_pages",  "memory.buffers_mb",
    "workers.count",    "workers.poll",        "mesh.file",          "ca.dir",
    "ca.leaf_lifetime", "log.level",           "limits.connections", "limits.memory_mb",
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

// A later issue's section: refused by name rather than as a typing error.
void refuse_unbuilt_sections(const YamlNode& tree, Section& top, Reader& reader) {
  if (tree.find("admin")) {
    reader.problem(top.find("admin"), "the admin endpoints are not built yet: remove this section");
  }
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
  out.push_back({"SECRET_TTL", "ca.leaf_lifetime"});
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
  Reader reader(file, overrides);
  Loaded loaded;
  Config& config = loaded.config;
  Section top(reader, "", &*tree, false);
  if (reader.failed()) return reader.take_problems();
  read_node(top, reader, config.node);
  read_control(top, reader, config.control);
  read_memory(top, reader, config.memory);
  read_workers(top, reader, config.workers);
  read_lists(top, reader, config);
  read_mesh(top, reader, config.mesh);
  read_ca(top, reader, config.ca);
  read_log(top, reader, config.log);
  read_limits(top, reader, config.limits);
  refuse_unbuilt_sections(*tree, top, reader);
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
