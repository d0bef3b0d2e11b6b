// Reading culvert.yaml together with what flags and the environment say.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace culvert::config {

// One line per value for --print-config: `workers.count = 2  (environment ZTUNNEL_WORKER_THREADS)`.
struct Effective {
  std::string key;     // "ports[0].mtu"
  std::string value;   // as YAML would show it
  std::string origin;  // "flag --set workers.count", "environment NODE_NAME", "culvert.yaml:7", "default"
};

struct Loaded {
  Config config;
  std::vector<Effective> effective;  // every value, in the order of the schema
  std::vector<std::string> notes;    // variables that are set and have no effect, a sentence each
};

// Single values that override the file. Only keys that hold one value outside of lists can be set this way.
struct Overrides {
  std::vector<std::pair<std::string, std::string>> flags;  // key, value: `--set workers.count=2`
  // Looks a variable up; none when it is not set. Empty function: no environment. See kEnvironment for the names.
  std::function<std::optional<std::string>(const std::string&)> environment;
};

// Which variable means which key. CULVERT_<SECTION>_<KEY> works for every key that an override can set; these are
// ztunnel's names (reference 20), which mean the same here. Of two the first that is set wins, ours before ztunnel's.
struct EnvironmentName {
  std::string_view variable;
  std::string_view key;
};
std::vector<EnvironmentName> environment_names();

// Each error is one line that names file and line, key and what is accepted.
using Problems = std::vector<std::string>;

Result<Loaded, Problems> load(const std::string& path, const Overrides& overrides);
// `file` is only named in problems and origins.
Result<Loaded, Problems> parse(std::string_view text, const std::string& file, const Overrides& overrides);

// The process's environment, for Overrides.
std::optional<std::string> process_environment(const std::string& name);

// What --print-config prints: one line per value, columns aligned.
std::string print(const std::vector<Effective>& effective);

}  // namespace culvert::config
