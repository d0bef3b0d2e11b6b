// The mesh file's reader over any text: it ends, says something useful about what it refuses, and what it accepts is a
// mesh in which every record stands under its own key.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "local/mesh_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace culvert;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = local::parse_mesh(text, "mesh.yaml");
  if (!parsed) {
    DP_CHECK(!parsed.error().empty());
    for (const std::string& line : parsed.error()) DP_CHECK(line.starts_with("mesh.yaml:") && line.size() > 12);
    return 0;
  }
  for (const auto& [uid, workload] : parsed->mesh.workloads) {
    DP_CHECK(!uid.empty() && workload.uid == uid && !workload.name_space.empty());
    for (const auto& [service, ports] : workload.services) {
      DP_CHECK(service.find('/') != std::string::npos && !ports.contains(0));
    }
  }
  for (const auto& [key, service] : parsed->mesh.services) DP_CHECK(service.key() == key && !service.hostname.empty());
  for (const auto& [key, policy] : parsed->mesh.policies) DP_CHECK(policy.key() == key && !policy.name.empty());
  // The same text gives the same mesh.
  const auto again = local::parse_mesh(text, "mesh.yaml");
  DP_CHECK(again && again->mesh == parsed->mesh && again->warnings == parsed->warnings);
  return 0;
}
