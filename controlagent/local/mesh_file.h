// The static mesh file: workloads, services and policies in ztunnel's local YAML format (reference 19).
//
// The schema is read strictly: unknown and ill-typed keys, missing ones, wrong spellings, an object given twice. All
// problems of a file are told in one go, each with its line and what is accepted, and nothing of a bad file is used.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "reconcile/mesh.h"

namespace culvert::local {

struct MeshFile {
  reconcile::Mesh mesh;
  // What is accepted and yet probably not meant, as "file:line: key: sentence".
  std::vector<std::string> warnings;
};

// `file` is only named in problems. The error holds at least one line.
Result<MeshFile, std::vector<std::string>> parse_mesh(std::string_view text, const std::string& file);

// At most kMeshFileBytesMax; an empty file is an empty mesh.
inline constexpr size_t kMeshFileBytesMax = 256u << 20;
Result<MeshFile, std::vector<std::string>> load_mesh(const std::string& path);

}  // namespace culvert::local
