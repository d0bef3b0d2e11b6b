#include "routing/waypoint.h"

#include <variant>

namespace culvert::routing {

using snapshot::GatewayAddress;
using snapshot::Mesh;
using snapshot::NamespacedHostname;
using snapshot::NetworkAddress;
using snapshot::Workload;

Waypoint resolve_waypoint(const Mesh& mesh, const GatewayAddress& reference) {
  Waypoint out;
  if (const auto* name = std::get_if<NamespacedHostname>(&reference.destination)) {
    out.service = mesh.service(name->name_space, name->hostname);
  } else if (const auto* at = std::get_if<NetworkAddress>(&reference.destination)) {
    out.workload = mesh.workload_at(at->network, at->address);
    if (!out.workload) out.service = mesh.service_at(at->network, at->address, std::nullopt);
  }
  return out;
}

bool backs_waypoint(const Mesh& mesh, const Waypoint& waypoint, const Workload& workload, const IpAddress& address) {
  auto is_it = [&](const Workload& candidate) {
    return candidate.has_address(address) && candidate.trust_domain == workload.trust_domain &&
           candidate.name_space == workload.name_space && candidate.service_account == workload.service_account;
  };
  if (waypoint.workload) return is_it(*waypoint.workload);
  if (!waypoint.service) return false;
  for (const auto& endpoint : mesh.endpoints(*waypoint.service)) {
    if (is_it(*endpoint.workload)) return true;
  }
  return false;
}

std::string to_string(const GatewayAddress& reference) {
  if (const auto* name = std::get_if<NamespacedHostname>(&reference.destination)) {
    return name->name_space + "/" + name->hostname;
  }
  const auto* at = std::get_if<NetworkAddress>(&reference.destination);
  return at ? at->network + "/" + at->address.to_string() : std::string();
}

}  // namespace culvert::routing
