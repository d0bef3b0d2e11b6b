// What a waypoint reference stands for in one Mesh (reference 9.2).
#pragma once

#include <string>
#include <string_view>

#include "base/ip_address.h"
#include "snapshot/mesh.h"

namespace culvert::routing {

// At most one is set; neither: no record bears the name or address.
struct Waypoint {
  const snapshot::Service* service = nullptr;
  const snapshot::Workload* workload = nullptr;
  bool known() const { return service || workload; }
};

Waypoint resolve_waypoint(const snapshot::Mesh& mesh, const snapshot::GatewayAddress& reference);

// Whether a workload of that record and address is (one of) the waypoint's own.
bool backs_waypoint(const snapshot::Mesh& mesh, const Waypoint& waypoint, const snapshot::Workload& workload,
                    const IpAddress& address);

// "ns/host" or "network/ip", for the log and for explanations.
std::string to_string(const snapshot::GatewayAddress& reference);

}  // namespace culvert::routing
