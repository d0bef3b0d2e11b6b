// Rows A to H of reference 9.2, in order, in one function; the small steps above it.
#include "routing/outbound.h"

#include <algorithm>
#include <optional>

#include "routing/load_balancing.h"
#include "routing/waypoint.h"

namespace culvert::routing {

using snapshot::IpFamilies;
using snapshot::LoadBalancingMode;
using snapshot::Mesh;
using snapshot::Service;
using snapshot::ServiceEndpoint;
using snapshot::TunnelProtocol;
using snapshot::Workload;

bool is_illegal_port(uint16_t port) { return port == 15001 || port == 15006 || port == kHbonePort; }

std::string_view name_of(OutboundRefusal refusal) {
  switch (refusal) {
    case OutboundRefusal::kNone:
      return "none";
    case OutboundRefusal::kRecursive:
      return "recursive";
    case OutboundRefusal::kNoHealthyUpstream:
      return "no_healthy_upstream";
    case OutboundRefusal::kUnknownWaypoint:
      return "unknown_waypoint";
    case OutboundRefusal::kNoAddress:
      return "no_address";
    case OutboundRefusal::kServiceWaypoint:
      return "service_waypoint";
    case OutboundRefusal::kWorkloadWaypoint:
      return "workload_waypoint";
    case OutboundRefusal::kOutsideMesh:
      return "outside_mesh";
    case OutboundRefusal::kPassthroughService:
      return "passthrough_service";
    case OutboundRefusal::kOtherNetwork:
      return "other_network";
    case OutboundRefusal::kPlaintextEndpoint:
      return "plaintext_endpoint";
    case OutboundRefusal::kHostnameEndpoint:
      return "hostname_endpoint";
  }
  return "unknown";
}

DropReason drop_reason_of(OutboundRefusal refusal) {
  switch (refusal) {
    case OutboundRefusal::kRecursive:
      return DropReason::kProxyRecursiveCall;
    case OutboundRefusal::kUnknownWaypoint:
      return DropReason::kProxyUnknownWaypoint;
    case OutboundRefusal::kNoAddress:
      return DropReason::kProxyNoAddress;
    case OutboundRefusal::kServiceWaypoint:
      return DropReason::kProxyServiceWaypointNotCarried;
    case OutboundRefusal::kWorkloadWaypoint:
      return DropReason::kProxyWorkloadWaypointNotCarried;
    case OutboundRefusal::kOutsideMesh:
      return DropReason::kProxyOutsideMeshNotCarried;
    case OutboundRefusal::kPassthroughService:
      return DropReason::kProxyPassthroughNotCarried;
    case OutboundRefusal::kOtherNetwork:
      return DropReason::kProxyOtherNetworkNotCarried;
    case OutboundRefusal::kPlaintextEndpoint:
      return DropReason::kProxyPlaintextNotCarried;
    case OutboundRefusal::kHostnameEndpoint:
      return DropReason::kProxyHostnameNotCarried;
    case OutboundRefusal::kNone:
    case OutboundRefusal::kNoHealthyUpstream:
      break;
  }
  return DropReason::kProxyNoHealthyUpstream;
}

namespace {

bool is_passthrough(const Service& service) {
  return service.load_balancing && service.load_balancing->mode == LoadBalancingMode::kPassthrough;
}

// Row C's result.
struct Upstream {
  const Workload* workload = nullptr;
  const Service* service = nullptr;  // through which it was found
  uint16_t target_port = 0;
};

// `choose(service)`: one of its endpoints, or none.
template <class Choose>
Upstream find_upstream(const Mesh& mesh, const OutboundRequest& request, Choose&& choose) {
  const Workload& source = *request.workload;
  if (const Service* service =
          mesh.service_at(source.network, request.destination.address, std::string_view(source.name_space))) {
    if (is_passthrough(*service)) return {nullptr, service, 0};
    const std::optional<Choice> choice = choose(*service);
    if (!choice) return {nullptr, service, 0};
    return {choice->endpoint->workload.get(), service, choice->target_port};
  }
  return {mesh.workload_at(source.network, request.destination.address), nullptr, request.destination.port};
}

// Reference 9.5, the part without DNS.
std::optional<IpAddress> select_address(const Workload& workload, const Service* service, const IpAddress& dialled) {
  if (workload.has_address(dialled)) return dialled;
  const IpFamilies families = service ? service->ip_families : IpFamilies::kAutomatic;
  std::optional<IpAddress> first;
  for (const IpAddress& address : workload.addresses) {
    if (families == IpFamilies::kIpv4Only && !address.is_v4()) continue;
    if (families == IpFamilies::kIpv6Only && address.is_v4()) continue;
    if (address.is_v4() == dialled.is_v4()) return address;
    if (!first) first = address;
  }
  return first;
}

void describe(OutboundDecision& out, const Workload& workload) {
  out.endpoint = &workload;
  out.endpoint_uid = workload.uid;
  out.workload = workload.name;
  out.workload_namespace = workload.name_space;
  out.workload_cluster = workload.cluster_id;
  out.workload_identity = workload.identity();
}

void describe(OutboundDecision& out, const Service& service) {
  out.service = &service;
  out.service_hostname = service.hostname;
}

OutboundDecision refuse(OutboundDecision out, OutboundRefusal refusal, std::string error) {
  out.refusal = refusal;
  out.error = std::move(error);
  return out;
}

template <class Choose>
OutboundDecision decide(const Mesh& mesh, const OutboundRequest& request, Choose&& choose) {
  const Workload& source = *request.workload;
  const Endpoint& dialled = request.destination;
  OutboundDecision out;

  // 9.1.2
  if (dialled.address.is_loopback() && is_illegal_port(dialled.port)) {
    return refuse(std::move(out), OutboundRefusal::kRecursive, "attempted recursive call to ourselves");
  }

  // A: a workload's address first, then a VIP.
  const Service* addressed = nullptr;
  if (!mesh.workload_at(request.network, dialled.address)) {
    addressed = mesh.service_at(request.network, dialled.address, std::string_view(source.name_space));
  }
  if (addressed) describe(out, *addressed);

  // B
  if (addressed && (addressed->waypoint || !addressed->weighted_waypoints.empty())) {
    const snapshot::GatewayAddress& reference =
        addressed->weighted_waypoints.empty() ? *addressed->waypoint : addressed->weighted_waypoints[0].destination;
    const std::string name = to_string(reference);
    if (!resolve_waypoint(mesh, reference).known()) {
      return refuse(std::move(out), OutboundRefusal::kUnknownWaypoint, "unknown waypoint: " + name);
    }
    return refuse(std::move(out), OutboundRefusal::kServiceWaypoint, "waypoints are not supported yet: " + name);
  }

  // C: the other way round, a VIP first.
  const Upstream upstream = find_upstream(mesh, request, choose);

  // D
  if (!upstream.workload) {
    if (addressed && !is_passthrough(*addressed)) {
      return refuse(std::move(out), OutboundRefusal::kNoHealthyUpstream, "no healthy upstream: " + dialled.to_string());
    }
    const bool passthrough = addressed || (upstream.service && is_passthrough(*upstream.service));
    return refuse(std::move(out), passthrough ? OutboundRefusal::kPassthroughService : OutboundRefusal::kOutsideMesh,
                  "plaintext passthrough is not supported yet: " + dialled.to_string());
  }
  const Workload& endpoint = *upstream.workload;
  describe(out, endpoint);
  if (upstream.service) describe(out, *upstream.service);

  // E
  if (endpoint.network != source.network) {
    return refuse(std::move(out), OutboundRefusal::kOtherNetwork,
                  "endpoints in other networks are not supported yet: " + endpoint.network);
  }

  // F
  if (!addressed && endpoint.waypoint) {
    const Waypoint waypoint = resolve_waypoint(mesh, *endpoint.waypoint);
    const std::string name = to_string(*endpoint.waypoint);
    if (!waypoint.known()) {
      return refuse(std::move(out), OutboundRefusal::kUnknownWaypoint, "unknown waypoint: " + name);
    }
    if (!backs_waypoint(mesh, waypoint, source, request.source)) {
      return refuse(std::move(out), OutboundRefusal::kWorkloadWaypoint, "waypoints are not supported yet: " + name);
    }
  }

  // 9.5
  const auto address = select_address(endpoint, upstream.service, dialled.address);
  if (!address) {
    if (endpoint.addresses.empty() && !endpoint.hostname.empty()) {
      return refuse(std::move(out), OutboundRefusal::kHostnameEndpoint,
                    "endpoints known by host name only are not supported yet: " + endpoint.hostname);
    }
    return refuse(std::move(out), OutboundRefusal::kNoAddress,
                  "no valid routing destination for workload: " + endpoint.uid);
  }
  out.authority = {*address, upstream.target_port};

  // H
  if (endpoint.tunnel_protocol == TunnelProtocol::kNone) {
    return refuse(std::move(out), OutboundRefusal::kPlaintextEndpoint,
                  "plaintext passthrough is not supported yet: " + out.authority.to_string());
  }

  // G
  out.hbone = {*address, kHbonePort};
  if (upstream.service) {
    for (const identity::SpiffeId& id : mesh.identities(*upstream.service)) {
      if (std::find(out.expected_identities.begin(), out.expected_identities.end(), id) ==
          out.expected_identities.end()) {
        out.expected_identities.push_back(id);
      }
    }
  }
  if (std::find(out.expected_identities.begin(), out.expected_identities.end(), out.workload_identity) ==
      out.expected_identities.end()) {
    out.expected_identities.push_back(out.workload_identity);
  }
  return out;
}

}  // namespace

OutboundDecision decide_outbound(const Mesh& mesh, const OutboundRequest& request, Random& random) {
  return decide(mesh, request, [&](const Service& service) {
    return choose_endpoint(mesh, service, *request.workload, request.destination.port, random);
  });
}

OutboundDecision decide_outbound(const Mesh& mesh, const OutboundRequest& request, const Choice* choice) {
  return decide(mesh, request, [&](const Service&) { return choice ? std::optional<Choice>(*choice) : std::nullopt; });
}

}  // namespace culvert::routing
