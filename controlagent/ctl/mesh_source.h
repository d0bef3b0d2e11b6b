// The mesh of a command that decides without a data plane: from a mesh file or a config_dump.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "ctl/command_line.h"
#include "snapshot/mesh.h"

namespace culvert::ctl {

struct MeshSource {
  std::string mesh, config_dump;  // paths; at most one is not empty
  bool given() const { return !mesh.empty() || !config_dump.empty(); }
};

struct OfflineMesh {
  std::shared_ptr<const snapshot::Mesh> mesh;
  std::string node, network;  // as far as the file tells them
};

// Warnings go to standard error as they come. The error is one or more lines.
Result<OfflineMesh, std::string> load(const MeshSource& source, const Output& output);

}  // namespace culvert::ctl
