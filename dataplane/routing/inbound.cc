// The checks of reference 11.2 in their order, with 11.3 and 11.4 as steps of their own.
#include "routing/inbound.h"

#include "routing/authority.h"
#include "routing/outbound.h"
#include "routing/waypoint.h"

namespace culvert::routing {

using snapshot::Mesh;
using snapshot::Service;
using snapshot::Workload;

std::string_view name_of(InboundRefusal refusal) {
  switch (refusal) {
    case InboundRefusal::kNone:
      return "none";
    case InboundRefusal::kNotConnect:
      return "not_connect";
    case InboundRefusal::kBadAuthority:
      return "bad_authority";
    case InboundRefusal::kNoWorkload:
      return "no_workload";
    case InboundRefusal::kAddressMismatch:
      return "address_mismatch";
    case InboundRefusal::kUnknownHostname:
      return "unknown_hostname";
    case InboundRefusal::kNoPort:
      return "no_port";
    case InboundRefusal::kIllegalPort:
      return "illegal_port";
    case InboundRefusal::kApplicationTunnel:
      return "application_tunnel";
  }
  return "unknown";
}

uint16_t status_of(InboundRefusal refusal) {
  switch (refusal) {
    case InboundRefusal::kNone:
      return 0;
    case InboundRefusal::kNotConnect:
    case InboundRefusal::kBadAuthority:
    case InboundRefusal::kAddressMismatch:
      return 400;
    case InboundRefusal::kNoWorkload:
    case InboundRefusal::kUnknownHostname:
    case InboundRefusal::kNoPort:
    case InboundRefusal::kIllegalPort:
    case InboundRefusal::kApplicationTunnel:
      return 503;
  }
  return 503;
}

DropReason drop_reason_of(InboundRefusal refusal) {
  switch (refusal) {
    case InboundRefusal::kNotConnect:
      return DropReason::kProxyNotConnect;
    case InboundRefusal::kBadAuthority:
      return DropReason::kProxyBadAuthority;
    case InboundRefusal::kAddressMismatch:
      return DropReason::kProxyAddressMismatch;
    case InboundRefusal::kUnknownHostname:
      return DropReason::kProxyUnknownHostname;
    case InboundRefusal::kNoPort:
      return DropReason::kProxyNoPort;
    case InboundRefusal::kIllegalPort:
      return DropReason::kProxyRecursiveCall;
    case InboundRefusal::kApplicationTunnel:
      return DropReason::kProxyApplicationTunnelNotCarried;
    case InboundRefusal::kNone:
    case InboundRefusal::kNoWorkload:
      break;
  }
  return DropReason::kProxyNoWorkload;
}

namespace {

bool has_application_tunnel(const Workload& workload) {
  return workload.application_tunnel.protocol != snapshot::TunnelledProtocol::kNone ||
         workload.application_tunnel.port != 0;
}

// Whether the local workload is the waypoint of what the authority names (the "sandwich", 11.3).
bool is_waypoint_of(const Mesh& mesh, const InboundRequest& request, const IpAddress& address) {
  const snapshot::GatewayAddress* reference = nullptr;
  if (const Workload* workload = mesh.workload_at(request.network, address)) {
    if (workload->waypoint) reference = &*workload->waypoint;
  } else if (const Service* service = mesh.service_at(request.network, address, std::nullopt)) {
    if (service->waypoint) reference = &*service->waypoint;
  }
  if (!reference) return false;
  const Waypoint waypoint = resolve_waypoint(mesh, *reference);
  if (waypoint.workload) return waypoint.workload->has_address(request.local);
  if (!waypoint.service) return false;
  for (const auto& endpoint : mesh.endpoints(*waypoint.service)) {
    if (endpoint.workload->uid == request.workload->uid) return true;
  }
  return false;
}

InboundDecision refuse(InboundRefusal refusal, std::string error) {
  InboundDecision out;
  out.refusal = refusal;
  out.error = std::move(error);
  return out;
}

// The port behind a host-name authority (11.4); 0: none.
uint16_t resolve_port(const Mesh& mesh, const Service& service, const Workload& workload, uint16_t service_port) {
  for (const auto& endpoint : mesh.endpoints(service)) {
    if (endpoint.workload->uid != workload.uid) continue;
    if (const uint16_t own = snapshot::target_port_of(*endpoint.ports, service_port)) return own;
  }
  return snapshot::target_port_of(service.ports, service_port);
}

}  // namespace

InboundDecision decide_inbound(const Mesh& mesh, const InboundRequest& request) {
  if (request.method != "CONNECT") {
    return refuse(InboundRefusal::kNotConnect, "expected method CONNECT, got " + std::string(request.method));
  }
  const auto authority = parse_authority(request.authority);
  if (!authority) {
    return refuse(InboundRefusal::kBadAuthority, "no valid authority pseudo header: " + std::string(request.authority));
  }
  if (!request.workload) {
    return refuse(InboundRefusal::kNoWorkload, "failed to fetch information about local workload");
  }
  if (authority->address && *authority->address != request.local && !has_application_tunnel(*request.workload) &&
      !is_waypoint_of(mesh, request, *authority->address)) {
    return refuse(InboundRefusal::kAddressMismatch,
                  "ip mismatch: " + request.local.to_string() + " != " + authority->address->to_string());
  }

  InboundDecision out;
  out.target = {request.local, authority->port};
  if (!authority->address) {
    const std::string name(authority->hostname);
    const Service* service = mesh.service_by_hostname(authority->hostname, request.workload->name_space);
    if (!service) {
      return refuse(InboundRefusal::kUnknownHostname, "no service or workload for hostname: " + name);
    }
    out.service = service;
    out.service_hostname = service->hostname;
    out.target.port = resolve_port(mesh, *service, *request.workload, authority->port);
    if (out.target.port == 0) {
      return refuse(InboundRefusal::kNoPort, "requested service " + name + ":" + std::to_string(authority->port) +
                                                 " found, but cannot resolve port");
    }
  }
  if (has_application_tunnel(*request.workload)) {
    return refuse(InboundRefusal::kApplicationTunnel, "application tunnels are not supported yet");
  }
  if (out.target.port == 0) {
    return refuse(InboundRefusal::kNoPort, "connection failed: port 0");
  }
  if (is_illegal_port(out.target.port)) {
    return refuse(InboundRefusal::kIllegalPort, "attempted recursive call to ourselves");
  }
  return out;
}

}  // namespace culvert::routing
