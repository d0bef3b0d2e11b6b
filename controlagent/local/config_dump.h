// The mesh that a ztunnel or a Culvert had when it was asked for its config_dump (reference 22).
//
// Read as other versions may have written it: keys that are not known are passed over, and a record that cannot be read
// is left out and told as a warning. Certificates, connections and the rest of the configuration are not looked at.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "reconcile/mesh.h"

namespace culvert::local {

struct ConfigDump {
  reconcile::Mesh mesh;
  std::vector<std::string> warnings;  // records left out, as "file:line: key: sentence; left out"
  std::string node, network;          // its own NODE_NAME and NETWORK, as far as `config` names them
};

// `file` is only named in problems: what is no JSON, or no config_dump at all.
Result<ConfigDump, std::vector<std::string>> parse_config_dump(std::string_view text, const std::string& file);
Result<ConfigDump, std::vector<std::string>> load_config_dump(const std::string& path);

}  // namespace culvert::local
