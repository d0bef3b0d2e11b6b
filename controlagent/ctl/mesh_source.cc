#include "ctl/mesh_source.h"

#include "ctl/mesh_records.h"
#include "ctl/value.h"
#include "local/config_dump.h"
#include "local/mesh_file.h"

namespace culvert::ctl {

namespace {

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out += (out.empty() ? "" : "\n") + printable(line);
  return out;
}

void warn(const std::vector<std::string>& warnings, const Output& output) {
  for (const std::string& warning : warnings) output.err("culvertctl: " + printable(warning) + "\n");
}

}  // namespace

Result<OfflineMesh, std::string> load(const MeshSource& source, const Output& output) {
  if (!source.mesh.empty()) {
    const auto file = local::load_mesh(source.mesh);
    if (!file) return Failure{joined(file.error())};
    warn(file->warnings, output);
    return OfflineMesh{build_mesh(file->mesh), {}, {}};
  }
  const auto dump = local::load_config_dump(source.config_dump);
  if (!dump) return Failure{joined(dump.error())};
  warn(dump->warnings, output);
  return OfflineMesh{build_mesh(dump->mesh), dump->node, dump->network};
}

}  // namespace culvert::ctl
