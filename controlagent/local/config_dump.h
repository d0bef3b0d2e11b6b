// The mesh that a ztunnel or a Culvert had when it was asked for its config_dump (reference 22).
//
// Read as other versions may have written it: keys that are not known are passed over, and a record that cannot be read
// is left out and told as a warning. Certificates, connections and configuration are not looked at.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "local/mesh_file.h"

namespace culvert::local {

// `file` is only named in problems: what is no JSON, or no config_dump at all.
Result<MeshFile, std::vector<std::string>> parse_config_dump(std::string_view text, const std::string& file);
Result<MeshFile, std::vector<std::string>> load_config_dump(const std::string& path);

}  // namespace culvert::local
